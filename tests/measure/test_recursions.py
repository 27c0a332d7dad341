"""The recursions against autograd, and sympy's derivation against both."""

from __future__ import annotations

import pytest
import sympy as sp  # type: ignore[import-untyped]
import torch
from torch import Tensor
from torch.nn import functional

from dashtheory.measure import (
    Coefficients,
    Frame,
    PatchRecursion,
    ReluRecursion,
    initial_coefficients,
    neuron_cosine,
    step_coefficients,
)
from dashtheory.measure import symbolic as formulas
from dashtheory.rules import group_cosines
from tests.measure.tracked import Data, Network, Patch, Relu, Tracked, loss_of, make

KINDS = ("patch", "relu")
SIZE = (6, 20, 50)


class InCoefficients:
    """The same training with coefficients in place of the weights of the first layer."""

    def __init__(self, network: Network, data: Data) -> None:
        self.network, self.data = network, data
        self.frame = Frame.of(network.weight, data.features, data.noise)
        self.coefficients = initial_coefficients(self.frame)
        self.velocity: Coefficients | None = None
        self.others = [p.detach().clone() for p in list(network.parameters())[1:]]
        self.other_velocity = [torch.zeros_like(value) for value in self.others]

    def view(self) -> PatchRecursion | ReluRecursion:
        data = self.data
        if isinstance(self.network, Patch):
            return PatchRecursion(
                frame=self.frame,
                shown=data.shown,
                labels=data.labels,
                signs=self.network.signs,
                power=self.network.power,
                per_class=self.network.per_class,
            )
        bias, output = self.others
        return ReluRecursion(frame=self.frame, shown=data.shown, labels=data.labels, bias=bias, output=output)

    def train(self, steps: int, lr: float, momentum: float) -> None:
        for _ in range(steps):
            view = self.view()
            descent = view.descent(self.coefficients)
            if isinstance(view, ReluRecursion):
                found = view.other_descents(self.coefficients)
                for value, velocity, other in zip(self.others, self.other_velocity, found, strict=True):
                    velocity.mul_(momentum).add_(other)
                    value += lr * velocity  # a new view is made at every step
            self.coefficients, self.velocity = step_coefficients(
                self.coefficients, self.velocity, descent, lr=lr, momentum=momentum
            )


def weights_of(coefficients: Coefficients, init: Tensor, data: Data) -> Tensor:
    return coefficients.c[:, None] * init + coefficients.gamma @ data.features + coefficients.rho @ data.noise


def autograd_descent(network: Network) -> Tensor:
    network.zero_grad()
    loss_of(network).backward()
    assert network.weight.grad is not None
    return -network.weight.grad


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("orthonormal", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_training_in_coefficients_is_training_in_weights(kind: str, orthonormal: bool, momentum: float) -> None:
    data = Data.draw(*SIZE, seed=2, orthonormal=orthonormal)
    network = make(kind, data)
    free = InCoefficients(network, data)
    tracked = Tracked(network, data, lr=0.4, momentum=momentum)
    factors = torch.linspace(0.1, 1, 6, dtype=torch.float64)
    for _ in range(2):
        tracked.train(25)
        free.train(25, 0.4, momentum)
        tracked.shrink(factors)
        free.coefficients = free.coefficients.scaled(factors)
    for name in ("gamma", "rho", "c"):
        mine, theirs = (getattr(value, name) for value in (free.coefficients, tracked.truth))
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-13), name
    assert float(free.coefficients.rho.abs().max()) > 0.01
    assert torch.allclose(weights_of(free.coefficients, tracked.init, data), network.weight, rtol=0, atol=1e-13)
    assert torch.allclose(free.view().outputs(free.coefficients), network(), rtol=0, atol=1e-13)
    for mine, theirs in zip(free.others, list(network.parameters())[1:], strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_descent_and_cosine_are_those_of_autograd(kind: str) -> None:
    data = Data.draw(*SIZE, seed=4, orthonormal=False)
    network = make(kind, data, scale=0.5)
    tracked = Tracked(network, data, lr=0.3)
    free = InCoefficients(network, data)
    tracked.train(10)
    free.train(10, 0.3, 0.9)
    view = free.view()
    descent = view.descent(free.coefficients)
    expected = autograd_descent(network)
    assert torch.allclose(weights_of(descent, tracked.init, data), expected, rtol=0, atol=1e-14)
    cosine = functional.cosine_similarity(network.weight, expected, dim=1)
    assert torch.allclose(neuron_cosine(free.coefficients, descent, free.frame), cosine, rtol=0, atol=1e-12)
    as_shrink = group_cosines(network.weight.detach(), expected, kind="row")
    assert torch.allclose(neuron_cosine(free.coefficients, descent, free.frame), as_shrink, rtol=0, atol=1e-12)
    if isinstance(view, ReluRecursion):
        assert isinstance(network, Relu)
        found = view.other_descents(free.coefficients)
        for mine, parameter in zip(found, (network.bias, network.output), strict=True):
            assert parameter.grad is not None
            assert torch.allclose(mine, -parameter.grad, rtol=0, atol=1e-14)


@pytest.mark.parametrize("power", [1.0, 1.75, 2.0, 3.0])
def test_a_neuron_is_aligned_if_it_helps_the_samples_that_are_not_fitted(power: float) -> None:
    data = Data.draw(*SIZE, seed=5)
    network = make("patch", data, scale=0.5)
    assert isinstance(network, Patch)
    network.power = power
    free = InCoefficients(network, data)
    view = free.view()
    assert isinstance(view, PatchRecursion)
    expected = (network.weight * autograd_descent(network)).sum(dim=1)
    helped = view.helpfulness(free.coefficients)
    assert torch.allclose(helped, expected, rtol=1e-12, atol=1e-15)
    assert torch.allclose(view.neuron_outputs(free.coefficients).sum(dim=0), network(), atol=1e-14)
    cosines = neuron_cosine(free.coefficients, view.descent(free.coefficients), free.frame)
    assert torch.equal(cosines > 0, helped > 0)
    assert 0 < int((helped > 0).sum()) < len(helped)


def test_a_neuron_without_weights_or_descent_has_cosine_0() -> None:
    data = Data.draw(*SIZE, seed=6)
    network = make("patch", data)
    free = InCoefficients(network, data)
    frame, zero = free.frame, free.coefficients.scaled(0.0)
    descent = free.view().descent(free.coefficients)
    assert torch.equal(neuron_cosine(zero, descent, frame), torch.zeros(6, dtype=torch.float64))
    assert torch.equal(neuron_cosine(free.coefficients, zero, frame), torch.zeros(6, dtype=torch.float64))


def test_seeds_and_rules_are_stacked_along_leading_axes() -> None:
    draws = [Data.draw(*SIZE, seed=seed) for seed in (7, 8)]
    stacked = Data(
        *(torch.stack(list(parts)) for parts in zip(*(vars(data).values() for data in draws), strict=True))
    )
    init = torch.randn(2, 4, 50, generator=torch.Generator().manual_seed(0)).double()
    signs = torch.tensor([1.0, -1, 1, -1])
    output = torch.randn(2, 4, generator=torch.Generator().manual_seed(1)).double()

    def steps(data: Data, init: Tensor, output: Tensor, kind: str) -> Coefficients:
        frame = Frame.of(init, data.features, data.noise)
        x, u = initial_coefficients(frame), None
        for _ in range(3):
            view: PatchRecursion | ReluRecursion = PatchRecursion(
                frame=frame, shown=data.shown, labels=data.labels, signs=signs, power=1.75, per_class=2
            )
            if kind == "relu":
                view = ReluRecursion(
                    frame=frame, shown=data.shown, labels=data.labels, bias=output / 9, output=output
                )
            x, u = step_coefficients(x, u, view.descent(x), lr=0.3, momentum=0.9)
        assert neuron_cosine(x, view.descent(x), frame).shape == init.shape[:-1]
        return x

    for kind in KINDS:
        together = steps(stacked, init, output, kind)
        for seed, data in enumerate(draws):
            alone = steps(data, init[seed], output[seed], kind)
            assert torch.allclose(alone.gamma, together.gamma[seed], atol=1e-14)
            assert torch.allclose(alone.rho, together.rho[seed], atol=1e-14)


# ------------------------------------------------------------------------------------------------------- sympy


def substituted(network: Network, data: Data, neuron: int, symbols: formulas.Symbols) -> dict[sp.Symbol, float]:
    """Numbers for all symbols of a neuron's loss."""
    w = network.weight[neuron].detach()
    free = InCoefficients(network, data)
    view = free.view()
    if isinstance(view, PatchRecursion):
        own = view.neuron_outputs(free.coefficients)[neuron]
        extra = {formulas.SIGN: float(view.signs[neuron]), formulas.NUM_NEURONS: view.per_class}
        extra[formulas.POWER] = view.power
    else:
        own = view.output[neuron] * view.preactivations(free.coefficients)[neuron].clamp_min(0)
        extra = {formulas.OUTPUT: float(view.output[neuron]), formulas.BIAS: float(view.bias[neuron])}
    others = view.outputs(free.coefficients) - own
    values = [data.features @ w, data.noise @ w, others, data.labels, data.shown.flatten()]
    numbers = torch.cat(values).tolist()
    return dict(zip(symbols.arguments, numbers, strict=True)) | extra


@pytest.mark.parametrize("kind", KINDS)
def test_sympy_derives_the_descent_from_the_loss(kind: str) -> None:
    data = Data.draw(2, 3, 9, seed=3, orthonormal=False)
    data.shown = torch.tensor([[1.0, 1], [0, 1], [1, 0]]).double()
    network = make(kind, data, scale=1.0)
    symbols = formulas.Symbols.of(2, 3)
    neuron = formulas.patch_neuron(symbols) if kind == "patch" else formulas.relu_neuron(symbols)
    derived = formulas.descent(symbols, neuron)
    free = InCoefficients(network, data)
    ours = free.view().descent(free.coefficients)
    expected = autograd_descent(network)
    for r in range(4):
        numbers = substituted(network, data, r, symbols)
        gamma, rho = (
            torch.tensor([float(part.subs(numbers)) for part in parts], dtype=torch.float64)
            for parts in (derived.gamma, derived.rho)
        )
        assert torch.allclose(gamma @ data.features + rho @ data.noise, expected[r], rtol=0, atol=1e-14)
        assert torch.allclose(gamma, ours.gamma[r], rtol=0, atol=1e-14)
        assert torch.allclose(rho, ours.rho[r], rtol=0, atol=1e-14)
        loss = float(formulas.loss(symbols, neuron).subs(numbers))
        assert abs(loss - float(loss_of(network).detach())) < 1e-14


def test_the_cosine_in_lengths_and_coefficients_is_that_of_the_weights() -> None:
    symbols = formulas.Symbols.of(2, 2)
    direction = formulas.Descent(*(tuple(sp.symbols(names)) for names in ("d_1 d_2", "e_1 e_2")))
    cosine = formulas.orthogonal_cosine(symbols, direction)
    eye = torch.eye(5, dtype=torch.float64)
    features, noise = eye[:2], eye[2:4] * torch.tensor([[3.0], [0.5]])
    one = Coefficients(
        torch.tensor([[2.0, -1]]).double(), torch.tensor([[1.0, 4]]).double(), torch.zeros(1).double()
    )
    two = Coefficients(
        torch.tensor([[1.0, 3]]).double(), torch.tensor([[0.5, -2]]).double(), torch.zeros(1).double()
    )
    names = [*symbols.gamma, *symbols.rho, *direction.gamma, *direction.rho, *formulas.noise_lengths(symbols)]
    values = [2, -1, 1, 4, 1, 3, 0.5, -2, 3, 0.5]
    number = float(cosine.subs(dict(zip(names, values, strict=True))))
    frame = Frame.of(eye[4:], features, noise)
    assert abs(number - float(neuron_cosine(one, two, frame))) < 1e-15
    w, d = (value.gamma @ features + value.rho @ noise for value in (one, two))
    assert abs(number - float(functional.cosine_similarity(w, d))) < 1e-15


def test_the_identities_of_the_propositions_hold_for_all_numbers() -> None:
    assert formulas.helpfulness_identity(formulas.Symbols.of(1, 2)) == 0
    slope, claimed = formulas.selectivity_slope(3)
    assert sp.simplify(slope - claimed) == 0
    lam, squared = formulas.squared_spread_factor()
    assert sp.simplify(squared - ((1 - lam**2) / (2 * lam)) ** 2) == 0


# ---------------------------------------------------------------------------------------------------- bad input


def test_bad_input_is_named() -> None:
    data = Data.draw(*SIZE, seed=2)
    free = InCoefficients(make("patch", data), data)
    view = free.view()
    descent = view.descent(free.coefficients)
    with pytest.raises(ValueError, match=r"^lr must be a number in"):
        step_coefficients(free.coefficients, None, descent, lr=0)
    with pytest.raises(ValueError, match=r"^momentum must be a number in"):
        step_coefficients(free.coefficients, None, descent, lr=1, momentum=1.5)
    good = vars(view)
    for change, message in (
        ({"power": 0.5}, r"power must be a number in \[1"),
        ({"per_class": 0}, "per_class must be an integer >= 1"),
        ({"labels": torch.tensor([0.0, 1.0])}, "labels must be -1 or 1, got values such as"),
        ({"signs": torch.tensor([0.5])}, "signs must be -1 or 1"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            PatchRecursion(**(good | change))
    with pytest.raises(ValueError, match=r"^labels must be -1 or 1"):
        ReluRecursion(
            frame=free.frame, shown=data.shown, labels=data.shown[:, 0], bias=torch.zeros(6), output=torch.ones(6)
        )
    for bad in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must be an integer >= 1, got 0"):
            formulas.Symbols.of(*bad)
