"""What DASH refuses before any weight moves: numbers that are not finite, and bad input."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.errors import Diverged
from dashtheory.rules import dash_
from tests.oracles.shrink import NUM_CLASSES, Chunk, chunks, network
from tests.rules.dash_cases import OnlyFirst, equal_bits, minus_inner, pair, weights_of

NAN, INF = float("nan"), float("inf")


class Branches(nn.Module):
    """Two layers on two halves of the input: a bad value in one half spoils one layer's gradient only."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)

    def forward(self, value: Tensor) -> Tensor:
        """Sum of both layers."""
        out: Tensor = self.left(value[:, :2]) + self.right(value[:, 2:])
        return out


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(("half", "layer"), [(0, "left.weight"), (2, "right.weight")])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_non_finite_gradient_names_batch_and_layer_before_any_weight_moves(
    index: int, half: int, layer: str, value: float
) -> None:
    model = Branches()
    before = weights_of(model)
    data = [(torch.ones(3, 4), torch.ones(3, 2)) for _ in range(3)]
    data[index][0][1, half] = value

    with pytest.raises(Diverged, match=rf"batches must give finite gradients, .*{layer} at batch {index}\b"):
        dash_(model, data, minus_inner)
    assert equal_bits(weights_of(model), before)


def test_a_non_finite_gradient_is_refused_though_the_loss_is_finite() -> None:
    model, data = Branches(), [(torch.ones(3, 4), torch.ones(3, 2))]
    before = weights_of(model)
    with pytest.raises(Diverged, match=r"left\.weight at batch 0 \(loss 0\)"):
        dash_(model, data, lambda out, y: (0 * out.sum()).abs().sqrt())
    assert equal_bits(weights_of(model), before)


def test_nan_weights_are_refused_before_any_weight_moves() -> None:
    model, data = network("convolutions"), chunks("convolutions")
    with torch.no_grad():
        model.get_parameter("8.weight")[1, 1] = NAN
    before = weights_of(model)
    with pytest.raises(Diverged, match=r"8\.weight|at batch 0 \(loss nan\)"):
        dash_(model, data, functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_infinite_weights_are_refused_though_loss_and_gradients_are_finite() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, NUM_CLASSES))
    with torch.no_grad():
        model.get_parameter("0.bias")[1] = -INF  # a unit switched off for good
    before, data = weights_of(model), chunks("perceptron", 1, torch.float32)
    assert functional.cross_entropy(model(data[0][0]), data[0][1]).isfinite()
    with pytest.raises(Diverged, match=r"0\.bias"):
        dash_(model, data, functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_nan_weights_of_an_unused_layer_are_refused() -> None:
    model = OnlyFirst()
    with torch.no_grad():
        model.unused.weight[1, 1] = NAN
    before = weights_of(model)
    with pytest.raises(Diverged, match=r"unused\.weight"):
        dash_(model, [(torch.ones(3, 2), torch.ones(3, 2))], functional.mse_loss)
    assert equal_bits(weights_of(model), before)


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_non_finite_loss_is_refused_though_its_gradient_is_finite(value: float) -> None:
    model, data = pair(), chunks("perceptron")
    before = weights_of(model)
    with pytest.raises(Diverged, match=r"loss.* batch 0\b"):
        dash_(model, data, lambda out, y: functional.cross_entropy(out, y) + value)
    assert equal_bits(weights_of(model), before)


def test_a_chunk_without_samples_is_refused_by_number() -> None:
    model, data = pair(), chunks("perceptron")
    data[1] = (data[1][0][:0], data[1][1][:0])
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"batch 1\b"):
        dash_(model, data, functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_no_batches_are_refused() -> None:
    model = pair()
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"batches must yield one \(input, target\) per chunk, got none"):
        dash_(model, iter(()), functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


@pytest.mark.parametrize(
    ("item", "got"),
    [
        (torch.zeros(2, 4), "Tensor"),
        ((torch.zeros(2, 4),), "tuple"),
        ((torch.zeros(2, 4), torch.zeros(2), torch.zeros(2)), "tuple"),
        ({"input": 1, "target": 2}, "dict"),
        ("xy", "str"),
        (None, "NoneType"),
    ],
)
def test_batches_that_are_not_pairs_are_refused(item: Any, got: str) -> None:
    model = pair()
    before = weights_of(model)
    with pytest.raises(ValueError, match=rf"batches must yield \(input, target\) pairs, got {got} at batch 1\."):
        dash_(model, [*chunks("perceptron", 1), item], functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_a_pair_may_be_a_list() -> None:
    model, data = pair(), chunks("perceptron")
    twin = copy.deepcopy(model)
    lists: Any = [list(chunk) for chunk in data]
    dash_(model, data, functional.cross_entropy)
    dash_(twin, lists, functional.cross_entropy)
    assert equal_bits(weights_of(model), weights_of(twin))


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (lambda out, y: functional.cross_entropy(out, y, reduction="none"), r"shape \(5,\)"),
        (lambda out, y: functional.cross_entropy(out, y).reshape(1), r"shape \(1,\)"),
        (lambda out, y: functional.cross_entropy(out, y).item(), "float"),
        (lambda out, y: None, "NoneType"),
        (lambda out, y: functional.cross_entropy(out, y).detach(), ""),
    ],
    ids=["per sample", "one entry", "number", "nothing", "detached"],
)
def test_a_loss_that_is_no_differentiable_scalar_is_refused(loss: Callable[..., Any], got: str) -> None:
    model = pair()
    before = weights_of(model)
    with pytest.raises(ValueError, match=rf"loss_fn must .*{got}.* at batch 0\."):
        dash_(model, chunks("perceptron"), loss)
    assert equal_bits(weights_of(model), before)


@pytest.mark.parametrize(
    ("argument", "value", "interval"),
    [
        *(("alpha", value, r"\(0, 1\]") for value in (0, -0.1, 1.5, True, NAN, INF, 10**400, "0.3", None)),
        *(("lam", value, r"\[0, 1\]") for value in (-0.1, 1.01, False, NAN, -INF, "0.3", None, [0.3])),
    ],
)
def test_arguments_out_of_range_are_named_with_their_value(argument: str, value: Any, interval: str) -> None:
    model = pair()
    before = weights_of(model)
    seen = []

    def data() -> Iterator[Chunk]:
        seen.append(1)
        yield from chunks("perceptron")

    with pytest.raises(
        ValueError, match=rf"^{argument} must be a number in {interval}, got {re.escape(repr(value))}\."
    ):
        dash_(model, data(), functional.cross_entropy, **{argument: value})
    assert equal_bits(weights_of(model), before)
    assert not seen


@pytest.mark.parametrize("alpha", [np.float32(0.25), np.float64(0.25), 1])
def test_any_real_number_is_taken(alpha: Any) -> None:
    model = pair()
    twin = copy.deepcopy(model)
    dash_(model, chunks("perceptron"), functional.cross_entropy, alpha=alpha, lam=alpha)
    dash_(twin, chunks("perceptron"), functional.cross_entropy, alpha=float(alpha), lam=float(alpha))
    assert equal_bits(weights_of(model), weights_of(twin))


def test_a_generator_of_batches_is_consumed_once_and_before_any_weight_moves() -> None:
    model, data = network("perceptron"), chunks("perceptron")
    twin = copy.deepcopy(model)
    before, served = weights_of(model), []

    def stream() -> Iterator[Chunk]:
        for chunk in data:
            assert equal_bits(weights_of(model), before)
            served.append(chunk)
            yield chunk

    report = dash_(model, stream(), functional.cross_entropy)
    assert len(served) == report.num_batches == len(data)
    dash_(twin, data, functional.cross_entropy)
    assert equal_bits(weights_of(model), weights_of(twin))
