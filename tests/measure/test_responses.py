"""Units that respond, weights and outputs that moved, curvature and agreement of gradients: closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dashtheory.measure import (
    active_share,
    churn,
    dead_share,
    distance_to_start,
    dormant_share,
    optimization_readiness,
    sharpness,
    weight_magnitude,
)
from dashtheory.stream import Examples

HIDDEN = torch.tensor([[0.0, 1.0, 3.0, 0.0], [0.0, 1.0, 5.0, 0.04]])


def squared(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return ((outputs - targets) ** 2).mean() / 2


def test_shares_of_units_by_hand() -> None:
    # Mean sizes 0, 1, 4 and 0.02; their mean 1.255.
    assert float(dormant_share(HIDDEN, tau=0.0)) == 0.25
    assert float(dormant_share(HIDDEN)) == 0.5
    assert float(dormant_share(HIDDEN, tau=0.8)) == 0.75
    assert float(dead_share(HIDDEN)) == 0.25
    assert float(active_share(HIDDEN)) == 5 / 8
    assert float(active_share(HIDDEN, saturated=0.99)) == 4 / 8
    assert float(dormant_share(torch.zeros(3, 2))) == float(dead_share(torch.zeros(3, 2))) == 1


@given(factor=st.floats(1e-3, 1e3), copies=st.integers(1, 3))
def test_shares_do_not_see_a_scale_of_the_layer_and_come_by_network(factor: float, copies: int) -> None:
    many = (HIDDEN * factor).expand(copies, 2, -1, -1)
    for share in (dormant_share, dead_share, active_share):
        assert torch.equal(share(many), share(HIDDEN).expand(copies, 2))


def test_shares_refuse_what_is_no_layer() -> None:
    for bad in (torch.zeros(3), torch.zeros(0, 3), torch.full((2, 2), torch.nan)):
        with pytest.raises(ValueError, match=r"^activations must "):
            dead_share(bad)


def test_weights_and_distances_by_hand() -> None:
    linear, norm = nn.Linear(2, 1), nn.LayerNorm(1)
    model = nn.Sequential(linear, norm)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[3.0, -1.0]]))
        linear.bias.fill_(2.0)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    assert weight_magnitude(model) == 2
    assert distance_to_start(model, start) == 0
    with torch.no_grad():
        linear.weight.add_(torch.tensor([[2.0, 1.0]]))
        norm.weight.add_(2)
    assert distance_to_start(model, start) == 3  # the norm layer is trained too
    with pytest.raises(ValueError, match=r"^start must hold 0.weight"):
        distance_to_start(model, nn.Linear(2, 1))


@given(values=st.lists(st.floats(-5, 5), min_size=6, max_size=6), shift=st.floats(-3, 3))
def test_churn_is_the_divergence_of_the_softmaxes(values: list[float], shift: float) -> None:
    before = torch.tensor(values, dtype=torch.float64).view(2, 3)
    after = before.roll(1, dims=1) + shift
    found = churn(before, after)
    kl = 0.0
    for one, other in zip(before.tolist(), after.tolist(), strict=True):
        p, q = ([math.exp(x) / sum(map(math.exp, row)) for x in row] for row in (one, other))
        kl += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
    assert float(found.kl) == pytest.approx(kl, abs=1e-9)
    assert float(found.absolute) == pytest.approx(float((after - before).abs().mean()))
    moved = churn(before, before + shift)
    assert float(moved.kl) == pytest.approx(0, abs=1e-12)  # a constant on all logits decides nothing
    assert float(moved.absolute) == pytest.approx(abs(shift))


def test_churn_wants_two_batches_of_logits() -> None:
    with pytest.raises(ValueError, match=r"^before must be \(\.\.\., inputs, classes\), got \(3,\)"):
        churn(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"^after must have the shape of before, \(2, 3\), got \(1, 3\)"):
        churn(torch.zeros(2, 3), torch.zeros(1, 3))


def line(curvature: list[float], sign: float = 1.0) -> tuple[nn.Module, Examples]:
    """A linear model whose squared error has these curvatures, times a sign."""
    model = nn.Linear(len(curvature), 1, bias=False).double()
    inputs = torch.diag(torch.tensor(curvature, dtype=torch.float64).sqrt() * math.sqrt(len(curvature)))
    return model, Examples(inputs, torch.ones(len(curvature), 1, dtype=torch.float64))


def test_sharpness_is_the_largest_eigenvalue() -> None:
    model, examples = line([5.0, 2.0, 0.5])
    found = sharpness(model, examples, torch.Generator().manual_seed(0), loss_fn=squared, tolerance=1e-9)
    assert found.value == pytest.approx(5, rel=1e-6)
    assert found.settled
    early = sharpness(model, examples, torch.Generator().manual_seed(0), loss_fn=squared, max_products=2)
    assert (early.products, early.settled) == (4, False)  # two runs of two


def test_sharpness_is_not_the_largest_size_where_that_is_negative() -> None:
    """The loss turned upside down has curvatures -5, -2 and -0.5."""
    model, examples = line([5.0, 2.0, 0.5])
    found = sharpness(
        model, examples, torch.Generator().manual_seed(0), loss_fn=lambda o, t: -squared(o, t), tolerance=1e-9
    )
    assert found.value == pytest.approx(-0.5, rel=1e-5)


class Saddle(nn.Module):
    """<a, b>: curvatures 1 and -1, three times each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.zeros(3)) for _ in range(2))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * (self.a * self.b).sum()


@pytest.mark.parametrize("seed", range(6))
def test_sharpness_of_a_saddle_is_that_of_its_rising_side(seed: int) -> None:
    one = Examples(torch.ones(1, 1), torch.zeros(1, 1))
    found = sharpness(Saddle(), one, torch.Generator().manual_seed(seed), loss_fn=lambda o, t: o.mean())
    assert found.value == pytest.approx(1, rel=1e-4)
    assert found.settled


def test_sharpness_agrees_with_the_whole_hessian_of_a_network() -> None:
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    for value in model.parameters():
        value.data = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    inputs = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    examples = Examples(inputs, torch.arange(9) % 3)
    names = [name for name, _ in model.named_parameters()]

    def loss(*weights: torch.Tensor) -> torch.Tensor:
        output = torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (inputs,))
        return nn.functional.cross_entropy(output, examples.targets)

    weights = tuple(value.detach() for value in model.parameters())
    blocks = torch.autograd.functional.hessian(loss, weights)
    rows = [torch.cat([b.reshape(w.numel(), -1) for b in row], 1) for w, row in zip(weights, blocks, strict=True)]
    expected = float(torch.linalg.eigvalsh(torch.cat(rows))[-1])
    before = [value.clone() for value in model.parameters()]
    found = sharpness(model, examples, generator, tolerance=1e-8, max_products=2000)
    assert found.value == pytest.approx(expected, rel=1e-4)
    assert all(
        value.grad is None and torch.equal(value, old)
        for value, old in zip(model.parameters(), before, strict=True)
    )


def test_a_loss_that_is_linear_has_no_curvature() -> None:
    model, examples = line([5.0, 2.0])
    found = sharpness(model, examples, torch.Generator().manual_seed(0), loss_fn=lambda o, t: (o * t).mean())
    assert found.value == 0


def test_readiness_of_gradients_that_agree_and_that_cancel() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    inputs = torch.ones(8, 1)
    alike = Examples(inputs, torch.full((8, 1), 3.0))
    found = optimization_readiness(model, alike, torch.Generator(), loss_fn=squared, batch_size=2, num_batches=5)
    assert found == (9, 1)  # each slope is -3
    assert found.readiness == 9
    mixed = Examples(inputs, torch.tensor([1.0, -1.0] * 4).view(8, 1))
    found = optimization_readiness(model, mixed, torch.Generator(), loss_fn=squared, batch_size=1, num_batches=5)
    assert found == (0, 0)
    done = Examples(inputs, torch.zeros(8, 1))
    found = optimization_readiness(model, done, torch.Generator(), loss_fn=squared, batch_size=1, num_batches=5)
    assert math.isnan(found.reliability)
    with pytest.raises(ValueError, match=r"^batch_size must be at most"):
        optimization_readiness(model, done, torch.Generator(), batch_size=9)


def test_readiness_bounds_what_a_step_gains() -> None:
    """On a quadratic loss of curvature at most L, the best step gains readiness / (2 L) or more on average."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    examples = Examples(inputs, torch.randn(12, 1, generator=generator, dtype=torch.float64) + 2)
    model = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.zero_()
    top = sharpness(model, examples, generator, loss_fn=squared, tolerance=1e-9).value
    found = optimization_readiness(model, examples, generator, loss_fn=squared, batch_size=1, num_batches=1500)
    slopes = -examples.targets * inputs
    full = slopes.mean(0)
    assert found.strength == pytest.approx(float(full.square().sum()))
    assert found.reliability == pytest.approx(float(full.square().sum() / slopes.square().sum(1).mean()), rel=0.1)
    rate = float(full.square().sum() / slopes.square().sum(1).mean()) / top
    after = [squared(inputs @ (-rate * slope)[:, None], examples.targets) for slope in slopes]
    gain = float(squared(torch.zeros(12, 1), examples.targets) - torch.stack(after).mean())
    assert gain >= 0.9 * found.readiness / (2 * top)
