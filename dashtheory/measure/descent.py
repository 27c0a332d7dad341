"""What a step of descent meets: the sharpest curvature, and whether gradients are strong and agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dashtheory._check import fail, integer, real
from dashtheory._door import door
from dashtheory.copies import copied, refuse_bypass
from dashtheory.evaluate import LossFunction, cross_entropy, evaluating
from dashtheory.stream import Examples

_ROUNDED = 1e-5  # share of |H v|^2 that rounding may leave across an eigenvector


class Sharpness(NamedTuple):
    """The largest eigenvalue of the Hessian, the products that it took, and whether it had settled."""

    value: float
    products: int
    settled: bool


@door()
def sharpness(
    model: nn.Module,
    examples: Examples,
    generator: torch.Generator,
    *,
    loss_fn: LossFunction = cross_entropy,
    max_products: int = 200,
    tolerance: float = 1e-4,
) -> Sharpness:
    """The largest eigenvalue of the Hessian of the mean loss over all trained weights, by power iteration.

    v <- H v / |H v|,    lambda = <v, H v>;    if that is negative or unsettled, once more with H + |H v| 1

    Power iteration finds the eigenvalue of the largest size, which may be a negative one, and none where two of
    that size have both signs (a saddle); the second run, on a matrix without negative eigenvalues, then finds the
    largest. Range: any number, units of the loss over squared
    weights.
    Source: Keskar et al. (ICLR 2017), Cohen et al. (ICLR 2021). What would fool it: dividing a layer in front of a
    norm by 10 multiplies its part by 100 and changes no output; descent with step size eta drives it to 2 / eta
    whatever the data; dropout and batch statistics (here: evaluation mode, hence running ones); two equal
    eigenvalues are found as fast as one, two near ones slowly (`settled`). With ReLUs it is that of the piece on
    which the weights are.

    Args:
        model: a copy is used; all of its layers must have second derivatives.
        examples: one batch, on its device.
        generator: CPU stream of the first direction.
        loss_fn: mean loss.
        max_products: Hessian-vector products at most, per run.
        tolerance: change of lambda, relative to it, at which an iteration stops, and (1e-5 at least) the share of
            |H v|^2 that may then be across v.

    Returns:
        `Sharpness`; `products` counts both runs.

    Raises:
        ValueError: if an argument is out of range, or nothing is trained.
    """
    integer("max_products", max_products, minimum=1, fix="It bounds the work.")
    real("tolerance", tolerance, low=0, open_low=True, fix="1e-4, say.")
    again, weights = _copy(model)
    with evaluating(again), torch.enable_grad():
        output = again(examples.inputs)
        refuse_bypass(model, output)
        loss = loss_fn(output, examples.targets)
        slopes = _filled(torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True), weights)

        def product(vector: Sequence[Tensor]) -> list[Tensor]:
            along = torch.stack([(s * v).sum() for s, v in zip(slopes, vector, strict=True)]).sum()
            if not along.requires_grad:  # a loss that is linear in the weights
                return [torch.zeros_like(weight) for weight in weights]
            return _filled(torch.autograd.grad(along, weights, retain_graph=True, allow_unused=True), weights)

        start = [torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w) for w in weights]
        value, first, settled, size = _largest(product, start, 0.0, max_products, tolerance)
        second = 0
        if value < 0 or not settled:
            other, second, settled, _ = _largest(product, start, -size, max_products, tolerance)
            value = max(value, other)  # neither is above the largest
    return Sharpness(value, first + second, settled)


def _largest(
    product: object, start: list[Tensor], shift: float, most: int, tolerance: float
) -> tuple[float, int, bool, float]:
    """Eigenvalue of the largest size of A = H - shift, plus the shift; products; whether it settled; |A v|."""
    assert callable(product)
    vector, found, size = _unit(start), float("nan"), 0.0
    for number in range(1, most + 1):
        moved = [m.detach() - shift * v for m, v in zip(product(vector), vector, strict=True)]
        before, found = (
            found,
            float(torch.stack([(m * v).sum() for m, v in zip(moved, vector, strict=True)]).sum()),
        )
        size = float(_length(moved))
        if not size:
            return shift, number, True, size
        across = size**2 - found**2  # of the part of H v that is not along v, squared
        if abs(found - before) <= tolerance * abs(found) and across <= max(tolerance, _ROUNDED) * size**2:
            return found + shift, number, True, size
        vector = _unit(moved)
    return found + shift, most, False, size


def _length(vector: Sequence[Tensor]) -> Tensor:
    return torch.stack([value.double().square().sum() for value in vector]).sum().sqrt()


def _unit(vector: Sequence[Tensor]) -> list[Tensor]:
    length = _length(vector)
    return [(value / length).to(value.dtype) for value in vector]


class Readiness(NamedTuple):
    """Squared norm of the full gradient, and its share of the mean squared norm of mini-batch gradients."""

    strength: float
    reliability: float

    @property
    def readiness(self) -> float:
        """Strength times reliability; what a step may gain is this over twice the curvature."""
        return self.strength * self.reliability


@door()
def optimization_readiness(
    model: nn.Module,
    examples: Examples,
    generator: torch.Generator,
    *,
    batch_size: int = 16,
    num_batches: int = 128,
    loss_fn: LossFunction = cross_entropy,
) -> Readiness:
    """Whether a network can still be trained on some data: gradients that are strong, and that agree.

    strength = |g|^2,    reliability = |g|^2 / mean_b |g_b|^2,    readiness = strength x reliability

    with g the gradient over all examples and g_b that over a mini-batch. With curvature at most L along the way, a
    step of size eta along g_b gains eta |g|^2 - eta^2 L E|g_b|^2 / 2 or more on average, at the best eta
    readiness / (2 L). Range: strength and readiness >= 0, units of squared slopes; reliability in [0, 1] up to the
    draw of batches, 1 if all gradients are equal. Source: arXiv:2605.09044, which takes 128 mini-batches and finds
    that it ranks checkpoints better than ranks of representations; the bound is derived here. What would fool it:
    a network that has learned all has none of it and lacks no plasticity, so give data that are new to it; the
    bound says nothing without L (`sharpness`); reliability grows with the batch size.

    Args:
        model: a copy is used, in evaluation mode.
        examples: on its device.
        generator: CPU stream of the mini-batches, drawn without replacement within each.
        batch_size: of the mini-batches.
        num_batches: that are drawn.
        loss_fn: mean loss.

    Returns:
        `Readiness`; reliability is NaN where no gradient is left.

    Raises:
        ValueError: if an argument is out of range, or nothing is trained.
    """
    integer("num_batches", num_batches, minimum=1, fix="128 is usual.")
    if integer("batch_size", batch_size, minimum=1, fix="16, say.") > len(examples):
        rule = f"must be at most the number of examples, {len(examples)}"
        fail("batch_size", rule, str(batch_size), "Take fewer.")
    again, weights = _copy(model)

    def square(part: Examples) -> float:
        output = again(part.inputs)
        refuse_bypass(model, output)
        slopes = torch.autograd.grad(loss_fn(output, part.targets), weights, allow_unused=True)
        return sum(float(slope.abs().double().square().sum()) for slope in slopes if slope is not None)

    with evaluating(again), torch.enable_grad():
        strength = square(examples)
        squares = [
            square(examples.take(torch.randperm(len(examples), generator=generator)[:batch_size]))
            for _ in range(num_batches)
        ]
    mean = sum(squares) / num_batches
    return Readiness(strength, strength / mean if mean else float("nan"))


def _copy(model: nn.Module) -> tuple[nn.Module, list[nn.Parameter]]:
    again = copied(model)
    weights = [value for value in again.parameters() if value.requires_grad]
    if not weights:
        fail("model", "must have weights that are trained", "none", "All are frozen.")
    return again, weights


def _filled(values: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(w) if value is None else value for value, w in zip(values, like, strict=True)]
