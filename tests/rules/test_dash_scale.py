"""DASH asks for directions alone: scales, signs, and zero groups."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.rules import dash_, group_cosines, smoothed_descent
from dashtheory.rules.groups import Kind
from tests.oracles.shrink import chunks, cosine, network
from tests.rules.dash_cases import (
    ENTRIES,
    MATRICES,
    OnlyFirst,
    equal_bits,
    holding,
    minus_inner,
    toward,
    weights_of,
)


@pytest.mark.parametrize("power", [-20, -1, 1, 20])
def test_a_power_of_two_before_the_loss_changes_no_bit(power: int) -> None:
    model, data = network("convolutions", torch.float32), chunks("convolutions", 3, torch.float32)
    scaled = copy.deepcopy(model)
    dash_(model, data, functional.cross_entropy, lam=0.05)
    dash_(scaled, data, lambda out, y: functional.cross_entropy(out, y) * 2.0**power, lam=0.05)
    assert equal_bits(weights_of(model), weights_of(scaled))


@pytest.mark.parametrize("factor", [1e-30, 1e-6, 1e-3, 0.3, 7, 1e3, 1e6, 1e30])
@pytest.mark.parametrize("name", ["convolutions", "attention"])
def test_a_positive_factor_before_the_loss_keeps_the_cosines(name: str, factor: float) -> None:
    model, data = network(name, torch.float32), chunks(name, 3, torch.float32)
    scaled = copy.deepcopy(model)
    report = dash_(model, data, functional.cross_entropy, lam=0.05)
    other = dash_(scaled, data, lambda out, y: functional.cross_entropy(out, y) * factor, lam=0.05)
    for a, b in zip(report.layers, other.layers, strict=True):
        # The factor rounds every product of the backward pass anew, by 2^-24 each.
        torch.testing.assert_close(a.cosines, b.cosines, rtol=0, atol=3e-5, msg=a.name)


def test_turning_the_loss_around_turns_the_cosines_around() -> None:
    model, data = network("perceptron"), chunks("perceptron")
    report = dash_(copy.deepcopy(model), data, functional.cross_entropy)
    other = dash_(model, data, lambda out, y: -functional.cross_entropy(out, y))
    for a, b in zip(report.layers, other.layers, strict=True):
        torch.testing.assert_close(a.cosines, -b.cosines, rtol=0, atol=1e-12)


@settings(max_examples=40)
@given(weight=MATRICES, descent=MATRICES, powers=st.tuples(st.integers(-60, 60), st.integers(-60, 60)))
def test_lengthening_a_group_keeps_its_scale(weight: Any, descent: Any, powers: tuple[int, int]) -> None:
    factors = 2.0 ** torch.tensor(powers, dtype=torch.float64)[:, None]
    short, long = holding(torch.tensor(weight)), holding(factors * torch.tensor(weight))
    data = [toward(torch.tensor(descent))]
    first, second = dash_(short, data, minus_inner)["weight"], dash_(long, data, minus_inner)["weight"]
    assert torch.equal(first.scales, second.scales)
    assert torch.equal(factors * short.weight, long.weight)


@settings(max_examples=80)
@given(
    weight=MATRICES,
    descent=MATRICES,
    sizes=st.tuples(*[st.sampled_from([1e-36, 1e-20, 1e-3, 1.0, 1e3, 1e20, 1e36])] * 2),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_cosines_are_right_at_every_size_of_their_arguments(
    weight: Any, descent: Any, sizes: tuple[float, float], dtype: torch.dtype
) -> None:
    w, g = torch.tensor(weight * sizes[0], dtype=dtype), torch.tensor(descent * sizes[1], dtype=dtype)
    found = group_cosines(w, g, "row")
    assert found.dtype == dtype
    assert (found.abs() <= 1).all()
    expected = [cosine(a.double().tolist(), b.double().tolist()) for a, b in zip(w, g, strict=True)]
    # Three entries: a dozen roundings.
    np.testing.assert_allclose(found, expected, rtol=0, atol=12 * torch.finfo(dtype).eps)


@settings(max_examples=40)
@given(weight=arrays(np.float64, (2, 2, 3), elements=ENTRIES), kind=st.sampled_from(["kernel", "row", "vector"]))
def test_a_group_has_cosine_one_with_itself_and_minus_one_with_its_negative(weight: Any, kind: Kind) -> None:
    values = torch.tensor(weight)
    axes = {"kernel": 2, "row": 1, "vector": 0}[kind]
    nonzero = (values != 0).reshape(*values.shape[:axes], -1).any(dim=-1).flatten().double()
    np.testing.assert_allclose(group_cosines(values, 3 * values, kind), nonzero, rtol=0, atol=1e-15)
    np.testing.assert_allclose(group_cosines(values, -values / 3, kind), -nonzero, rtol=0, atol=1e-15)


@pytest.mark.parametrize("zero", ["weights", "gradient"])
@pytest.mark.parametrize("lam", [0, 0.3])
def test_a_zero_group_or_gradient_has_cosine_zero_and_scale_lam(zero: str, lam: float) -> None:
    weight, descent = torch.ones(2, 3), torch.ones(2, 3)
    (weight if zero == "weights" else descent)[1] = 0
    model = holding(weight)
    layer = dash_(model, [toward(descent)], minus_inner, lam=lam)["weight"]
    assert layer.cosines.tolist() == pytest.approx([1, 0])
    assert layer.scales.tolist() == pytest.approx([1, lam])
    assert layer.share_clamped == 0.5
    assert model.weight[1].tolist() == pytest.approx([0, 0, 0] if zero == "weights" else [lam, lam, lam])


def test_a_layer_unused_in_the_forward_pass_gets_scale_lam() -> None:
    only_first = OnlyFirst()
    before = only_first.unused.weight.detach().clone()
    report = dash_(only_first, [(torch.ones(3, 2), torch.ones(3, 2))], functional.mse_loss, lam=0.25)
    assert report["unused.weight"].cosines.tolist() == [[0, 0], [0, 0]]
    assert report["unused.bias"].scales.item() == 0.25
    assert torch.equal(only_first.unused.weight, 0.25 * before)


def test_a_parameter_used_by_one_chunk_only_keeps_its_part_of_the_average() -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)

        def forward(self, value: Tensor) -> Tensor:
            out: Tensor = self.first(value) if value[0, 0] > 0 else self.second(value)
            return out

    plus, minus = torch.tensor([[1.0, 2.0], [1.0, 3.0]]), torch.tensor([[-1.0, 2.0], [1.0, 3.0]])
    descent, _ = smoothed_descent(Either(), [toward(plus), toward(minus)], minus_inner, alpha=0.25)
    torch.testing.assert_close(descent["first.weight"], 0.25 * 0.75 * plus)
    torch.testing.assert_close(descent["second.weight"], 0.25 * minus)
