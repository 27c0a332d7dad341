"""An average of the weights along the way: scored in place of the last ones, or a teacher of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from dashtheory._check import choice, real
from dashtheory.rules.averages import average_of, averaged, follower, said_by
from dashtheory.rules.lwf import divergence
from dashtheory.rules.rule import AfterStep, BatchPenalty, Context, Learner, RuleState, WhileTraining, ablation

OVER = ("entries", "examples")
"""Over what the mean of a divergence is taken: examples and classes, or examples alone."""


@dataclass(frozen=True, kw_only=True)
class EMA(WhileTraining):
    """Train as warm does, and score an exponential average of the weights.

    The average begins at the first initialization and goes on through all stages. Scores on the test set are of
    it; training scores, the criterion that ends a stage and measures are of the weights themselves.

    Formula:

        average <- m average + (1 - m) weights        after every step, buffers too

    Published: m=0.999 in the code of Hare & Tortoise, whose average this is too.

    Cost: a copy of the network, and its update a step; no pass over the data.

    Source: Polyak & Juditsky (SIAM J. Control Optim. 1992) for averaging.

    Attributes:
        momentum: m, in [0, 1]; 0 scores the last weights.
    """

    momentum: float = ablation(0.999)
    name: ClassVar[str] = "ema"
    acts: ClassVar[tuple[str, ...]] = ("steps", "evaluation")
    inert: ClassVar[Mapping[str, Any]] = {"momentum": 0}

    def __post_init__(self) -> None:
        real("momentum", self.momentum, low=0, high=1, fix="It is the share of the past that stays.")

    def start(self, learner: Learner) -> RuleState:
        """An average of one."""
        return average_of(learner.model)

    def after_step(self, learner: Learner, context: Context) -> AfterStep:
        """Move the average."""
        follow = follower(learner.model, context.state, self.momentum)
        return AfterStep(call=lambda step: follow())

    def evaluated(self, model: nn.Module, state: RuleState) -> nn.Module:
        """The average."""
        return averaged(model, state)


@dataclass(frozen=True, kw_only=True)
class Distill(WhileTraining):
    """Self-distillation: train with a pull to what the running average of the network says.

    The teacher is the average of `EMA`, and looks at the batch's inputs in evaluation mode.

    Formula: loss + strength x KL(softmax(teacher) || softmax(network)).

    Published: strength=1, m=0.999, the mean over examples and classes.

    Cost: the teacher's forward pass, and its update, a step; a copy of the network.

    Source: the code of Hare & Tortoise (Lee et al., ICML 2024, arXiv:2406.02596); nothing is taken over from it.

    Elsewhere: that code takes the mean over examples and classes; the divergence itself is `over=examples`.

    Attributes:
        strength: >= 0; 1 as in that code.
        momentum: m of the teacher, in [0, 1]; 0.999 as in that code.
        over: "entries" (the mean over examples and classes, as in that code) or "examples" (the divergence
            itself).
    """

    strength: float = ablation(1.0)
    momentum: float = ablation(0.999)
    over: str = ablation("entries")
    name: ClassVar[str] = "distill"
    acts: ClassVar[tuple[str, ...]] = ("loss", "steps")
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        real("momentum", self.momentum, low=0, high=1, fix="It is the share of the past that stays.")
        choice("over", self.over, OVER)

    def start(self, learner: Learner) -> RuleState:
        """The teacher."""
        return average_of(learner.model)

    def batch_penalty(self, model: nn.Module, context: Context) -> BatchPenalty | None:
        """The distance to what the teacher says of the batch."""
        if not self.strength:
            return None
        teacher = said_by(model, context.state)

        def penalty(inputs: Tensor, targets: Tensor, logits: Tensor) -> Tensor:
            parts = logits.shape[-1] if self.over == "entries" else 1
            return divergence(logits, teacher(inputs)) * (self.strength / parts)

        return penalty

    def after_step(self, learner: Learner, context: Context) -> AfterStep | None:
        """Move the teacher."""
        if not self.strength:
            return None
        follow = follower(learner.model, context.state, self.momentum)
        return AfterStep(call=lambda step: follow())
