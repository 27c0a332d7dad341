"""A shrink in proportion keeps what a network of ReLUs decides; what does not scale is refused, not guessed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.deep.models import narrow_resnet
from dashtheory.rules import Context, Proportional, Uniform
from dashtheory.rules.homogeneous import output_scaling

CLASSES = 3


class Residual(nn.Module):
    """A block whose branch has as many weight layers as `depth`, with or without normalisation."""

    def __init__(self, depth: int, *, norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(5, 5), *([nn.BatchNorm1d(5, eps=1e-30)] if norm else []), nn.ReLU()]
        self.first = nn.Linear(4, 5)
        self.norm = nn.BatchNorm1d(5, eps=1e-30) if norm else nn.Identity()
        self.branch = nn.Sequential(*layers)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Branch and shortcut."""
        hidden = torch.relu(self.norm(self.first(inputs)))
        out: Tensor = self.head(hidden + self.branch(hidden))
        return out


class Twice(nn.Module):
    """A layer that is used twice in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Used twice."""
        out: Tensor = self.head(torch.relu(self.layer(torch.relu(self.layer(inputs)))))
        return out


class Shifted(Twice):
    """A constant is added to what scales."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Shift."""
        out: Tensor = self.head(torch.relu(self.layer(inputs)) + 1.0)
        return out


class Branching(Twice):
    """What is done depends on the values: no graph to trace."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Branch on values."""
        out: Tensor = self.head(inputs if inputs.sum() > 0 else self.layer(inputs))
        return out


MLP: Callable[[], nn.Module] = lambda: nn.Sequential(  # noqa: E731
    nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.LeakyReLU(), nn.Dropout(0.3), nn.Linear(6, CLASSES)
)
CONVOLUTIONS: Callable[[], nn.Module] = lambda: nn.Sequential(  # noqa: E731
    nn.Unflatten(1, (1, 2, 2)),
    nn.Conv2d(1, 4, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2, stride=1),
    nn.Conv2d(4, 5, 1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(5, CLASSES),
)
NORMALIZED: Callable[[], nn.Module] = lambda: nn.Sequential(  # noqa: E731
    nn.Linear(4, 6), nn.BatchNorm1d(6, eps=1e-30), nn.Tanh(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, CLASSES)
)
SCALING = {
    "mlp": (MLP, 3),
    "convolutions": (CONVOLUTIONS, 3),
    "normalized": (NORMALIZED, 2),
    "residual with norms": (lambda: Residual(2, norm=True), 1),
    "residual of no layer": (lambda: Residual(0, norm=False), 2),
}


def context() -> Context:
    def chunks() -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(2)
        for _ in range(2):
            inputs = torch.randn(12, 4, generator=generator, dtype=torch.float64)
            yield inputs, torch.randint(CLASSES, (12,), generator=generator)

    def nothing() -> None:
        raise AssertionError

    return Context(
        chunks=chunks,
        loss_fn=functional.cross_entropy,
        fresh=nothing,  # type: ignore[arg-type]
        generator=torch.Generator().manual_seed(3),
    )


def trained(make: Callable[[], nn.Module]) -> nn.Module:
    """A model with biases and running statistics that are not those of an untrained one, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = make().double()
        for parameter in model.parameters():
            nn.init.normal_(parameter)
        for inputs, _ in context().chunks():
            model(inputs)
    return model.eval()


@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("name", SCALING)
def test_the_output_is_a_multiple_of_what_it_was_and_a_uniform_shrink_of_biases_too_is_not(
    name: str, per_layer: bool
) -> None:
    make, last = SCALING[name]
    model = trained(make)
    other = copy.deepcopy(model)
    inputs = torch.randn(50, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    before = model(inputs).detach()
    report = Proportional(per_layer=per_layer).change_(model, context())
    after = model(inputs).detach()
    factor = float((before * after).sum() / (before * before).sum())
    torch.testing.assert_close(after, factor * before, rtol=1e-9, atol=1e-12)
    weights = [layer.mean_scale for layer in report if layer.kind != "vector"]
    assert factor == pytest.approx(math.prod(weights[-last:]), rel=1e-9)  # since the last normalisation
    Uniform().change_(other, context())
    changed = other(inputs).detach()
    best = float((before * changed).sum() / (before * before).sum())
    assert float((changed - best * before).abs().max()) > 1e-3


def test_a_residual_network_of_the_package_scales_by_the_factor_of_its_classifier() -> None:
    model = narrow_resnet((1, 8, 8), 10, torch.Generator().manual_seed(0))
    factors = {name: 0.5 for name, value in model.named_parameters() if value.ndim > 1}
    scaling = output_scaling(model, factors)
    assert scaling.output == 0.5
    assert set(scaling.statistics.values()) == {0.5}


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Residual(2, norm=False), "add of branches that scale differently"),
        (Twice, "layer layer, used twice with inputs that scale differently"),
        (Shifted, "adding a constant"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, CLASSES)), "GELU 1"),
        (lambda: nn.Sequential(nn.Linear(4, CLASSES), nn.Softmax(1)), "Softmax 1"),
    ],
)
def test_what_does_not_scale_is_refused_before_anything_is_touched(
    make: Callable[[], nn.Module], what: str
) -> None:
    model = trained(make)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=rf"^model must scale its output with its weights, got {what}\. Take"):
        Proportional().change_(model, context())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_that_cannot_be_traced_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^model must be one that torch.fx can trace, got '[^\n]+$"):
        output_scaling(Branching(), {})


def test_a_frozen_bias_that_would_have_to_change_is_refused() -> None:
    model = trained(MLP)
    model.get_parameter("0.bias").requires_grad_(False)
    with pytest.raises(ValueError, match="model must have biases that may change, got a frozen one in 0"):
        Proportional().change_(model, context())
