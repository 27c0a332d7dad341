"""MAS: weights are held where they were, each by how much the output depends on it; no labels are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from dashtheory._check import integer, real
from dashtheory.rules.importance import mean_gradient, minibatches, prefixed, pull
from dashtheory.rules.rule import Context, Learner, RuleState, WhileTraining, ablation, flag, trainable


@dataclass(frozen=True, kw_only=True)
class MAS(WhileTraining):
    """MAS: each weight is held where it was, by how much the network's output depends on it.

    Formula: from the second stage on loss + strength x sum O (w - w*)^2, w* the weights after the stage before,
    with

        O = mean over mini-batches of |gradient of the mean of ||f(x)||^2|, after each stage
        O <- alpha O + (1 - alpha) O of the stage, from the second one on

    Published: strength=1; alpha=0.5 in Avalanche.

    Cost: a pass over the data a stage, and two copies of the weights.

    Source: Aljundi et al. (ECCV 2018, arXiv:1711.09601); the details are those of the library Avalanche 0.6.0.

    Elsewhere: Avalanche's pass over the data moves batch-norm statistics; it moves none here.

    Attributes:
        strength: >= 0; 1 as published.
        alpha: share of the past in O, in [0, 1]; 0.5 as in Avalanche.
        training: whether the pass is in training mode, as in Avalanche.
        batch_size: of the mini-batches, >= 1.
    """

    strength: float = ablation(1.0)
    alpha: float = ablation(0.5)
    training: bool = ablation(True)
    batch_size: int = ablation(128)
    name: ClassVar[str] = "mas"
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        real("alpha", self.alpha, low=0, high=1, fix="It is the share of the past that stays.")
        flag("training", self.training)
        integer("batch_size", self.batch_size, minimum=1, fix="It counts examples.")

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The pull to the weights after the stage before; None in the first."""
        if not self.strength or not state:
            return None
        pulled = pull(model, state, [("importance", "anchor")])
        return lambda: pulled() * self.strength

    def finish(self, learner: Learner, context: Context) -> RuleState:
        """Take O, and note the weights."""
        if not self.strength:
            return context.state
        found = mean_gradient(
            learner.model,
            minibatches(context, self.batch_size),
            lambda outputs, targets: outputs.square().sum(dim=-1).mean(),
            1,
            training=self.training,
            generator=context.generator,
        )
        for name, value in found.items():
            if (old := context.state.get(f"importance.{name}")) is not None:
                value.mul_(1 - self.alpha).add_(old.to(value.device), alpha=self.alpha)
        return {**prefixed("importance", found), **prefixed("anchor", trainable(learner.model))}
