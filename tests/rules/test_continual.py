"""Regularisers of continual learning: importances by hand, and what holds for each penalty."""

from __future__ import annotations

import copy
import dataclasses
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.rules import EWC, MAS, SI, Context, LwF, OnlineEWC, Rule, RuleState
from dashtheory.rules.lwf import divergence
from tests.oracles.shrink import chunks
from tests.rules.control_cases import Stage, equal, run


def finished(rule: Rule, stage: Stage, state: RuleState | None = None) -> dict[str, Tensor]:
    """The rule's state after a stage that ended with the stage's learner."""
    state = rule.start(stage.first) if state is None else state
    return dict(rule.finish(stage.learner, dataclasses.replace(stage.context, state=state)))


def mean_over_batches(stage: Stage, size: int, of: Any, *, training: bool = False) -> dict[str, Tensor]:
    """Mean over mini-batches of |gradient| or its square, one batch after another."""
    model = copy.deepcopy(stage.twin).train(training)
    found = [torch.zeros_like(value) for value in model.parameters()]
    number = 0
    for inputs, targets in chunks(stage.name):
        for start in range(0, len(inputs), size):
            model.zero_grad()
            of(model(inputs[start : start + size]), targets[start : start + size]).backward()
            number += 1
            for sum_, value in zip(found, model.parameters(), strict=True):
                assert value.grad is not None
                sum_ += value.grad**2 if of is functional.cross_entropy else value.grad.abs()
    return {name: sum_ / number for (name, _), sum_ in zip(model.named_parameters(), found, strict=True)}


def value_of(rule: Rule, model: nn.Module, state: RuleState) -> float:
    penalty = rule.penalty(model, state)
    return 0.0 if penalty is None else float(penalty().detach())


def shifted(model: nn.Module) -> nn.Module:
    """A copy, one off everywhere."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    return model


@pytest.mark.parametrize("size", [1, 2, 128])
def test_fisher_is_that_of_mini_batches_with_true_labels(size: int) -> None:
    stage = Stage()
    state = finished(EWC(batch_size=size), stage)
    expected = mean_over_batches(stage, size, functional.cross_entropy)
    for name, value in stage.twin.named_parameters():
        torch.testing.assert_close(state[f"fisher 1.{name}"], expected[name], rtol=1e-10, atol=1e-14)
        assert torch.equal(state[f"anchor 1.{name}"], value)
    total = sum(float(value.sum()) for value in expected.values())
    assert value_of(EWC(strength=0.7), shifted(stage.twin), state) == pytest.approx(0.7 * total)


def test_of_the_newest_chunk_alone_the_others_play_no_part() -> None:
    stage = Stage()
    newest = dataclasses.replace(stage.context, chunks=lambda: chunks(stage.name)[-1:])
    alone = EWC().finish(stage.learner, newest)
    assert equal(finished(EWC(newest=True), stage), alone)
    assert not equal(finished(EWC(), stage), alone)


def test_ewc_adds_a_set_a_stage_and_online_ewc_keeps_one() -> None:
    stage, other = Stage(), Stage()
    other.learner.model.load_state_dict(shifted(stage.twin).state_dict())
    first = finished(EWC(), stage)
    both = finished(EWC(), other, first)
    assert set(both) == {name.replace(" 1.", f" {stage}.") for name in first for stage in (1, 2)}
    model = shifted(shifted(stage.twin))
    alone = finished(EWC(), other)
    fishers = (sum(float(v.sum()) for k, v in one.items() if k.startswith("fisher")) for one in (first, alone))
    old, new = fishers
    assert value_of(EWC(), model, both) == pytest.approx(4 * old + new)
    online = finished(OnlineEWC(decay=0.25), other, finished(OnlineEWC(decay=0.25), stage))
    assert set(online) == set(first)
    assert value_of(OnlineEWC(decay=0.25), model, online) == pytest.approx(0.25 * old + new)


@pytest.mark.parametrize("training", [True, False])
def test_mas_looks_at_the_output_alone_and_moves_no_statistic(training: bool) -> None:
    stage = Stage()
    rule = MAS(training=training, batch_size=5, strength=0.3, alpha=0.25)
    state = finished(rule, stage)
    expected = mean_over_batches(
        stage, 5, lambda outputs, targets: (outputs**2).sum(dim=1).mean(), training=training
    )
    for name in expected:
        torch.testing.assert_close(state[f"importance.{name}"], expected[name], rtol=1e-10, atol=1e-14)
    assert equal(stage.learner.model.state_dict(), stage.twin.state_dict())
    total = sum(float(value.sum()) for value in expected.values())
    assert value_of(rule, shifted(stage.twin), state) == pytest.approx(0.3 * total)
    again = finished(rule, stage, {**state, **{name: 3 * v for name, v in state.items() if name[0] == "i"}})
    for name in expected:
        mixed = 0.25 * 3 * expected[name] + 0.75 * expected[name]
        torch.testing.assert_close(again[f"importance.{name}"], mixed, rtol=1e-10, atol=1e-14)


def test_synaptic_intelligence_is_gain_over_distance() -> None:
    """Three steps by hand, their path from gradients and changes."""
    stage, rule = Stage(), SI(strength=0.4, damping=1e-3, most=0.5)
    state = rule.start(stage.learner)
    hook = rule.after_step(stage.learner, dataclasses.replace(stage.context, state=state))
    assert hook is not None
    assert not hook.recordable
    model, optimizer = stage.learner.model, torch.optim.SGD(stage.learner.model.parameters(), lr=0.5)
    paths = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for step, (inputs, targets) in enumerate(chunks(stage.name), start=1):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), targets).backward()
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        optimizer.step()
        hook.call(step)
        for name, value in model.named_parameters():
            assert value.grad is not None
            paths[name] -= value.grad * (value.detach() - before[name])
    after = finished(rule, stage, state)
    total = 0.0
    for name, value in model.named_parameters():
        apart = (value.detach() - stage.twin.get_parameter(name).detach()) ** 2
        omega = (paths[name] / (apart + 1e-3)).clamp(0, 0.5)
        torch.testing.assert_close(after[f"omega.{name}"], omega, rtol=1e-9, atol=1e-12)
        assert not after[f"path.{name}"].any()
        assert torch.equal(after[f"anchor.{name}"], value)
        total += float(omega.sum())
    assert total > 0
    assert value_of(rule, shifted(model), after) == pytest.approx(0.2 * total)


def test_a_killed_stage_begins_its_path_again() -> None:
    stage, rule = Stage(), SI()
    state = {
        name: value + 1 if name.startswith("path") else value for name, value in rule.start(stage.first).items()
    }
    rule.after_step(stage.learner, dataclasses.replace(stage.context, state=state))
    assert not any(value.any() for name, value in state.items() if name.startswith("path"))


@pytest.mark.parametrize("rule", [EWC(), OnlineEWC(), MAS(), SI()], ids=str)
def test_the_penalty_is_zero_where_the_stage_ended_and_importance_never_negative(rule: Rule) -> None:
    stage = Stage()
    state = finished(rule, stage)
    assert value_of(rule, stage.learner.model, state) == 0
    weights = {name: value for name, value in state.items() if name.startswith(("fisher", "importance", "omega"))}
    assert weights
    assert all((value >= 0).all() for value in weights.values())
    ones = {name: torch.ones_like(value) if name in weights else value for name, value in state.items()}
    number = sum(value.numel() for value in stage.twin.parameters())
    factor = 0.5 if isinstance(rule, SI) else 1.0
    assert value_of(rule, shifted(stage.learner.model), ones) == pytest.approx(factor * number)


def test_in_the_first_stage_there_is_nothing_to_hold_on_to() -> None:
    warm = run(SI(strength=0), "Adam")[0].metrics()
    for rule in (EWC(), OnlineEWC(), MAS(), SI(), LwF()):
        assert run(rule, "Adam")[0].metrics() == warm
        assert run(rule, "Adam")[1].state.keys() == run(rule, "Adam")[0].state.keys() or isinstance(rule, EWC)


def test_lwf_asks_the_network_of_the_stage_before() -> None:
    stage, rule = Stage(), LwF(strength=0.6, temperature=3.0)
    context: Context = dataclasses.replace(stage.context, state=finished(rule, stage))
    stage.learner.model.load_state_dict(shifted(stage.twin).state_dict())
    penalty = rule.batch_penalty(stage.learner.model, context)
    assert penalty is not None
    inputs, targets = next(iter(chunks(stage.name)))
    logits = torch.randn(len(inputs), 3, dtype=torch.float64)
    old = (stage.twin.eval()(inputs) / 3).softmax(dim=-1)
    new = (logits / 3).softmax(dim=-1)
    expected = 0.6 * float((old * (old / new).log()).sum(dim=-1).mean().detach())
    assert float(penalty(inputs, targets, logits)) == pytest.approx(expected)
    assert float(divergence(logits, logits, 2.0)) == pytest.approx(0, abs=1e-12)
    assert rule.batch_penalty(stage.learner.model, stage.context) is None


def test_in_training_mode_a_last_example_alone_is_left_out() -> None:
    """Batch normalization has no variance of one example."""
    stage = Stage("perceptron")
    assert any(isinstance(part, nn.BatchNorm1d) for part in stage.twin.modules())
    five = list(chunks(stage.name))
    found = []
    for parts in (five, [(x[:4], y[:4]) for x, y in five]):
        streams = torch.Generator().manual_seed(1)
        context = dataclasses.replace(stage.context, chunks=partial(iter, parts), generator=streams)
        found.append(dict(MAS(batch_size=4).finish(stage.learner, context)))
    assert equal(*found)


def test_a_divergence_of_one_output_is_refused() -> None:
    """It would be zero whatever the network says."""
    with pytest.raises(ValueError, match="logits must be of two classes or more"):
        divergence(torch.randn(5, 1), torch.randn(5, 1))
