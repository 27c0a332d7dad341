"""Hare & Tortoise: a fast network trains, a slow one follows it, and from time to time the fast one is set back.

Formula:

    slow <- m slow + (1 - m) fast        after every step, buffers too
    fast <- slow                         every so many epochs, and at the beginning of each stage

Source: Lee et al., "Slow and Steady Wins the Race: Maintaining Plasticity with Hare and Tortoise Networks" (ICML
2024, arXiv:2406.02596) and the facts of its code, from which nothing is taken over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from dashtheory._check import choice, integer, real
from dashtheory.rules.averages import average_of, averaged, follower, load_average_
from dashtheory.rules.rule import AfterStep, Context, InPlace, Learner, RuleState, ablation

SCORED = ("slow", "fast")


@dataclass(frozen=True, kw_only=True)
class HareTortoise(InPlace):
    """Hare & Tortoise: the trained network is set back to its running average every so many epochs.

    The averages are tensors of their own. The optimizer goes on through resets within a stage, as published.

    Published: m=0.999, a reset every 10 epochs, a new optimizer at every stage.

    Cost: a copy of the network, and its update a step; no pass over the data.

    Elsewhere: in the published code both networks share their tensors from the first reset on, so that the slow
    one moves with every step; its L2-init pulls the last tensor alone.

    Attributes:
        momentum: m, in [0, 1]; 0.999 as published.
        epochs: between two resets, >= 1; 10 as published. They are counted anew in every stage.
        scored: "slow" or "fast", which of them is evaluated on the test set.
        optimizer: as `InPlace`; "renewed" at every stage, as published.
    """

    momentum: float = ablation(0.999)
    epochs: int = ablation(10)
    scored: str = ablation("slow")
    optimizer: str = ablation("renewed")
    name: ClassVar[str] = "hare_tortoise"
    acts: ClassVar[tuple[str, ...]] = ("between", "steps", "evaluation")
    inert: ClassVar[Mapping[str, Any]] = {"momentum": 0, "optimizer": "kept"}

    def __post_init__(self) -> None:
        super().__post_init__()
        real("momentum", self.momentum, low=0, high=1, fix="It is the share of the past that stays.")
        integer("epochs", self.epochs, minimum=1, fix="It counts epochs.")
        choice("scored", self.scored, SCORED)

    def start(self, learner: Learner) -> RuleState:
        """The slow network."""
        return average_of(learner.model)

    def change_(self, model: nn.Module, context: Context) -> None:
        """Set the fast network back."""
        load_average_(model, context.state)

    def after_step(self, learner: Learner, context: Context) -> AfterStep:
        """Move the slow network, and set the fast one back when it is time."""
        follow = follower(learner.model, context.state, self.momentum)
        period = self.epochs * context.steps_per_epoch

        def call(step: int) -> None:
            follow()
            if step % period == 0:
                load_average_(learner.model, context.state)

        return AfterStep(call=call)

    def evaluated(self, model: nn.Module, state: RuleState) -> nn.Module:
        """The network that is scored."""
        return averaged(model, state) if self.scored == "slow" else model
