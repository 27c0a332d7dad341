"""Shrink and perturb, both forms: what they must leave alone, and bad input."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dashtheory.rules import shrink_and_perturb_
from tests.oracles.shrink import chunks, network
from tests.rules.perturb_cases import everything, same, stream

NAN, INF = float("nan"), float("inf")


@pytest.fixture(params=["noise", "fresh"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def apply(model: nn.Module, form: str, name: str = "convolutions") -> None:
    """Either form with its own source of randomness."""
    if form == "noise":
        shrink_and_perturb_(model, generator=stream())
    else:
        shrink_and_perturb_(model, shrink=0.4, perturb=0.1, fresh=network(name))


@pytest.mark.parametrize("name", ["convolutions", "attention"])
def test_shrink_one_and_perturb_zero_is_the_identity_to_the_bit(name: str, form: str) -> None:
    model = network(name)
    before = everything(model)
    if form == "noise":
        shrink_and_perturb_(model, shrink=1, perturb=0, generator=stream())
    else:
        fresh = network(name)
        fresh.load_state_dict(before)  # the same buffers
        with torch.no_grad():
            for value in fresh.parameters():
                value.add_(1)
        shrink_and_perturb_(model, shrink=1, perturb=0, fresh=fresh)
    assert same(everything(model), before)


# ------------------------------------------------------------------------------------------- both forms: purity


@pytest.mark.parametrize("name", ["tied_linear", "tied_embedding"])
def test_a_shared_weight_is_changed_exactly_once(name: str, form: str) -> None:
    model = network(name)
    tied = next(value for value in model.parameters())
    before = tied.detach().clone()
    if form == "noise":
        shrink_and_perturb_(model, shrink=0.5, perturb=0, generator=stream())
    else:
        shrink_and_perturb_(model, shrink=0.5, perturb=0, fresh=network(name))
    assert torch.equal(tied, 0.5 * before)
    assert len([1 for _, value in model.named_parameters(remove_duplicate=False) if value is tied]) == 2


def test_frozen_parameters_keep_their_bits(form: str) -> None:
    model = network("convolutions")
    model.get_submodule("0").requires_grad_(False)
    before = everything(model)
    apply(model, form)
    assert torch.equal(model.get_parameter("0.weight"), before["0.weight"])
    assert torch.equal(model.get_parameter("0.bias"), before["0.bias"])
    assert not torch.equal(model.get_parameter("8.weight"), before["8.weight"])


def test_all_but_the_weights_stays_as_it_was(form: str) -> None:
    model = network("convolutions").train()
    model.get_submodule("1").eval()
    model.get_parameter("3.weight").grad = torch.ones(5, 6, 1, 1, dtype=torch.float64)

    def state() -> list[object]:
        return [
            [module.training for module in model.modules()],
            [(id(value), value.data_ptr(), value.requires_grad, value.is_leaf) for value in model.parameters()],
            [id(value.grad) for value in model.parameters()],
            [None if value.grad is None else value.grad.tolist() for value in model.parameters()],
            [(id(buffer), buffer.data_ptr()) for buffer in model.buffers()],
        ]

    before = state()
    apply(model, form)
    assert state() == before


def test_the_optimizer_state_stays_to_the_bit(form: str) -> None:
    model, data = network("convolutions"), chunks("convolutions")
    optimizer = torch.optim.Adam(model.parameters())
    functional.cross_entropy(model(data[0][0]), data[0][1]).backward()
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    apply(model, form)
    after = optimizer.state_dict()
    assert before["param_groups"] == after["param_groups"]
    for index, entry in before["state"].items():
        assert all(torch.equal(entry[key], after["state"][index][key]) for key in entry)


def test_global_random_streams_stay_where_they_were(form: str) -> None:
    model, fresh = network("perceptron"), network("perceptron")
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  (the global stream is what is watched)
    states = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    if form == "noise":
        shrink_and_perturb_(model, generator=stream())
    else:
        shrink_and_perturb_(model, fresh=fresh)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert repr(np.random.get_state()) == states[2]  # noqa: NPY002


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_works_in_every_gradient_mode(form: str, context: Callable[[], AbstractContextManager[None]]) -> None:
    model = network("perceptron")
    twin = copy.deepcopy(model)
    torch.manual_seed(1)
    apply(twin, form, "perceptron")
    torch.manual_seed(1)
    fresh = network("perceptron")
    with context():
        if form == "noise":
            shrink_and_perturb_(model, generator=stream())
        else:
            shrink_and_perturb_(model, shrink=0.4, perturb=0.1, fresh=fresh)
    assert same(everything(model), everything(twin))
    model(chunks("perceptron")[0][0]).sum().backward()


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("argument", "value", "interval"),
    [
        *(("shrink", value, r"\[0, 1\]") for value in (-0.1, 1.01, True, NAN, INF, "0.3", None, [0.3])),
        *(("perturb", value, r"\[0, inf\)") for value in (-0.1, False, NAN, INF, -INF, "0.01", None, 1j)),
    ],
)
def test_arguments_out_of_range_are_named_with_their_value(
    form: str, argument: str, value: Any, interval: str
) -> None:
    model = network("perceptron")
    before = everything(model)
    source: dict[str, Any] = {"generator": stream()} if form == "noise" else {"fresh": network("perceptron")}
    with pytest.raises(
        ValueError, match=rf"^{argument} must be a number in {interval}, got {re.escape(repr(value))}\."
    ):
        shrink_and_perturb_(model, **{argument: value}, **source)
    assert same(everything(model), before)


@pytest.mark.parametrize("both", [False, True])
def test_exactly_one_source_of_randomness_is_asked_for(both: bool) -> None:
    model = network("perceptron")
    before = everything(model)
    source: dict[str, Any] = {"generator": stream(), "fresh": network("perceptron")} if both else {}
    with pytest.raises(ValueError, match=rf"^generator must be given .* got generator={both}, fresh={both}\."):
        shrink_and_perturb_(model, **source)
    assert same(everything(model), before)


@pytest.mark.parametrize("build", [lambda: nn.Linear(2, 2).requires_grad_(False), lambda: nn.BatchNorm1d(2)])
def test_noise_form_refuses_a_model_with_nothing_to_shrink(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(ValueError, match="model must have a convolution or linear layer"):
        shrink_and_perturb_(build(), generator=stream())


def test_noise_form_refuses_a_parametrized_layer_before_any_change() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    before = everything(model)
    with pytest.raises(ValueError, match=r"computed 1\.weight"):
        shrink_and_perturb_(model, generator=stream())
    assert same(everything(model), before)
