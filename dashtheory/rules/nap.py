"""Normalize-and-project, the projection: after a step each weight matrix gets back the norm that it began with.

The other half of the method is the network's: a normalisation before every nonlinearity. There a weight has no
size of its own, and what the projection keeps is the step size relative to it.

Source: Lyle et al., "Normalization and effective learning rates in reinforcement learning" (NeurIPS 2024,
arXiv:2407.01800).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, integer
from dashtheory.rules.matrices import layer_weights
from dashtheory.rules.rule import AfterStep, Context, Learner, RuleState, WhileTraining, ablation, flag, remembered
from dashtheory.rules.swr import _NORMS, layers, norm

AFFINE = ("joint", "free")
"""What happens to scale and offset of norm layers."""


@dataclass(frozen=True, kw_only=True)
class Project(WhileTraining):
    """NaP, the projection: each weight matrix is scaled to its first norm after every step.

    Biases stay.

    Formula: W <- W ||W_0|| / ||W||

    Published: after every step; scale and offset of norm layers dropped, frozen or jointly normalized.

    Cost: the norms of all weights a step; no pass over the data.

    Elsewhere: there is no official code. The library Plasticine projects every 10 rollouts.

    Attributes:
        every: steps between two projections; 1 as published.
        affine: "joint" (scale and offset of each norm layer together keep the norm that they began with) or
            "free". The paper drops, freezes or jointly normalises them.
        last: whether the classifier's weight is projected too; yes as published.
    """

    every: int = ablation(1)
    affine: str = ablation("joint")
    last: bool = ablation(True)
    name: ClassVar[str] = "nap"
    acts: ClassVar[tuple[str, ...]] = ("steps",)

    def __post_init__(self) -> None:
        integer("every", self.every, minimum=1, fix="It counts optimizer steps.")
        choice("affine", self.affine, AFFINE)
        flag("last", self.last)

    def start(self, learner: Learner) -> RuleState:
        """Note all norms."""
        return {name: _joint(values) for name, values in self._projected(learner.model).items()}

    def after_step(self, learner: Learner, context: Context) -> AfterStep:
        """Project all."""
        groups = self._projected(learner.model)
        pairs = [(values, remembered(context.state, name, _joint(values))) for name, values in groups.items()]

        @torch.no_grad()
        def call(step: int) -> None:
            for values, first in pairs:
                now = _joint(values)
                factor = torch.where(now > 0, first / now, 1.0)
                for value in values:
                    value.mul_(factor.to(value.dtype))

        return AfterStep(call=call, every=self.every)

    def _projected(self, model: nn.Module) -> dict[str, list[nn.Parameter]]:
        """What keeps its norm: weights, and the pairs of norm layers."""
        found = {one.name: [one.parameter] for one in layer_weights(model, last=self.last)}
        if self.affine == "joint":
            for name, part in layers(model).items():
                values = [value for value in part.parameters(recurse=False) if value.requires_grad]
                if isinstance(part, _NORMS) and values:
                    found[f"{name}.affine"] = values
        return found


def _joint(values: Iterable[Tensor]) -> Tensor:
    return norm(torch.stack([norm(value) for value in values]))
