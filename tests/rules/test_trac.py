"""TRAC: the paper's formulas, what it is at scale 1, and where it would undo what others do."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erfi
from torch import Tensor, nn

from dashtheory.protocol import Task, run_stages
from dashtheory.rules import SAM, TRAC, anchored, make_rule, trac
from tests.oracles.optimizers import TracByHand, erfi_series
from tests.protocol.optimizer_cases import batches, bits, loss_of, net, step
from tests.rules.control_cases import CONFIG, STREAM, make_net, run

Make = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
BASES: dict[str, Make] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.05),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
}


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, number: int, first: int = 0) -> nn.Module:
    for batch in batches(first + number)[first:]:
        step(model, optimizer, batch)
    return model


@pytest.mark.parametrize("base", BASES)
def test_with_scale_one_it_is_its_base_to_the_bit(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, ours = net(), net()
    monkeypatch.setattr(TRAC, "_scaled", lambda self, slope: 1.0)
    monkeypatch.setattr(TRAC, "scale", 1.0)
    steps(plain, BASES[base](plain.parameters()), 6)
    steps(ours, TRAC(BASES[base](ours.parameters())), 6)
    assert bits(ours) == bits(plain)


def test_the_bet_is_erfi_on_the_lead() -> None:
    for x in np.linspace(-3, 5, 17):
        assert float(erfi(x)) == pytest.approx(erfi_series(float(x)), rel=1e-10, abs=1e-12)
    lead = erfi_series(3 / math.sqrt(6)) / erfi_series(math.sqrt(0.5))
    assert trac.bet(3.0, 3.0) == pytest.approx(lead, rel=1e-6)
    assert math.isfinite(trac.bet(1e9, 1.0))


@pytest.mark.parametrize("betas", [(0.9,), (0.9, 0.99, 0.999), trac.BETAS])
def test_it_is_the_paper_s_algorithm(betas: tuple[float, ...]) -> None:
    """Base, reference and scale apart, in double precision, on the gradients at the scaled weights."""
    prior = 1e-2
    ours, theirs = net().double(), net().double()
    optimizer = TRAC(BASES["Adam"](ours.parameters()), betas=betas, prior=prior)
    base_model = copy.deepcopy(theirs)  # goes its own way
    base = BASES["Adam"](base_model.parameters())
    reference = [value.detach().clone() for value in theirs.parameters()]
    tuner, scales = TracByHand(betas, prior), []
    for batch in batches(25):
        batch = batch[0].double(), batch[1]
        optimizer.zero_grad()
        theirs.zero_grad()
        loss_of(ours, batch).backward()
        optimizer.step()
        loss_of(theirs, batch).backward()
        slope = 0.0
        for one, other, start in zip(theirs.parameters(), base_model.parameters(), reference, strict=True):
            assert one.grad is not None
            slope += float((one.grad * (other.detach() - start)).sum())
            other.grad = one.grad
        base.step()
        scale = tuner.scale(slope)
        scales.append(scale)
        with torch.no_grad():
            for one, other, start in zip(theirs.parameters(), base_model.parameters(), reference, strict=True):
                one.copy_(start + scale * (other - start))
                one.grad = None
        assert optimizer.scale == pytest.approx(scale, rel=1e-6, abs=1e-12)
        for one, mine in zip(theirs.parameters(), ours.parameters(), strict=True):
            torch.testing.assert_close(mine, one, rtol=1e-6, atol=1e-9)
    assert max(scales) > 10 * prior  # it learned to go farther


def test_it_learns_what_its_base_learns_in_the_end() -> None:
    """From a scale of 1e-8, and in float32, where the displacement cannot be seen in the weights at first."""
    model = net(norm=False)
    optimizer = TRAC(torch.optim.SGD(model.parameters(), lr=0.1))
    (batch,) = batches(1)
    before = float(loss_of(model, batch).detach())
    scales = []
    for _ in range(150):
        step(model, optimizer, batch)
        scales.append(optimizer.scale)
    assert scales[1] < 1e-6
    assert scales[-1] > 0.1
    assert float(loss_of(model, batch).detach()) < 0.7 * before


@pytest.mark.parametrize("base", BASES)
def test_it_goes_on_from_a_state_dict_and_from_a_copy(base: str) -> None:
    whole = net()
    steps(whole, TRAC(BASES[base](whole.parameters()), prior=1e-2), 8)
    first = net()
    optimizer = TRAC(BASES[base](first.parameters()), prior=1e-2)
    steps(first, optimizer, 4)
    again, other = copy.deepcopy((first, optimizer)), net(seed=3)
    other.load_state_dict(first.state_dict())
    loaded = TRAC(BASES[base](other.parameters()), prior=1e-2)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for model, its in (again, (other, loaded)):
        steps(model, its, 4, first=4)
        assert bits(model) == bits(whole)


def test_changed_weights_are_refused_unless_it_is_told() -> None:
    def shrunk(told: bool) -> tuple[nn.Module, TRAC]:
        model = net(norm=False)
        optimizer = TRAC(BASES["SGD"](model.parameters()), prior=1e-2)
        steps(model, optimizer, 4)
        with torch.no_grad(), anchored(*[optimizer] * told, model=model):
            for parameter in model.parameters():
                parameter.mul_(0.5)
        return model, optimizer

    with pytest.raises(ValueError, match=r"^weights must be as the last step of TRAC left them"):
        steps(*shrunk(told=False), 1)
    model, optimizer = shrunk(told=True)
    before = [value.detach().clone() for value in model.parameters()]
    steps(model, optimizer, 1)
    for one, other in zip(model.parameters(), before, strict=True):
        assert float((one - other).detach().norm()) < 0.1 * float(other.norm())
        assert torch.equal(optimizer.state[one]["reference"], other)


@pytest.mark.parametrize("rule", ["dash", "sp", "uniform", "reset", "reset_last", "reset_full", "inject", "cold"])
def test_rules_between_stages_hold_under_it(rule: str) -> None:
    """The first weights of a stage are what the rule left, and the stage ends."""

    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return TRAC(torch.optim.SGD(parameters, lr=0.1), prior=1e-2)

    task = Task(make_model=make_net, make_optimizer=make)
    assert len([*run_stages(STREAM, make_rule(rule), task, CONFIG, seed=0)]) == len(STREAM.chunks)
    with pytest.raises(ValueError, match="left them"):
        [*run_stages(STREAM, make_rule("sp_steps", perturb=0.1), task, CONFIG, seed=0)]


def test_its_reference_is_kept_or_renewed() -> None:
    def references(state: str) -> list[Tensor]:
        found = []
        for result in run(make_rule("trac", state=state), "Adam"):
            weight = result.learner.model.get_parameter("0.weight")
            found.append(result.learner.optimizer.state[weight]["reference"].clone())
        return found

    kept, renewed = references("kept"), references("renewed")
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kept[0], renewed[0])
    assert not torch.equal(renewed[0], renewed[1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"betas": ()}, r"^betas must be numbers"),
        ({"betas": (0.9, 2.0)}, r"^betas must be a number in \(0, 1\]"),
        ({"prior": 0}, r"^prior must be "),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_rule("trac", **options)


def test_a_base_that_wants_two_gradients_is_refused() -> None:
    model = net()
    for base in (SAM(model.parameters(), learning_rate=0.1), torch.optim.LBFGS(model.parameters())):
        with pytest.raises(ValueError, match=r"^optimizer must step on one gradient, got (SAM|LBFGS)\."):
            TRAC(base)
