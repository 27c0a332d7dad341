"""Normalize-and-project, both halves: a norm before every activation, and weights that keep their first norm.

Source: Lyle et al., "Normalization and effective learning rates in reinforcement learning" (NeurIPS 2024,
arXiv:2407.01800). Before a norm a weight has no size of its own (up to the norm's epsilon); with the projection
its step size relative to it follows the run's schedule alone. The projection alone is `dashtheory.rules.nap`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from dashtheory._check import choice
from dashtheory.rules.activations import Activation
from dashtheory.rules.layer_norm import NORM_KINDS, OVER, LayerNorms
from dashtheory.rules.nap import Project
from dashtheory.rules.rule import AfterStep, Context, Learner, RuleState, ablation
from dashtheory.rules.swaps import OtherActivations

SCALES = ("none", "joint", "free")
"""What norm layers have: no scale and offset; both, which keep their norm together; or both, free."""


@dataclass(frozen=True, kw_only=True)
class NormalizeProject(OtherActivations):
    """Train with a layer norm before every activation, and project every weight to its first norm after steps.

    Formula: W <- |W_0| W / |W| after steps, each weight for itself; every activation sees its input normalized.

    Cost: a norm for each activation, and a pass over the weights for each projection.

    Attributes:
        every: steps between two projections; 1 as published.
        scales: one of `SCALES`, of the norms that are put in (those that a network has keep theirs); the paper
            drops, freezes or jointly normalizes them.
        over: of maps, "map" or "channels", as in `dashtheory.rules.layer_norm`.
        last: whether the classifier's weight is projected too.
        kind: of the norms, "layer" or "rms", as in `dashtheory.rules.layer_norm`.
    """

    every: int = ablation(1)
    scales: str = ablation("none")
    over: str = ablation("map")
    last: bool = ablation(True)
    kind: str = ablation("layer")
    name: ClassVar[str] = "nap_norm"
    acts: ClassVar[tuple[str, ...]] = ("network", "steps")

    def __post_init__(self) -> None:
        choice("scales", self.scales, SCALES)
        choice("over", self.over, OVER)
        choice("kind", self.kind, NORM_KINDS)
        self._projection()

    def swap_(self, model: nn.Module, found: list[Activation]) -> None:
        """Put the norms."""
        LayerNorms(over=self.over, affine=self.scales != "none", kind=self.kind).swap_(model, found)

    def start(self, learner: Learner) -> RuleState:
        """Note all norms."""
        return self._projection().start(learner)

    def after_step(self, learner: Learner, context: Context) -> AfterStep:
        """Project all."""
        return self._projection().after_step(learner, context)

    def _projection(self) -> Project:
        return Project(every=self.every, affine="free" if self.scales == "free" else "joint", last=self.last)
