"""Effective steps and turns at hand size, and what rules do to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dashtheory.measure import effective_step, mean_effective_step, rescaling_and_turn, scale_invariant
from dashtheory.rules import dash_, shrink_and_perturb_


def net() -> nn.Sequential:
    """A convolution and a linear layer with batch norms, and a classifier."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(12, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)),
    )


INPUTS = torch.randn(10, 2, 3, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(10) % 2
LAYERS = ("0.weight", "4.weight")


def test_a_step_is_its_size_over_the_squared_length() -> None:
    model = net()
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(0.5)  # 24 entries: squared length 6, 2 per filter
        model.get_parameter("0.weight")[0, 0, 0, 0] = 2.5  # another direction: 12 and 8
        model.get_parameter("4.weight").copy_(torch.eye(4, 12))
    found = effective_step(model, 0.1, INPUTS)
    assert tuple(found["layer"]) == scale_invariant(model, INPUTS) == LAYERS
    assert found["effective_step"].tolist() == pytest.approx([0.1 / 12, 0.1 / 4])
    assert found["norm"].tolist() == pytest.approx([math.sqrt(12), 2])
    assert mean_effective_step(found) == pytest.approx(math.sqrt(0.1 / 12 * 0.1 / 4))
    by_filter = effective_step(model, 0.1, INPUTS, level="filter")
    assert by_filter["output"].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert by_filter["effective_step"].tolist() == pytest.approx([0.1 / 8, 0.05, 0.05, *[0.1] * 4])


def test_an_optimizer_gives_each_layer_its_own_step_and_law() -> None:
    model = net()
    first, rest = [model.get_parameter("0.weight")], list(model.parameters())[1:]
    groups: list[dict[str, Any]] = [{"params": first, "lr": 1.0, "initial_lr": 2.0}, {"params": rest}]
    plain = effective_step(model, 1.0, layers=LAYERS)["effective_step"]
    sgd = effective_step(model, torch.optim.SGD(groups, lr=3.0), layers=LAYERS)["effective_step"]
    assert (sgd / plain).tolist() == pytest.approx([2, 3])  # the base rate, under a schedule
    adam = effective_step(model, torch.optim.Adam(groups, lr=3.0), layers=LAYERS)["effective_step"]
    assert adam.tolist() == pytest.approx([2 * math.sqrt(plain[0]), 3 * math.sqrt(plain[1])])


@pytest.mark.parametrize("s", [0.3, 2.0])
def test_a_uniform_shrink_divides_it_by_the_square_of_its_factor(s: float) -> None:
    model = net()
    before = effective_step(model, 0.1, INPUTS)["effective_step"]
    shrink_and_perturb_(model, shrink=min(s, 1), perturb=0, generator=torch.Generator())
    after = effective_step(model, 0.1, INPUTS)["effective_step"]
    assert (after / before).tolist() == pytest.approx([min(s, 1) ** -2] * 2)


def test_dash_is_a_step_size_per_filter_and_a_turn_per_kernel() -> None:
    model = net()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    report = dash_(model, [(INPUTS, LABELS)], nn.functional.cross_entropy, lam=0.3)
    factor, angle = rescaling_and_turn(before["4.weight"], model.get_parameter("4.weight"))
    assert torch.allclose(factor, report["4.weight"].scales.double(), rtol=1e-6)
    assert float(angle.max()) < 1e-6  # rows of float32
    factor, angle = rescaling_and_turn(before["0.weight"], model.get_parameter("0.weight"))
    d, kernels = report["0.weight"].scales.double().numpy(), before["0.weight"].double().numpy()
    share = (kernels**2).sum(axis=(2, 3))
    share /= share.sum(axis=1, keepdims=True)
    mean, square = (share * d).sum(axis=1), (share * d**2).sum(axis=1)
    np.testing.assert_allclose(factor.numpy(), np.sqrt(square), rtol=1e-6)
    np.testing.assert_allclose(np.tan(angle.numpy()), np.sqrt(square - mean**2) / mean, atol=1e-6)
    assert float(angle.max()) <= math.acos(2 * math.sqrt(0.3) / 1.3) + 1e-6


@given(st.floats(-3.1, 3.1), st.floats(0.01, 100))
def test_a_turn_is_the_angle_it_was_made_with(angle: float, factor: float) -> None:
    before = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    cos, sin = math.cos(angle), math.sin(angle)
    after = factor * before @ torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float64)
    found = rescaling_and_turn(before, after)
    assert float(found.factor) == pytest.approx(factor)
    assert float(found.angle) == pytest.approx(abs(angle), abs=1e-14)


def test_bad_arguments_are_refused_in_one_line() -> None:
    model = net()
    for call, words in (
        (lambda: effective_step(model, 0.1), "inputs must be given exactly when"),
        (lambda: effective_step(model, 0.1, INPUTS, layers=LAYERS), "inputs must be given exactly when"),
        (lambda: effective_step(model, 0.0, INPUTS), "step_size must be a number in"),
        (lambda: effective_step(model, 0.1, layers=("9.weight",)), "layers must be one of"),
        (
            lambda: effective_step(model, torch.optim.SGD(net().parameters()), INPUTS),
            "step_size must be the optim",
        ),
        (lambda: effective_step(model, 0.1, INPUTS, level="kernel"), "level must be one of tensor, filter"),
        (lambda: rescaling_and_turn(torch.ones(2, 3), torch.ones(3, 2)), "after must have the shape of before"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            call()
    assert math.isnan(mean_effective_step(effective_step(model, 0.1, layers=())))
