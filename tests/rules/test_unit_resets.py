"""What holds of a unit that is reset, and of all that is not."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dashtheory.evaluate import evaluate
from dashtheory.protocol import FastEngine, PlainEngine, Task, TrainConfig, run_stages
from dashtheory.rules import (
    ContinualBackprop,
    PartialReset,
    ReDo,
    ReGraMa,
    Rule,
    SelectiveReset,
    SelfNormalizedReset,
    unit_graph,
)
from dashtheory.rules.unit_rule import DRAWS, ResetRule
from dashtheory.rules.unit_weights import Units, units_in
from dashtheory.stream import Examples, Stream, cut
from tests.rules.unit_cases import NETWORKS, OPTIMIZERS, Steps, batch, network, silence_

EAGER: dict[str, Callable[..., ResetRule]] = {
    "redo": lambda **options: ReDo(tau=0.9, every=2, **options),
    "regrama": lambda **options: ReGraMa(tau=0.9, every=2, **options),
    "cbp": lambda **options: ContinualBackprop(rho=0.2, maturity=1, **options),
    "snr": lambda **options: SelfNormalizedReset(cap=9, update=3, **options),
}
"""Rules that reset units soon; the last one those that are silent for two steps."""
ACTIVE: dict[str, Rule] = {
    **{name: make() for name, make in EAGER.items()},
    "redo on examples": ReDo(tau=0.9, every=2, examples=5),
    "cpr": PartialReset(r=0.3, every=2),
    "swr_weights": SelectiveReset(share=0.1, every=2),
}


def first_reset(rule: ResetRule, name: str = "chain", optimizer: str = "Adam") -> tuple[Steps, dict[str, Tensor]]:
    """A stage until just after the first reset, and which units were reset, by layer."""
    steps = Steps(rule, name, optimizer)
    if isinstance(rule, SelfNormalizedReset):
        silence_(steps.model, "4" if name == "chain" else "3", [2])
    for _ in range(10):
        before = {key: value.clone() for key, value in steps.state.items()}
        steps.take(1)
        found = {
            key.removeprefix("resets "): value > before[key]
            for key, value in steps.state.items()
            if key.startswith("resets")
        }
        if any(bool(which.any()) for which in found.values()):
            return steps, found
    raise AssertionError("nothing was reset")


def layers_of(model: nn.Module) -> list[Units]:
    return [units_in(model, layer) for layer in unit_graph(model)]


# ---------------------------------------------------------------------------------- the unit itself


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", EAGER)
@pytest.mark.parametrize("counters", [False, True])
def test_it_has_no_outgoing_weight_no_bias_and_no_moments(name: str, optimizer: str, counters: bool) -> None:
    steps, resets = first_reset(EAGER[name](counters=counters), "chain", optimizer)
    for units in layers_of(steps.model):
        which = resets[units.name]
        if not which.any():
            continue
        assert units.bias is not None
        assert not units.bias[which].any()
        for block in (units.incoming, *units.outgoing):
            state = steps.learner.optimizer.state[block.parameter]
            moments = [value for value in state.values() if value.shape == block.parameter.shape]
            assert moments
            for value in moments:
                assert not block.rows(value)[which].any()
                assert value.any() or bool(which.all())
            if "step" in state:
                assert (float(state["step"]) == 0) == counters
        for block in units.outgoing:
            assert not block.rows(block.parameter.detach())[which].any()
        for value in steps.learner.optimizer.state[units.bias].values():
            assert value.shape != units.bias.shape or not value[which].any()


def test_moments_can_be_kept() -> None:
    for moments in ("kept", "cleared"):
        steps, resets = first_reset(ReGraMa(tau=0.9, every=1, moments=moments))
        (units,) = [units for units in layers_of(steps.model) if resets[units.name].any()][:1]
        squares = units.incoming.rows(steps.learner.optimizer.state[units.incoming.parameter]["exp_avg_sq"])
        assert bool(squares[resets[units.name]].any()) == (moments == "kept")


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("bias", ["zero", "draw"])
def test_its_new_weights_come_from_where_the_option_says(draw: str, bias: str) -> None:
    steps, resets = first_reset(ReDo(tau=5, every=1, draw=draw, bias=bias))
    largest = []
    for units in layers_of(steps.model):
        assert resets[units.name].all()
        rows = units.incoming.rows(units.incoming.parameter.detach())
        if units.name != "0":
            assert not rows.any()  # all that leads from a reset unit to another is zero
            continue
        gain = 6 if draw == "kaiming" else 1
        largest.append(float(rows.abs().max()) * math.sqrt(rows.shape[1] / gain))
        assert units.bias is not None
        assert bool(units.bias.any()) == (bias == "draw")
        assert float(units.bias.detach().abs().max()) <= 1 / math.sqrt(rows.shape[1])
    assert 0.9 < largest[0] <= 1
    linear, _ = first_reset(ReDo(tau=5, every=1, draw=draw), "perceptron")
    bound = float(linear.model.get_parameter("0.weight").detach().abs().max()) * math.sqrt(4)
    assert (bound > 1) == (draw in ("kaiming", "mixed"))


def test_the_norm_s_part_of_it_starts_anew_if_wanted() -> None:
    for norm in ("kept", "reset"):
        steps, resets = first_reset(ContinualBackprop(rho=0.3, maturity=1, norm=norm))
        which = resets["0"]
        assert 0 < which.sum() < 4
        values = dict(steps.model.get_submodule("1").state_dict())
        began = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        for key, value in began.items():
            assert bool((values[key][which] == value).all()) == (norm == "reset")
            assert not (values[key][~which] == value).any()
        assert (norm == "reset") == (
            not steps.learner.optimizer.state[steps.model.get_parameter("1.weight")]["exp_avg"][which].any()
        )


# ---------------------------------------------------------------------------------- all else


@pytest.mark.parametrize("name", EAGER)
def test_other_units_and_the_last_layer_s_own_keep_their_bits(name: str) -> None:
    steps = Steps(EAGER[name]())
    if name == "snr":
        silence_(steps.model, "4", [2])
    while True:
        steps.learn()
        before = copy.deepcopy(steps.model)
        moments = copy.deepcopy(steps.learner.optimizer.state_dict())["state"]
        counts = {key: value.clone() for key, value in steps.state.items()}
        steps.act()
        resets = {
            units.name: steps.state[f"resets {units.name}"] > counts[f"resets {units.name}"]
            for units in layers_of(steps.model)
        }
        if any(bool(which.any()) for which in resets.values()):
            break
    touched = {key: torch.zeros_like(value, dtype=torch.bool) for key, value in steps.model.named_parameters()}
    for units in layers_of(steps.model):
        which = resets[units.name]
        touched[f"{units.name}.weight"] |= units.incoming.spread(which[:, None])
        touched[f"{units.name}.bias"] |= which
        if units.norm is not None and name == "cbp":
            touched["1.weight"] |= which
            touched["1.bias"] |= which
        for block, taker in zip(units.outgoing, units.layer.consumers, strict=True):
            touched[f"{taker.name}.weight"] |= block.spread(which[:, None])
    for place, (key, value) in enumerate(steps.model.named_parameters()):
        same = value == before.get_parameter(key)
        assert bool(same[~touched[key]].all()), key
        for what, entry in steps.learner.optimizer.state[value].items():
            old = moments[place][what]
            assert bool((entry == old)[~touched[key]].all() if entry.ndim else entry == old)
    assert not touched["9.bias"].any()


@pytest.mark.parametrize("net", ["chain", "perceptron", "functional", "tokens", "two heads"])
def test_what_was_silent_is_reset_without_a_change_of_the_output(net: str) -> None:
    """Dormant with tau = 0 on the examples, or silent on the batch."""
    layer = {"chain": "4", "perceptron": "3", "functional": "second", "tokens": "2", "two heads": "first"}[net]
    silent = SelfNormalizedReset(cap=24, units=f"{layer},")  # of ReLUs: others can be below 0 for long
    for rule in (ReDo(tau=0, every=3), ReDo(tau=0, every=3, examples=16), silent):
        steps = Steps(rule, net)
        silence_(steps.model, layer, [1, 3])
        steps.model.train(net != "functional")  # whose dropout comes before the place where it is looked at
        steps.take(2)
        steps.learner.optimizer.param_groups[0]["lr"] = 0.0  # activations are those before the step
        steps.learn()
        model = copy.deepcopy(steps.model).eval()
        inputs = torch.cat([batch(net, seed=seed)[0] for seed in (102, 2, 3)])  # of the step, and of the chunks
        steps.act()
        assert steps.state[f"resets {layer}"][[1, 3]].tolist() == [1, 1]
        after = copy.deepcopy(steps.model).eval()
        assert not torch.equal(
            model.get_submodule(layer).weight[1],  # type: ignore[index]
            after.get_submodule(layer).weight[1],  # type: ignore[index]
        )
        seen = inputs if isinstance(rule, ReDo) and rule.examples else inputs[:8]
        torch.testing.assert_close(after(seen), model(seen), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", [ReDo(tau=0, every=1), ReGraMa(tau=0, every=1), SelfNormalizedReset()], ids=str)
def test_on_a_healthy_network_nothing_is_reset(rule: Rule) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Softplus(), nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3)).double()
    steps = Steps(rule, "perceptron", model=model).take(20)
    counts = [value for name, value in steps.state.items() if name.startswith("resets")]
    assert len(counts) == 2
    assert not any(value.any() for value in counts)


def test_copies_of_the_weights_that_an_optimizer_keeps_get_the_new_ones() -> None:
    steps = Steps(ReDo(tau=5, every=1))
    steps.learn()
    for value in steps.model.parameters():
        steps.learner.optimizer.state[value]["master"] = value.detach().clone()
    steps.act()
    for units in layers_of(steps.model):
        for block in (units.incoming, *units.outgoing):
            assert torch.equal(steps.learner.optimizer.state[block.parameter]["master"], block.parameter)


def test_a_frozen_norm_stays_as_it_is() -> None:
    model = network("chain")
    model.get_submodule("1").requires_grad_(False)
    steps = Steps(ContinualBackprop(rho=1, maturity=0), model=model)
    steps.learn()
    before = copy.deepcopy(model.get_submodule("1").state_dict())
    steps.act()
    assert steps.state["resets 0"].all()
    assert all(torch.equal(value, before[name]) for name, value in model.get_submodule("1").state_dict().items())


def test_biases_behind_take_over_what_a_unit_gave_on_average() -> None:
    """With mean activations that are exact, the mean of the next layer stays as it was."""
    moved = {}
    for correct in (False, True):
        steps = Steps(ContinualBackprop(rho=1, maturity=0, decay=0, correct=correct, norm="kept"), "perceptron")
        inputs, _ = batch("perceptron", seed=100)
        assert isinstance(steps.model, nn.Sequential)
        hidden = steps.model[:5](inputs).detach()
        steps.learn()
        head = copy.deepcopy(steps.model[5])
        steps.act()
        after = steps.model[5].bias - head(hidden).mean(dim=0)
        moved[correct] = float(after.abs().max().detach())
        assert not steps.model[5].weight.any()  # type: ignore[operator]
    assert moved[True] < 1e-9 < 1e-3 < moved[False]


def test_a_correction_of_a_flattened_map_counts_every_place() -> None:
    steps = Steps(ContinualBackprop(rho=1, maturity=0, decay=0, correct=True, units="4,"), "chain")
    assert isinstance(steps.model, nn.Sequential)
    hidden = steps.model[:7](batch("chain", seed=100)[0]).detach()
    steps.learn()
    linear = copy.deepcopy(steps.model[7])
    steps.act()
    even = hidden.reshape(8, 6, 4).mean(dim=2, keepdim=True).expand(8, 6, 4).flatten(1)
    torch.testing.assert_close(steps.model[7].bias, linear(even).mean(dim=0), rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------------------------- frozen, formats, hooks


@pytest.mark.parametrize("name", ACTIVE)
@pytest.mark.parametrize("frozen", ["4.weight", "7.bias", "1.weight"])
def test_what_is_frozen_keeps_its_bits(name: str, frozen: str) -> None:
    model = network("chain")
    model.get_parameter(frozen).requires_grad_(False)
    bits = model.get_parameter(frozen).detach().clone()
    steps = Steps(ACTIVE[name], model=model)
    if name != "swr_weights" and frozen == "4.weight":
        rows = model.get_parameter("7.weight").detach().clone()
        for _ in range(4):
            steps.learn()
            rows = model.get_parameter("0.weight").detach().clone()
            steps.act()
            assert torch.equal(model.get_parameter("0.weight"), rows)  # what it feeds is frozen
    steps.take(6)
    assert torch.equal(model.get_parameter(frozen), bits)


def test_with_all_layers_frozen_nothing_happens() -> None:
    for rule in ACTIVE.values():
        if not isinstance(rule, SelectiveReset):
            model = network("chain")
            for name in ("0", "4", "7"):
                model.get_submodule(name).requires_grad_(False)
            Steps(rule, model=model).take(4)


@pytest.mark.parametrize("name", ACTIVE)
def test_the_memory_format_changes_no_number(name: str) -> None:
    found = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = network("chain").to(memory_format=memory_format)  # type: ignore[call-overload]
        steps = Steps(ACTIVE[name], "chain", "SGD", model).take(6)
        assert model.get_parameter("4.weight").is_contiguous(memory_format=memory_format)
        found.append((dict(model.state_dict()), steps.state))
    for key, value in found[0][0].items():
        torch.testing.assert_close(found[1][0][key], value, rtol=1e-10, atol=1e-12, msg=key)
    for key, value in found[0][1].items():
        torch.testing.assert_close(found[1][1][key], value, rtol=1e-10, atol=1e-12, msg=key)


@pytest.mark.parametrize("name", ACTIVE)
@pytest.mark.parametrize("net", NETWORKS)
def test_it_acts_on_every_network_with_units(name: str, net: str) -> None:
    ours, plain = Steps(ACTIVE[name], net).take(5), Steps(ReDo(tau=-1), net).take(5)
    assert all(bool(value.isfinite().all()) for value in ours.model.parameters())
    if name != "snr":
        assert any(
            not torch.equal(a, b) for a, b in zip(ours.model.parameters(), plain.model.parameters(), strict=True)
        )


@pytest.mark.parametrize("name", ACTIVE)
def test_passes_of_copies_and_without_gradients_do_not_count_and_hooks_are_removed(name: str) -> None:
    found = []
    for looked in (False, True):
        steps = Steps(ACTIVE[name])
        for _ in range(6):
            if looked:
                inputs, targets = batch("chain", seed=77)
                copy.deepcopy(steps.model)(inputs * 100)
                evaluate(steps.model, Examples(inputs * 100, targets))
            steps.learn()
            if looked:
                copy.deepcopy(steps.model)(inputs).sum().backward()
            steps.act()
        assert steps.hook is not None
        steps.hook.close()
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in steps.model.modules())
        found.append(copy.deepcopy((dict(steps.model.state_dict()), steps.state)))
    for ours, others in zip(*found, strict=True):
        assert all(torch.equal(ours[key], others[key]) for key in others)


@pytest.mark.parametrize("name", EAGER)
def test_the_draws_of_a_step_do_not_depend_on_those_before(name: str) -> None:
    rule = EAGER[name](draw="torch")
    streams = [Steps(rule), Steps(rule)]
    drawn = []
    for steps, before in zip(streams, ((1, 2), ()), strict=True):
        fresh = rule.fresh(steps.context)
        units = layers_of(steps.model)[0]
        all_of_them = torch.ones(units.num_units, dtype=torch.bool)
        for step in before:
            fresh(step).weights(units, all_of_them)
        drawn.append((fresh(3).weights(units, all_of_them), fresh(4).weights(units, all_of_them)))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(*drawn[0])


# ---------------------------------------------------------------------------------- whole runs


def make_model(generator: torch.Generator) -> nn.Module:
    return network("chain", int(torch.randint(2**31, (), generator=generator)))


def stream() -> Stream:
    inputs, targets = batch("chain", 60, seed=9)
    return Stream(cut(Examples(inputs[:40], targets[:40]), 2), Examples(inputs[40:], targets[40:]))


CONFIG = TrainConfig(batch_size=8, criterion="epochs", max_epochs=3)


@pytest.mark.parametrize("name", ACTIVE)
def test_a_run_that_was_stopped_goes_on_with_the_same_bits_in_both_engines(name: str, tmp_path: object) -> None:
    from pathlib import Path

    from dashtheory.protocol import Checkpoints

    assert isinstance(tmp_path, Path)
    found = []
    for engine in (PlainEngine, FastEngine):
        task = Task(
            make_model=make_model,
            make_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
            make_engine=engine,
        )
        kept, finished = Checkpoints(tmp_path / engine.__name__, {}), []
        for result in run_stages(stream(), ACTIVE[name], task, CONFIG, seed=1):
            finished.append(result.metrics())
            kept.save(result.stage, result.learner, finished, result.state)
            found.append(copy.deepcopy((dict(result.learner.model.state_dict()), dict(result.state))))
        torch.manual_seed(99)
        (again,) = run_stages(stream(), ACTIVE[name], task, CONFIG, seed=1, resume=kept.load(1))
        found.append(copy.deepcopy((dict(again.learner.model.state_dict()), dict(again.state))))
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in again.learner.model.modules())
    counts = [value for key, value in found[1][1].items() if key.startswith("resets")]
    assert name in ("cpr", "snr") or any(value.any() for value in counts)
    for one in (2, 4, 5):
        for ours, others in zip(found[1], found[one], strict=True):
            assert ours.keys() == others.keys()
            assert all(torch.equal(ours[key], others[key]) for key in ours)
