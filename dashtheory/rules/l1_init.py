"""Pulls towards the first weights in other norms than that of L2 Init.

Source: the code of Kumar, Marklund & Van Roy (arXiv:2308.11958), which has both beside L2 Init; nothing is taken
over from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory._check import choice, real
from dashtheory.rules.l2_init import PARAMETERS, anchored
from dashtheory.rules.rule import Learner, RuleState, WhileTraining, ablation
from dashtheory.rules.sp_init import initial_weights


@dataclass(frozen=True, kw_only=True)
class L1Init(WhileTraining):
    """L1 Init: train on with a pull to the first weights that is as strong near as far.

    w_0 is the run's own first initialization. At w_0 the slope is zero.

    Formula: loss + strength x sum of |w - w_0|, in every stage.

    Published: the strength is swept from 1e-2 to 1e-5.

    Cost: a copy of the first weights, and a pass over all weights a step.

    Attributes:
        strength: >= 0.
        on: what it is summed over: "no_norms" (all that is trained but norm layers, as published), "layers" (of
            convolutions and linear layers) or "all".
    """

    strength: float = ablation(1e-3)
    on: str = ablation("no_norms")
    name: ClassVar[str] = "l1_init"
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        choice("on", self.on, PARAMETERS)

    def start(self, learner: Learner) -> RuleState:
        """Copy the first weights."""
        return initial_weights(learner.model)

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The penalty of the model's weights at the time of the call."""
        return _summed(self.strength, self.on, model, state, lambda w, w_0: (w - w_0).abs().sum())


@dataclass(frozen=True, kw_only=True)
class HuberInit(WhileTraining):
    """Huber Init: a pull to the first weights, a square near them and an absolute value far from them.

    w_0 as in `L1Init`.

    Formula: loss + strength x sum of Huber(w - w_0), in every stage;
    Huber(d) = d^2 / 2 for |d| <= delta, else delta (|d| - delta / 2).

    Published: delta=1; the strength is swept.

    Cost: a copy of the first weights, and a pass over all weights a step.

    Attributes:
        strength: >= 0; swept in the paper, as that of `L1Init`.
        delta: > 0; 1 as published.
        on: as in `L1Init`.
    """

    strength: float = ablation(1e-3)
    delta: float = ablation(1.0)
    on: str = ablation("no_norms")
    name: ClassVar[str] = "huber_init"
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        real("delta", self.delta, low=0, open_low=True, fix="It is where the square ends.")
        choice("on", self.on, PARAMETERS)

    def start(self, learner: Learner) -> RuleState:
        """Copy the first weights."""
        return initial_weights(learner.model)

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The penalty of the model's weights at the time of the call."""

        def huber(w: Tensor, w_0: Tensor) -> Tensor:
            return functional.huber_loss(w, w_0, reduction="sum", delta=self.delta)

        return _summed(self.strength, self.on, model, state, huber)


def _summed(
    strength: float,
    on: str,
    model: nn.Module,
    state: RuleState,
    distance: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[], Tensor] | None:
    """Strength times the sum of distances of parameters from where they began."""
    if not strength:
        return None
    pairs = [pair for layer in anchored(model, state, on) for pair in layer]
    return lambda: torch.stack([distance(w, w_0) for w, w_0 in pairs]).sum() * strength
