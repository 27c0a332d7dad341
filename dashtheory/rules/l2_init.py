"""L2 Init: train on from the same weights, pulled towards where the run began."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dashtheory._check import choice, fail, real
from dashtheory.rules.groups import targets
from dashtheory.rules.rule import (
    AfterStep,
    Context,
    Learner,
    RuleState,
    WhileTraining,
    ablation,
    remembered,
    trainable,
)

FORMS = ("authors", "textbook", "norm")
"""Forms of the penalty of `L2Init`."""
PARAMETERS = ("layers", "no_norms", "all")
"""What a penalty is summed over: convolutions and linear layers, all that is trained but norm layers, or all."""

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True, kw_only=True)
class L2Init(WhileTraining):
    """L2 Init: as warm, but every stage trains with a pull to the first weights.

    Formula: loss + penalty, the penalty being, by `form`,

        "authors"    l2 (sum over layers of ||w - w_0||)^2     the code of DASH's authors (arXiv:2410.23495)
        "textbook"   l2 sum over layers of ||w - w_0||^2       Kumar et al. (arXiv:2308.11958)
        "norm"       l2 ||w - w_0||, over all of them          the library Plasticine

    w_0 is the run's own first initialization, the state of this rule; with `to=fresh`, an option of Kumar et al.,
    it is drawn anew after every step. A layer is a convolution or a linear layer, w its weight and bias together;
    all forms take the same layers, so that they differ in the formula alone. Kumar et al. take all that is trained
    but norm layers, and half of the square: `form=textbook:on=no_norms` with half of their strength. FIRE's
    comparison has half of the square over all: `form=textbook:on=all`.

    A distance of zero has gradient zero. Scores and the criterion that ends a stage are of the loss without the
    penalty. The authors' form grows with the square of the number of layers: 1e-2 can keep small networks from
    ever reaching the criterion.

    Published: l2=1e-2 by DASH's authors; Kumar et al. sweep 1e-2 to 1e-5; Plasticine 1e-2 for its form.

    Cost: a copy of the first weights, and a pass over all weights a step.

    Source: Kumar, Marklund & Van Roy (arXiv:2308.11958), and the form of it that the authors of DASH compare with
    (arXiv:2410.23495, authors' code).

    Elsewhere: Hare & Tortoise's code keeps the norm of the last tensor alone, not squared.

    Attributes:
        l2: strength, >= 0; the authors' default is 1e-2.
        form: "authors", "textbook" or "norm".
        on: "layers", "no_norms" (all that is trained but norm layers) or "all".
        to: "own" (the run's first initialization) or "fresh" (a new one after every step, which builds a network).
    """

    l2: float = ablation(1e-2)
    form: str = ablation("authors")
    on: str = ablation("layers")
    to: str = ablation("own")
    name: ClassVar[str] = "l2_init"
    acts: ClassVar[tuple[str, ...]] = ("loss", "steps")
    inert: ClassVar[Mapping[str, Any]] = {"l2": 0}

    def __post_init__(self) -> None:
        real("l2", self.l2, low=0, fix="It multiplies the penalty.")
        choice("form", self.form, FORMS)
        choice("on", self.on, PARAMETERS)
        choice("to", self.to, ("own", "fresh"))

    def start(self, learner: Learner) -> RuleState:
        """Copy the weights that are pulled."""
        pulled = _pulled(learner.model, self.on)
        return {name: value.detach().clone() for name, value in pulled.items()}

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The penalty of the model's weights at the time of the call."""
        if not self.l2:
            return None
        layers = anchored(model, state, self.on)

        def squares() -> Tensor:
            return torch.stack([_square(w - w_0).sum() for layer in layers for w, w_0 in layer]).sum() * self.l2

        def square_of_sum() -> Tensor:
            return torch.stack([_distance(layer) for layer in layers]).sum().square() * self.l2

        def norm() -> Tensor:
            whole: Tensor = torch.linalg.vector_norm(torch.stack([_distance(layer) for layer in layers]))
            return whole * self.l2

        return {"authors": square_of_sum, "textbook": squares, "norm": norm}[self.form]

    def after_step(self, learner: Learner, context: Context) -> AfterStep | None:
        """Draw where the weights are pulled to anew, if that is wanted."""
        if not self.l2 or self.to == "own":
            return None
        pulled = _pulled(learner.model, self.on)
        pairs = {name: remembered(context.state, name, value) for name, value in pulled.items()}

        @torch.no_grad()
        def call(step: int) -> None:
            drawn = dict(context.draw(context.generator).named_parameters())
            for name, start in pairs.items():
                start.copy_(drawn[name])

        return AfterStep(call=call)


def _square(values: Tensor) -> Tensor:
    return values.abs().square() if values.is_complex() else values.square()


def _distance(layer: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Distance of the parameters of one layer from where they began; `vector_norm` has gradient 0 at 0."""
    parts = torch.stack([torch.linalg.vector_norm(w - w_0) for w, w_0 in layer])
    whole: Tensor = torch.linalg.vector_norm(parts)
    return whole


def anchored(model: nn.Module, state: RuleState, on: str = "layers") -> list[list[tuple[Tensor, Tensor]]]:
    """(parameter, where it began) of each layer, checked to fit.

    Args:
        model: that trains.
        state: where its parameters began, by name.
        on: of `PARAMETERS`.

    Raises:
        ValueError: if the state is of another model.
    """
    layers: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, value in _pulled(model, on).items():
        start = state.get(name)
        if start is None or start.shape != value.shape:
            fail(
                "state",
                f"must hold where {name} began, {tuple(value.shape)}",
                "none" if start is None else str(tuple(start.shape)),
                "Give what this rule's start() returned for this model.",
            )
        layers.setdefault(name.rpartition(".")[0], []).append((value, start.to(value.device)))
    return list(layers.values())


def _pulled(model: nn.Module, on: str) -> dict[str, nn.Parameter]:
    """The parameters of a name of `PARAMETERS`."""
    if on == "layers":
        return {target.name: target.parameter for target in targets(model)}
    norms = {id(value) for part in model.modules() if isinstance(part, _NORMS) for value in part.parameters()}
    return {name: value for name, value in trainable(model).items() if on == "all" or id(value) not in norms}
