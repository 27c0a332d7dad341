"""The optimizers by name: what each is, its options and defaults, and wrong values."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dashtheory.deep.config import OPTIMIZER_NAMES
from dashtheory.protocol.optimizers import OPTIMIZERS, SAM, make_optimizer
from dashtheory.rules import TRAC, UPGD, Muon
from dashtheory.rules.muon import by_shape
from tests.protocol.optimizer_cases import batches, bits, net, scalars, step


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.1)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1)),
        (
            "sam",
            lambda p: SAM(p, learning_rate=0.05, momentum=0.8, weight_decay=0.1, rho=0.2),
        ),
        ("upgd", lambda p: UPGD(p, learning_rate=0.05, weight_decay=0.1)),
        ("trac", lambda p: TRAC(torch.optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.1))),
        ("muon", lambda p: Muon(*by_shape(p), learning_rate=0.05, weight_decay=0.1)),
    ],
)
def test_names_mean_these_optimizers(name: str, make: Callable[[object], torch.optim.Optimizer]) -> None:
    ours, theirs = net(), net()
    one = make_optimizer(name, ours.parameters(), learning_rate=0.05, momentum=0.8, weight_decay=0.1, rho=0.2)
    two = make(theirs.parameters())
    assert type(one) is type(two)
    for batch in batches(4):
        step(ours, one, batch)
        step(theirs, two, batch)
    assert bits(ours) == bits(theirs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_option_matters_exactly_where_the_table_says_so(name: str) -> None:
    defaults: dict[str, Any] = {"learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.1, "rho": 0.5}

    def run(**changes: float) -> list[bytes]:
        model = net()
        optimizer = make_optimizer(name, model.parameters(), **{**defaults, **changes})
        for batch in batches(3) * (20 if name == "trac" else 1):  # whose first steps are too small to be seen
            step(model, optimizer, batch)
        return bits(model)

    usual = run()
    for option, value in defaults.items():
        assert (run(**{option: value / 2}) != usual) == (option in OPTIMIZERS[name]), option


def test_a_command_line_knows_them_all() -> None:
    assert tuple(OPTIMIZERS) == OPTIMIZER_NAMES


def test_the_defaults_are_the_papers() -> None:
    group = make_optimizer("sam", net().parameters(), learning_rate=0.1).param_groups[0]
    assert {key: group[key] for key in group if key != "params"} == {
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "rho": 0.1,
    }
    group = make_optimizer("sgd", net().parameters(), learning_rate=0.1).param_groups[0]
    assert [group[key] for key in ("momentum", "weight_decay", "dampening", "nesterov")] == [0.9, 0, 0, False]
    assert make_optimizer("adamw", net().parameters(), learning_rate=0.1).param_groups[0]["weight_decay"] == 0
    (a,) = scalars(1.0)
    assert SAM([a], learning_rate=0.1).defaults == {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "rho": 0.1}


def test_weight_decay_acts_on_every_parameter() -> None:
    model = net()
    optimizer = make_optimizer("sgd", model.parameters(), learning_rate=0.1, weight_decay=0.5, momentum=0.0)
    before = copy.deepcopy(model)
    optimizer.zero_grad()
    sum((parameter * 0).sum() for parameter in model.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    for parameter, old in zip(model.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(parameter.data, old.data * 0.95)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("lion", {}, "name must be one of sgd, adam, adamw, sam, upgd, trac, muon, got 'lion'"),
        ("sgd", {"learning_rate": 0.0}, r"learning_rate must be a number in \(0, inf\), got 0.0"),
        ("adam", {"learning_rate": float("nan")}, "learning_rate must be a number"),
        ("sgd", {"momentum": 1.1}, r"momentum must be a number in \[0, 1\], got 1.1"),
        ("adam", {"momentum": -0.1}, r"momentum must be a number in \[0, 1\], got -0.1"),
        ("adamw", {"weight_decay": -1.0}, "weight_decay must be a number"),
        ("sam", {"rho": -0.1}, r"rho must be a number in \[0, inf\), got -0.1"),
        ("sgd", {"rho": float("inf")}, "rho must be a number"),
    ],
)
def test_wrong_values_are_named(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_optimizer(name, net().parameters(), **{"learning_rate": 0.1, **changes})
    if name == "sam":
        with pytest.raises(ValueError, match=message):
            SAM(net().parameters(), **{"learning_rate": 0.1, **changes})
