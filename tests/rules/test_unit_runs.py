"""What is reset, frozen, laid out otherwise, looked at, stopped: rules on units in whole stages and runs."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from dashtheory.evaluate import evaluate
from dashtheory.protocol import Checkpoints, FastEngine, PlainEngine, Task, TrainConfig, run_stages
from dashtheory.rules import Learner, PartialReset, ReDo, ReGraMa, Rule, SelectiveReset, SelfNormalizedReset
from dashtheory.stream import Examples, Stream, cut
from tests.rules.unit_cases import ACTIVE, EAGER, NETWORKS, Steps, batch, layers_of, network


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
            before = [model.get_parameter(f"{name}.weight").detach().clone() for name in ("0", "4", "7")]
            Steps(rule, model=model).take(4)
            after = [model.get_parameter(f"{name}.weight") for name in ("0", "4", "7")]
            assert all(map(torch.equal, before, after))


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


@pytest.mark.parametrize(
    "rule",
    [
        ReDo(tau=5, every=5),
        ReGraMa(tau=5, every=5),
        PartialReset(r=0.5, every=5),
        SelectiveReset(share=0.5, every=5),
        SelfNormalizedReset(update=5, cap=8000),
    ],
    ids=str,
)
def test_steps_are_counted_through_stages_that_are_shorter_than_a_period(rule: Rule) -> None:
    steps = Steps(rule)
    told = ("resets", "score", "threshold")

    def noted() -> dict[str, torch.Tensor]:
        if isinstance(rule, PartialReset):
            return {"head": steps.model.get_parameter("9.weight").detach().clone()}
        return {key: value.clone() for key, value in steps.state.items() if key.startswith(told)}

    for length in (3, 1, 1):
        for _ in range(length):
            steps.learn()
            before = noted()
            steps.act()
            acted = any(not torch.equal(value, before[key]) for key, value in noted().items())
            assert acted == (int(steps.state["steps"]) == 5)
        assert steps.hook is not None
        steps.hook.close()
        steps.hook, steps.done = rule.after_step(steps.learner, steps.context), 0
    assert int(steps.state["steps"]) == 5


# ---------------------------------------------------------------------------------- whole runs


def make_model(generator: torch.Generator) -> nn.Module:
    return network("chain", int(torch.randint(2**31, (), generator=generator)))


def stream() -> Stream:
    inputs, targets = batch("chain", 60, seed=9)
    return Stream(cut(Examples(inputs[:40], targets[:40]), 2), Examples(inputs[40:], targets[40:]))


CONFIG = TrainConfig(batch_size=8, criterion="epochs", max_epochs=3)


@pytest.mark.parametrize("name", ACTIVE)
def test_a_run_that_was_stopped_goes_on_with_the_same_bits_in_both_engines(name: str, tmp_path: Path) -> None:
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


def test_one_layer_alone_has_no_weights_to_select() -> None:
    model = nn.Sequential(nn.Linear(4, 2))
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"^model must have a trainable layer before its last, got Sequential"):
        SelectiveReset().start(learner)
    assert SelectiveReset(last=True).start(learner)
