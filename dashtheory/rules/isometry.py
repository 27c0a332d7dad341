"""Isometry: weights stay near matrices with orthonormal rows or columns, by a penalty or beside the optimizer.

R is the sum over weights of ||W'W - I||_F^2 where there are at least as many outputs as inputs, else ||WW' -
I||_F^2; kernels are laid out in rows, biases do not count.

Cost: a product of each weight matrix with itself a step, and its gradient; no pass over the data.

Source: Rosseau, Mueller & Nowe (ICML 2026, arXiv:2606.09762): the penalty, and AdamO, which keeps its gradient out
of Adam's averages as AdamW does with weight decay.

Elsewhere: no official code was found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import real
from dashtheory.rules.matrices import LayerWeight, layer_weights
from dashtheory.rules.parseval import gram_defect
from dashtheory.rules.rule import AfterStep, Context, Learner, RuleState, WhileTraining, ablation


@dataclass(frozen=True, kw_only=True)
class Isometry(WhileTraining):
    """Isometry: a penalty pulls every weight matrix to orthonormal rows or columns.

    Formula: loss + strength x R, in every stage.

    Published: strength=1e-3.

    Attributes:
        strength: >= 0; 1e-3 as published.
    """

    strength: float = ablation(1e-3)
    name: ClassVar[str] = "isometry"
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The penalty of the model's weights at the time of the call."""
        if not self.strength:
            return None
        weights = layer_weights(model)
        return lambda: total(weights) * self.strength


@dataclass(frozen=True, kw_only=True)
class AdamO(WhileTraining):
    """AdamO: the pull to orthonormal rows or columns, beside the optimizer, after every step.

    With Adam as the optimizer this is AdamO; any other will do as well. R is that of `Isometry`; the slope is that
    at the weights after the step.

    Formula: w <- w - eta strength dR/dw, eta the step size of the moment.

    Published: strength=1e-3 with a step size of 1e-4, from an orthogonal initialization.

    Attributes:
        strength: >= 0; 1e-3 as published (with a step size of 1e-4).
    """

    strength: float = ablation(1e-3)
    name: ClassVar[str] = "adamo"
    acts: ClassVar[tuple[str, ...]] = ("steps",)
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the slope.")

    def after_step(self, learner: Learner, context: Context) -> AfterStep | None:
        """Take the step of the penalty alone."""
        if not self.strength:
            return None
        weights = layer_weights(learner.model)
        groups = {id(value): group for group in learner.optimizer.param_groups for value in group["params"]}

        def call(step: int) -> None:
            slopes = torch.autograd.grad(total(weights), [one.parameter for one in weights])
            with torch.no_grad():
                for one, slope in zip(weights, slopes, strict=True):
                    one.parameter.sub_(slope, alpha=float(groups[id(one.parameter)]["lr"]) * self.strength)

        return AfterStep(call=call)


def total(weights: list[LayerWeight]) -> Tensor:
    """R of some weights."""
    matrices = [one.matrix() for one in weights]
    return torch.stack([gram_defect(m.T if len(m) >= m.shape[1] else m) for m in matrices]).sum()
