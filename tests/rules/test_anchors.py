"""Optimizers and averages with weights of their own: a rule holds, and what is left of it can be asked."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from dashtheory.rules import (
    Context,
    Learner,
    RuleUndone,
    ShrinkReport,
    anchored,
    check_after_step,
    dash_,
    make_rule,
)

DATA = (torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3)


class Masters(torch.optim.Optimizer):
    """SGD on a float32 copy, written over the weights after every step."""

    key = "master"

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 0.05) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if self.key not in state:
                    state[self.key] = p.detach().float().clone()
                state[self.key] -= group["lr"] * p.grad.float()
                p.copy_(state[self.key])


class Unheard(Masters):
    """The same under a name that nobody knows."""

    key = "twin"


class Lookahead(torch.optim.SGD):
    """Slow weights under timm's name, half of the way to them every other step."""

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        super().step()
        group = self.param_groups[0]
        group["count"] = group.get("count", 0) + 1
        for p in group["params"]:
            slow = self.state[p].setdefault("lookahead_slow_buff", p.detach().clone())
            if group["count"] % 2 == 0:
                slow.lerp_(p, 0.5)
                p.copy_(slow)


class SGDScheduleFree(torch.optim.Optimizer):
    """y in the model; z moves, and y is between z and an average of it."""

    def __init__(self, params: Iterable[nn.Parameter]) -> None:
        super().__init__(params, {"lr": 0.1, "count": 0})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.param_groups[0]["count"] += 1
        for p in self.param_groups[0]["params"]:
            z = self.state[p].setdefault("z", p.detach().clone())
            average = p.lerp(z, 1 - 1 / 0.9)
            z -= 0.1 * p.grad
            average.lerp_(z, 1 / self.param_groups[0]["count"])
            p.copy_(average.lerp(z, 0.1))


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    for _ in range(number):
        optimizer.zero_grad()
        functional.cross_entropy(model(DATA[0]), DATA[1]).backward()
        optimizer.step()


def shrunk(model: nn.Module) -> ShrinkReport:
    return dash_(model, [DATA], functional.cross_entropy, lam=0.05)


@pytest.mark.parametrize("make", [Masters, Lookahead])
def test_known_copies_start_anew_from_the_shrunk_weights(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = network()
    optimizer = make(model.parameters())
    steps(model, optimizer, 40)
    other = copy.deepcopy((model, optimizer))
    report = shrunk(other[0])
    steps(*other, 2)
    with pytest.warns(RuleUndone, match="of the shrink is left: the optimizer, or an average, keeps a copy"):
        assert check_after_step(report, other[0]).share < 0.7
    with anchored(optimizer):
        report = shrunk(model)
    assert check_after_step(report, model).share == pytest.approx(1, abs=1e-5)
    steps(model, optimizer, 2)
    assert check_after_step(report, model).share > 0.9


@pytest.mark.parametrize("held", [True, False])
def test_a_schedule_free_average_starts_anew(held: bool) -> None:
    model = network()
    optimizer = SGDScheduleFree(model.parameters())
    steps(model, optimizer, 40)
    with anchored(*[optimizer] * held):
        shrunk(model)
    for value in model.parameters():  # what the optimizer would evaluate
        average = value.detach().lerp(optimizer.state[value]["z"], 1 - 1 / 0.9)
        assert torch.equal(average, value.detach()) == held


def test_what_is_left_by_hand() -> None:
    model = network()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    report = shrunk(model)
    after = {name: value.detach().clone() for name, value in model.named_parameters()}
    for layer in report:
        assert layer.norm_before == pytest.approx(float(before[layer.name].norm()))
        assert layer.norm_after == pytest.approx(float(after[layer.name].norm()))
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(before[name] if name == "0.weight" else after[name])
    whole = [torch.cat([v.flatten() for v in part.values()]).norm() for part in (before, after)]
    now = torch.cat([value.flatten() for value in model.parameters()]).detach().norm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuleUndone)
        found = check_after_step(report, model)
    assert found.share == pytest.approx(float((whole[0] - now) / (whole[0] - whole[1])), rel=1e-4)
    assert found.layers["0.weight"] == pytest.approx(0, abs=1e-5)
    assert found.layers["2.weight"] == pytest.approx(1, rel=1e-5)


def test_state_that_looks_like_a_copy_is_named() -> None:
    model = network()
    optimizer = Unheard(model.parameters())
    steps(model, optimizer, 3)
    with pytest.warns(RuleUndone, match=r"the state 'twin' of Unheard looks like a copy"), anchored(optimizer):
        shrunk(model)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_the_state_of_ordinary_optimizers_stays_without_a_word(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = network()
    optimizer = make(model.parameters(), lr=0.01)
    steps(model, optimizer, 5)
    before = copy.deepcopy(optimizer.state_dict())
    with anchored(optimizer, model=model):
        shrunk(model)
    after = optimizer.state_dict()
    for place, state in before["state"].items():
        for key, value in state.items():
            assert value is None or torch.equal(
                torch.as_tensor(value), torch.as_tensor(after["state"][place][key])
            )


def test_an_optimizer_of_other_tensors_is_named() -> None:
    model = network()
    optimizer = torch.optim.SGD([value.detach().clone() for value in model.parameters()], lr=0.1)
    words = "SGD steps tensors that are not the parameters"
    with pytest.warns(RuleUndone, match=words), anchored(optimizer, model=model):
        shrunk(model)


@pytest.mark.parametrize("kind", ["module", "holder", "mapping"])
def test_averages_start_anew(kind: str) -> None:
    model = network()
    average = AveragedModel(model)
    average.update_parameters(model)
    keeper: object = average
    values = dict(average.module.named_parameters())
    if kind == "holder":
        keeper = type("Ema", (), {"ema_model": average.module})()
    if kind == "mapping":
        keeper = values
    with anchored(keeper, model=model):
        shrunk(model)
    assert all(torch.equal(values[name], value) for name, value in model.named_parameters())
    if kind == "module":
        assert int(average.n_averaged) == 0


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
@pytest.mark.parametrize("averaged", ["inside", "wrapper"])
@pytest.mark.parametrize("mapping", [True, False])
@pytest.mark.parametrize("outside", [True, False])
def test_averages_start_anew_inside_of_wrappers(wrap: Any, averaged: str, mapping: bool, outside: bool) -> None:
    model = network()
    wrapped = wrap(model)
    of = copy.deepcopy(model) if averaged == "inside" else wrap(copy.deepcopy(model))
    values = dict(of.named_parameters())
    with anchored(values if mapping else of, model=wrapped if outside else model):
        shrunk(model)
    assert all(torch.equal(*pair) for pair in zip(values.values(), model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("keeper", "model", "words"),
    [
        ({"other": torch.ones(3)}, network(), "keepers must hold averages of parameters of the model"),
        (3, None, "keepers must be optimizers or averages, got int"),
        (network(), None, "model must be given with an average"),
    ],
)
def test_what_is_no_keeper_is_refused(keeper: object, model: nn.Module | None, words: str) -> None:
    with pytest.raises(ValueError, match=words), anchored(keeper, model=model):
        pass


def context(model: nn.Module) -> Context:
    return Context(
        chunks=lambda: [DATA],
        loss_fn=functional.cross_entropy,
        fresh=lambda: Learner(network(), Masters(model.parameters())),
        generator=torch.Generator().manual_seed(0),
    )


@pytest.mark.parametrize("name", ["dash", "sp", "uniform"])
def test_rules_of_a_run_hold_under_such_an_optimizer(name: str) -> None:
    model = network()
    optimizer = Masters(model.parameters())
    steps(model, optimizer, 10)
    make_rule(name).apply(Learner(model, optimizer), context(model))
    for value in model.parameters():
        assert torch.equal(optimizer.state[value]["master"], value.detach())
    after: list[Tensor] = [value.detach().clone() for value in model.parameters()]
    steps(model, optimizer, 1)
    now = [value.detach() for value in model.parameters()]
    moved = [float((value - kept).norm() / kept.norm()) for value, kept in zip(now, after, strict=True)]
    assert max(moved) < 0.5


def test_a_report_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"report must be about the parameters of this model, got 0\.weight"):
        check_after_step(shrunk(network()), nn.Sequential(nn.Linear(3, 3)))


def test_no_report_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="report must be"):
        check_after_step(None, network())  # type: ignore[arg-type]
