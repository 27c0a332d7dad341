"""Spectral decoupling: logits are kept small, in place of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import real
from dashtheory.rules.rule import BatchPenalty, Context, WhileTraining, ablation


@dataclass(frozen=True, kw_only=True)
class Decoupling(WhileTraining):
    """Spectral decoupling: train with a penalty on the squares of the logits.

    Formula: loss + strength x mean of squared logits, in every stage.

    Published: chosen by the data; the default here is not tuned.

    Cost: next to nothing: the logits of a step are there.

    Source: Pezeshki et al., "Gradient starvation" (NeurIPS 2021, arXiv:2011.09468).

    Elsewhere: a switch of the code of Hare & Tortoise, where it is off.

    Attributes:
        strength: >= 0; papers choose it by the data, and this one is not tuned.
    """

    strength: float = ablation(1e-3)
    name: ClassVar[str] = "decoupling"
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")

    def batch_penalty(self, model: nn.Module, context: Context) -> BatchPenalty | None:
        """The mean square of the batch's logits."""
        if not self.strength:
            return None

        def penalty(inputs: Tensor, targets: Tensor, logits: Tensor) -> Tensor:
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return wide.square().mean() * self.strength

        return penalty
