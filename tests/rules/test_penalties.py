"""Penalties in the loss: each formula at hand size, and the laws that tell one from another."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dashtheory.protocol import TrainConfig, train
from dashtheory.rules import (
    AdamO,
    Decoupling,
    HuberInit,
    Isometry,
    L1Init,
    L2Init,
    Learner,
    Parseval,
    Rule,
    Spectral,
    Wasserstein,
)
from tests.oracles.shrink import entries
from tests.rules.control_cases import Stage, equal, make_net, points, tensors_of


def learner_of(*parts: nn.Module) -> Learner:
    model = nn.Sequential(*parts).double()
    return Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))


def value_of(rule: Rule, learner: Learner, state: Any) -> float:
    penalty = rule.penalty(learner.model, state)
    return 0.0 if penalty is None else float(penalty().detach())


def moved(stage: Stage) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """(now, first) of all that is trained."""
    return {
        name: (entries(value), entries(stage.start[name]))
        for name, value in stage.learner.model.named_parameters()
    }


NORMS = ("1.weight", "1.bias", "4.weight", "4.bias")


def huber(d: float, delta: float) -> float:
    return d * d / 2 if abs(d) <= delta else delta * (abs(d) - delta / 2)


@pytest.mark.parametrize("on", ["layers", "no_norms", "all"])
def test_pulls_to_the_first_weights_are_their_formulas(on: str) -> None:
    stage = Stage()
    pairs = [pair for name, pair in moved(stage).items() if on == "all" or name not in NORMS]
    apart = np.concatenate([(now - first).ravel() for now, first in pairs]).tolist()
    expected = {
        L1Init(strength=0.3, on=on): 0.3 * sum(abs(d) for d in apart),
        HuberInit(strength=0.3, on=on, delta=0.01): 0.3 * sum(huber(d, 0.01) for d in apart),
        L2Init(l2=0.3, form="textbook", on=on): 0.3 * sum(d * d for d in apart),
        L2Init(l2=0.3, form="norm", on=on): 0.3 * sum(d * d for d in apart) ** 0.5,
        Wasserstein(strength=0.3, on=on): 0.3
        * sum(float(((np.sort(now, None) - np.sort(first, None)) ** 2).mean()) for now, first in pairs),
    }
    for rule, value in expected.items():
        assert value_of(rule, stage.learner, rule.start(stage.first)) == pytest.approx(value, rel=1e-10), rule


@pytest.mark.parametrize("rule", [L1Init(), HuberInit(), L2Init(form="norm"), Wasserstein()], ids=str)
def test_pulls_begin_at_zero_with_a_slope_of_zero(rule: Rule) -> None:
    stage = Stage()
    penalty = rule.penalty(stage.first.model, rule.start(stage.first))
    assert penalty is not None
    found = penalty()
    assert float(found.detach()) == 0
    slopes: Any = torch.autograd.grad(found, list(stage.first.model.parameters()), allow_unused=True)
    assert all(one is None or not one.any() for one in slopes)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_wasserstein_is_at_most_the_square_and_blind_to_the_order(entries: list[float], random: Any) -> None:
    first = learner_of(nn.Linear(len(entries), 1, bias=False))
    weight = first.model.get_parameter("0.weight")
    rule = Wasserstein(strength=1.0, over="sum")
    state = rule.start(first)
    start = weight.detach().clone()

    def at(values: list[float]) -> float:
        with torch.no_grad():
            weight.copy_(torch.tensor([values], dtype=torch.float64))
        return value_of(rule, first, state)

    found = at(entries)
    assert found <= float((weight.detach() - start).square().sum()) + 1e-12
    mixed = list(entries)
    random.shuffle(mixed)
    assert at(mixed) == pytest.approx(found)
    order = start.flatten().argsort().argsort()
    kept = torch.tensor(sorted(entries), dtype=torch.float64)[order]
    at(kept.tolist())
    assert found == pytest.approx(float((kept - start.flatten()).square().sum()))


def gram(weight: Any, s: float) -> float:
    matrix = weight.reshape(len(weight), -1)
    return float(((matrix @ matrix.T - s * np.eye(len(matrix))) ** 2).sum())


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("by_width", [True, False])
def test_parseval_is_its_formula(last: bool, by_width: bool) -> None:
    stage = Stage()
    names = ["0.weight", "3.weight", "6.weight", *(["8.weight"] if last else [])]
    weights = [entries(stage.twin.get_parameter(name)) for name in names]
    expected = sum((64 / len(one) if by_width else 1) ** 2 * gram(one, 1.5) for one in weights)
    rule = Parseval(strength=0.1, s=1.5, last=last, by_width=by_width)
    assert value_of(rule, stage.learner, {}) == pytest.approx(0.1 * expected)
    learner = learner_of(nn.Linear(5, 3))
    with torch.no_grad():
        learner.model.get_parameter("0.weight").copy_(1.5**0.5 * torch.eye(3, 5, dtype=torch.float64))
    rule = Parseval(s=1.5, last=True)
    assert value_of(rule, learner, {}) == pytest.approx(0, abs=1e-20)
    assert value_of(Parseval(), learner, {}) == 0  # there is no hidden layer


@pytest.mark.parametrize(("groups", "cut"), [(1, [0, 7]), (2, [0, 4, 7]), (3, [0, 3, 5, 7]), (99, [*range(8)])])
def test_rows_of_one_group_alone_are_pulled_apart_by_parseval(groups: int, cut: list[int]) -> None:
    learner = learner_of(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))
    rows = entries(learner.model.get_parameter("0.weight"))
    expected = (64 / 7) ** 2 * sum(gram(rows[a:b], 2.0) for a, b in itertools.pairwise(cut))
    assert value_of(Parseval(strength=1.0, groups=groups), learner, {}) == pytest.approx(expected)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    angles = (64 / 7) ** 2 * sum(gram((rows / lengths)[a:b], 1.0) for a, b in itertools.pairwise(cut))
    rule = Parseval(strength=1.0, groups=groups, angles=True)
    assert value_of(rule, learner, {}) == pytest.approx(angles, rel=1e-9, abs=1e-18)


def test_isometry_takes_the_smaller_gram_matrix() -> None:
    learner = learner_of(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    tall, wide = (entries(learner.model.get_parameter(f"{place}.weight")) for place in (0, 2))
    assert value_of(Isometry(strength=0.5), learner, {}) == pytest.approx(0.5 * (gram(tall.T, 1) + gram(wide, 1)))


@pytest.mark.parametrize("rate", [0.1, 0.02])
def test_adamo_takes_the_step_of_the_penalty_beside_the_optimizer(rate: float) -> None:
    learner = learner_of(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    learner.optimizer.param_groups[0]["lr"] = rate
    tall, wide = (entries(learner.model.get_parameter(f"{place}.weight")) for place in (0, 2))
    hook = AdamO(strength=0.3).after_step(learner, Stage().context)
    assert hook is not None
    hook.call(1)
    for place, w, slope in (
        (0, tall, 4 * tall @ (tall.T @ tall - np.eye(2))),
        (2, wide, 4 * (wide @ wide.T - np.eye(3)) @ wide),
    ):
        found = learner.model.get_parameter(f"{place}.weight").detach()
        np.testing.assert_allclose(found, w - rate * 0.3 * slope, rtol=1e-12)
    assert all(value.grad is None for value in learner.model.parameters())


def test_adamo_keeps_adams_averages_to_the_task() -> None:
    """After a step its averages are those of Adam on the task alone; with the penalty in the loss they are not."""

    def averages(rule: Rule) -> dict[str, Tensor]:
        model = make_net(torch.Generator().manual_seed(0))
        model[3].p = 0.0  # type: ignore[index]
        learner = Learner(model, torch.optim.Adam(model.parameters(), lr=0.01))
        config = TrainConfig(batch_size=24, criterion="epochs", max_epochs=1)
        train(
            learner,
            points(24, 0),
            config,
            torch.Generator().manual_seed(0),
            penalty=rule.penalty(model, {}),
            after_step=rule.after_step(learner, Stage().context),
        )
        return tensors_of(learner.optimizer)

    warm = averages(AdamO(strength=0))
    assert equal(warm, averages(AdamO(strength=0.1)))
    assert not equal(warm, averages(Isometry(strength=0.1)))


@pytest.mark.parametrize("k", [1, 2])
def test_spectral_is_its_formula_once_its_vectors_are_there(k: int) -> None:
    stage = Stage()
    rule = Spectral(strength=0.1, k=k)
    penalty = rule.penalty(stage.learner.model, rule.start(stage.first))
    assert penalty is not None
    for _ in range(300):
        penalty()
    expected = 0.0
    for name, value in stage.twin.named_parameters():
        now = entries(value)
        if name in ("1.weight", "4.weight"):
            expected += float(((abs(now) ** k - 1) ** 2).sum())
        elif name.endswith("weight"):
            expected += float((np.linalg.svd(now.reshape(len(now), -1))[1][0] ** k - 1) ** 2)
        else:
            expected += float((now**2).sum() ** k)
    assert float(penalty().detach()) == pytest.approx(0.1 * expected, rel=1e-9)


def test_the_vectors_of_spectral_are_its_state_and_move_by_one_step_a_look() -> None:
    learner = learner_of(nn.Linear(6, 4, bias=False))
    rule = Spectral()
    state = {name: value.clone() for name, value in rule.start(learner).items()}
    weight = learner.model.get_parameter("0.weight")
    with torch.no_grad():
        weight.copy_(torch.randn(4, 6, dtype=torch.float64))
    before = state["0.weight"].clone()
    penalty = rule.penalty(learner.model, state)
    assert penalty is not None
    penalty()
    expected = (weight @ (weight.T @ before)).detach()
    torch.testing.assert_close(state["0.weight"], expected / expected.norm())


def test_decoupling_is_the_mean_square_of_the_logits() -> None:
    penalty = Decoupling(strength=0.2).batch_penalty(nn.Identity(), Stage().context)
    assert penalty is not None
    logits: Tensor = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    assert float(penalty(logits, logits, logits)) == pytest.approx(0.2 * 14 / 4)


def test_a_state_of_another_model_is_refused() -> None:
    stage = Stage()
    for rule in (L1Init(), HuberInit(), Wasserstein(), L2Init(on="all"), Spectral()):
        state = dict(rule.start(stage.first))
        del state["8.weight"]
        with pytest.raises(ValueError, match=r"^state must hold .*8\.weight"):
            rule.penalty(stage.learner.model, state)
    assert dataclasses.replace(L1Init(), strength=0).penalty(stage.learner.model, {}) is None
