"""What holds of a unit that is reset, and of all that is not."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from dashtheory.rules import ContinualBackprop, ReDo, ReGraMa, Rule, SelfNormalizedReset
from dashtheory.rules.unit_rule import DRAWS, ResetRule
from tests.rules.unit_cases import EAGER, OPTIMIZERS, Steps, batch, layers_of, network, silence_


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
