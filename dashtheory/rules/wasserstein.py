"""Wasserstein init: the entries of each tensor are to be distributed as they were at the start, in any order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, real
from dashtheory.rules.l2_init import PARAMETERS, anchored
from dashtheory.rules.rule import Learner, RuleState, WhileTraining, ablation
from dashtheory.rules.sp_init import initial_weights

OVER = ("mean", "sum")
"""Over the entries of a tensor: papers differ."""


@dataclass(frozen=True, kw_only=True)
class Wasserstein(WhileTraining):
    """Wasserstein init: entries of each tensor are pulled to the first distribution, in any order.

    It is the squared distance of Wasserstein between the entries of a tensor and those that it began with, which
    in one dimension is that of the sorted entries. At most the mean square of w - w_0, and as much where the order
    of the entries is kept. w_0 is the run's own first initialization.

    Formula: loss + strength x sum over tensors of mean_i (sort(w)_i - sort(w_0)_i)^2, in every stage.

    Published: 1e-3 for control, with the mean over entries.

    Cost: a sort of all weights a step, and a copy of the first ones.

    Source: Lewandowski et al. (arXiv:2312.00246 and the first version of arXiv:2406.06811).

    Elsewhere: papers take the sum or the mean over the entries of a tensor (`over`).

    Attributes:
        strength: >= 0; 1e-3 as published for control.
        over: "mean" or "sum" over the entries of a tensor.
        on: as in `L1Init`; "all" as published.
    """

    strength: float = ablation(1e-3)
    over: str = ablation("mean")
    on: str = ablation("all")
    name: ClassVar[str] = "wasserstein"
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        choice("over", self.over, OVER)
        choice("on", self.on, PARAMETERS)

    def start(self, learner: Learner) -> RuleState:
        """Copy the first weights."""
        return initial_weights(learner.model)

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The penalty of the model's weights at the time of the call."""
        if not self.strength:
            return None
        pairs = [(w, w_0.flatten().sort()[0]) for layer in anchored(model, state, self.on) for w, w_0 in layer]

        def distance(w: Tensor, ordered: Tensor) -> Tensor:
            squares = (w.flatten().sort()[0] - ordered).square()
            return squares.mean() if self.over == "mean" else squares.sum()

        return lambda: torch.stack([distance(w, ordered) for w, ordered in pairs]).sum() * self.strength
