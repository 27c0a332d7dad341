"""CPR: partial resets. Every unit goes a little way to a new start, units with small gradients further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dashtheory._check import integer, real
from dashtheory.rules.rule import AfterStep, Context, Learner, ablation
from dashtheory.rules.unit_rule import FreshWeights, UnitRule, counted, mean_gradient, share_of_layer
from dashtheory.rules.unit_weights import Units


@dataclass(frozen=True, kw_only=True)
class PartialReset(UnitRule):
    """Move units towards a new initialization by a share that falls with their gradients, every so many steps.

    Formula:

        u <- m u + (1 - m) score,   score = mean |gradient of incoming weights| / its mean over the layer
        p = r min(1, exp(sharpness (threshold - u)))
        incoming <- (1 - p) incoming + p new,   outgoing <- (1 - p) outgoing,   then u <- 1

    Of phi "exp" a sharpness and a threshold are known; exp(sharpness (threshold - u)), which is 1 at the
    threshold, is taken. The optimizer and biases stay as they are.

    Published: r = 0.012, every 1,000 updates, sharpness 16, threshold 0.95, m = 0.99, new weights from He's
    uniform.

    Elsewhere: the published code orders the columns behind a flattened map as its own framework does.

    Cost: a mean over all gradients of hidden layers a step.

    Source: McCutcheon et al. (2026, arXiv:2607.24996) and facts of the code, from which nothing is taken over.

    Attributes:
        r: largest share, in [0, 1]; 0.012 as published.
        every: steps between two moves, counted through all stages; 1,000 as published.
        sharpness: how fast the share falls with u; 16 as published.
        threshold: u up to which it is r; 0.95 as published.
        momentum: m, of the average of the score; 0.99 as published.
        units: as `UnitRule`.
        draw: as `UnitRule`; "kaiming" as published.
    """

    r: float = ablation(0.012)
    every: int = ablation(1000)
    sharpness: float = ablation(16.0)
    threshold: float = ablation(0.95)
    momentum: float = ablation(0.99)
    draw: str = ablation("kaiming")
    name: ClassVar[str] = "cpr"
    acts: ClassVar[tuple[str, ...]] = ("steps",)
    inert: ClassVar[Mapping[str, Any]] = {"r": 0, "every": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        real("r", self.r, low=0, high=1, fix="It is the largest share of new weights.")
        integer("every", self.every, minimum=1, fix="It counts optimizer steps.")
        real("sharpness", self.sharpness, low=0, fix="0: all units move by r.")
        real("threshold", self.threshold, low=0, fix="It is a share of the layer's mean gradient.")
        real("momentum", self.momentum, low=0, high=1, fix="It is the share of the past that stays.")

    def remembers(self, num_units: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """The average of the score, 1 at the start."""
        return {"score": torch.ones(num_units, dtype=dtype)}

    def after_step(self, learner: Learner, context: Context) -> AfterStep | None:
        """Follow the score, and move."""
        if not self.r:
            return None
        layers = self.layers(learner.model)
        memory, fresh, total = self.memory(context, layers), self.fresh(context), counted(context)

        def call(step: int) -> None:
            step = total(step)
            for units in layers:
                found = mean_gradient(units)
                if found is not None:
                    score = memory[units.name]["score"]
                    score.lerp_(share_of_layer(found).to(score), 1 - self.momentum)
            if step % self.every == 0:
                self.move_(layers, {name: one["score"] for name, one in memory.items()}, fresh(step))

        return AfterStep(call=call, recordable=False)

    @torch.no_grad()
    def move_(self, layers: list[Units], scores: Mapping[str, Tensor], fresh: FreshWeights) -> None:
        """Move units, and set their scores to 1, in place.

        Args:
            layers: of the network.
            scores: averages, by layer.
            fresh: what draws.
        """
        shares = {
            name: self.r * torch.exp(self.sharpness * (self.threshold - score)).clamp(max=1)
            for name, score in scores.items()
        }
        for units in layers:
            block, share = units.incoming, shares[units.name].to(units.incoming.parameter)[:, None]
            new = block.spread(fresh.weights(units, torch.ones_like(shares[units.name], dtype=torch.bool)))
            spread = block.spread(share)
            block.parameter.mul_(1 - spread).add_(spread * new)
        for units in layers:
            for block in units.outgoing:
                block.parameter.mul_(1 - block.spread(shares[units.name].to(block.parameter)[:, None]))
            scores[units.name].fill_(1)
