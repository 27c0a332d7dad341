"""L2 Init: train on from the same weights, pulled towards where the run began.

Source: Kumar, Marklund and Van Roy (arXiv:2308.11958), and the form of it that the authors of DASH compare with
(arXiv:2410.23495, authors' code): another power, see `L2Init`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, real
from dashtheory.rules.groups import targets
from dashtheory.rules.rule import Learner, RuleState, WhileTraining, ablation

FORMS = ("authors", "textbook")
"""Forms of the penalty of `L2Init`."""


@dataclass(frozen=True, kw_only=True)
class L2Init(WhileTraining):
    """Weights and optimizer go on as in warm; every stage, the first included, trains on loss + penalty.

        "authors"    l2 (sum over layers of ||w - w_0||)^2     the code of DASH's authors (arXiv:2410.23495)
        "textbook"   l2 sum over layers of ||w - w_0||^2       Kumar et al. (arXiv:2308.11958)

    w_0 is the run's own first initialisation, the state of this rule. A layer is a convolution or a linear layer,
    w its weight and bias together; both forms take the same layers, so that they differ in the formula alone
    (Kumar et al. penalise every parameter). A distance of zero has gradient zero. Scores and the criterion that
    ends a stage are of the loss without the penalty. The authors' form grows with the square of the number of
    layers: 1e-2 can keep small networks from ever reaching the criterion.

    Attributes:
        l2: strength, >= 0; the authors' default is 1e-2.
        form: "authors" or "textbook".
    """

    l2: float = ablation(1e-2)
    form: str = ablation("authors")
    name: ClassVar[str] = "l2_init"
    inert: ClassVar[Mapping[str, Any]] = {"l2": 0}

    def __post_init__(self) -> None:
        real("l2", self.l2, low=0, fix="It multiplies the penalty.")
        choice("form", self.form, FORMS)

    def start(self, learner: Learner) -> RuleState:
        """Copy the weights of convolution and linear layers."""
        return {target.name: target.parameter.detach().clone() for target in targets(learner.model)}

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The penalty of the model's weights at the time of the call."""
        if not self.l2:
            return None
        layers = _layers(model, state)

        def squares() -> Tensor:
            return torch.stack([(w - w_0).square().sum() for layer in layers for w, w_0 in layer]).sum() * self.l2

        def square_of_sum() -> Tensor:
            return torch.stack([_distance(layer) for layer in layers]).sum().square() * self.l2

        return square_of_sum if self.form == "authors" else squares


def _distance(layer: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Distance of the parameters of one layer from where they began; `vector_norm` has gradient 0 at 0."""
    parts = torch.stack([torch.linalg.vector_norm(w - w_0) for w, w_0 in layer])
    whole: Tensor = torch.linalg.vector_norm(parts)
    return whole


def _layers(model: nn.Module, state: RuleState) -> list[list[tuple[Tensor, Tensor]]]:
    """(parameter, where it began) of each layer, checked to fit."""
    layers: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for target in targets(model):
        start = state.get(target.name)
        if start is None or start.shape != target.parameter.shape:
            fail(
                "state",
                f"must hold where {target.name} began, {tuple(target.parameter.shape)}",
                "none" if start is None else str(tuple(start.shape)),
                "Give what this rule's start() returned for this model.",
            )
        layer = target.name.rpartition(".")[0]
        layers.setdefault(layer, []).append((target.parameter, start.to(target.parameter.device)))
    return list(layers.values())
