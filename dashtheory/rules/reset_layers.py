"""Resets of more than the classifier: the last layers, or everything. The interval is a stage here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, integer
from dashtheory.rules.anchors import copy_keys, optimizers_in
from dashtheory.rules.matrices import layer_weights
from dashtheory.rules.report import ShrinkReport
from dashtheory.rules.rule import Context, InPlace, Learner, RuleState, ablation, remembered, trainable
from dashtheory.rules.sp_init import ORIGINS, initial_weights, origin_of

MOMENTA = ("cleared", "kept")
"""What happens to the optimizer's averages for weights that are reset."""


@dataclass(frozen=True, kw_only=True)
class ResetLast(InPlace):
    """Initialize the last layers anew before every stage; all else goes on.

    A layer is a convolution, linear layer or attention projection, its bias with it, in the order of
    `model.named_modules()`; norm layers stay.

    Formula: w <- a new initialization, for the last layers; what the optimizer knows of them becomes zero.

    Published: Nikishin et al. reset by intervals of learning, not by stages: 2e5 steps of the environment, 5e4 to
    1e5 from pixels. How many layers depends on the agent.

    Cost: a new network a stage, or a copy of the first weights; no pass over the data.

    Source: Nikishin et al. (ICML 2022, arXiv:2205.07802), who reset last layers or whole agents.

    Elsewhere: the library Plasticine builds new modules that the optimizer does not hold, so that they are never
    trained. A continual ImageNet benchmark sets the classifier to zero.

    Attributes:
        last: how many layers, >= 1; no more than there are.
        to: "fresh" (a new initialization in every stage), "own" (the run's first one) or "zero", as a continual
            ImageNet benchmark does to its classifier.
        moments: "cleared" (the optimizer's averages for what is reset become zero) or "kept".
        optimizer: as `InPlace`.
    """

    last: int = ablation(1)
    to: str = ablation("fresh")
    moments: str = ablation("cleared")
    name: ClassVar[str] = "reset_last"

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("last", self.last, minimum=1, fix="It counts layers from the end.")
        choice("to", self.to, (*ORIGINS, "zero"))
        choice("moments", self.moments, MOMENTA)

    def start(self, learner: Learner) -> RuleState:
        """Copy the first weights, if later ones become these."""
        return initial_weights(learner.model) if self.to == "own" else {}

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, ShrinkReport | None]:
        """Reset the layers and what the optimizer knows of them.

        Raises:
            ValueError: if the model has fewer layers.
        """
        touched = list(self.touched(learner.model).values())
        after, report = super().apply(learner, context)
        if self.moments == "cleared" and self.optimizer == "kept":
            clear_moments_(after.optimizer, touched)
        return after, report

    def change_(self, model: nn.Module, context: Context) -> None:
        """Copy initial weights into the layers."""
        origin = {} if self.to == "zero" else origin_of(self.to, context)
        with torch.no_grad():
            for name, value in self.touched(model).items():
                value.copy_(remembered(origin, name, value) if origin else torch.zeros_like(value))

    def touched(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """What is reset, by name."""
        layers = layer_weights(model)
        if self.last > len(layers):
            fail(
                "last", f"must be at most {len(layers)}, the model's layers", str(self.last), "Or take reset_full."
            )
        homes = tuple(f"{one.name.rpartition('.')[0]}." for one in layers[-self.last :])
        names = {one.name for one in layers[-self.last :]}
        found = trainable(model)
        return {
            name: value
            for name, value in found.items()
            if name in names
            or (name.rpartition(".")[2].endswith("bias") and f"{name.rpartition('.')[0]}." in homes)
        }


@dataclass(frozen=True, kw_only=True)
class ResetFull(InPlace):
    """Initialize all that is trained, and all buffers, before every stage.

    With `to=fresh` it is cold; with `to=own` every stage starts from the same weights, so that stages differ in
    their data alone.

    Formula: w <- w_0, buffers too.

    Published: FIRE's vision runs reset to the first weights at every stage, with a new optimizer; D'Oro et al.
    reset whole agents every 2.56e6 updates.

    Cost: a copy of first weights and buffers; and as cold, every stage's training in full.

    Source: the full reset of FIRE's vision runs (arXiv:2602.08040); D'Oro et al. (ICLR 2023) and Nikishin et al.
    (ICML 2022, arXiv:2205.07802), who take new networks.

    Attributes:
        to: "own" (the run's first initialization, as in FIRE's vision runs) or "fresh".
        optimizer: as `InPlace`; "renewed" as published.
    """

    to: str = ablation("own")
    optimizer: str = ablation("renewed")
    name: ClassVar[str] = "reset_full"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("to", self.to, ORIGINS)

    def start(self, learner: Learner) -> RuleState:
        """Copy weights and buffers."""
        return _all(learner.model) if self.to == "own" else {}

    def change_(self, model: nn.Module, context: Context) -> None:
        """Copy initial weights and buffers."""
        origin = context.state if self.to == "own" else _all(context.fresh().model)
        values = {**trainable(model), **dict(model.named_buffers())}
        pairs = [(value, remembered(origin, name, value)) for name, value in values.items()]
        with torch.no_grad():
            for value, first in pairs:
                value.copy_(first)


def _all(model: nn.Module) -> dict[str, Tensor]:
    named = {**trainable(model), **dict(model.named_buffers())}
    return {name: value.detach().clone() for name, value in named.items()}


@torch.no_grad()
def clear_moments_(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """Set what an optimizer keeps of parameters to zero, their step counters too, in place.

    Copies of the weights (`dashtheory.rules.anchors`) become those of the moment.
    """
    copies = copy_keys(optimizer)
    for parameter in parameters:
        for state in (one.state.get(parameter, {}) for one in optimizers_in(optimizer)):
            for key, value in state.items():
                if isinstance(value, Tensor):
                    value.copy_(parameter) if key in copies else value.zero_()
                elif key == "step":
                    state[key] = 0
