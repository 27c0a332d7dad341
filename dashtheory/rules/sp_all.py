"""S&P on everything that is trained, norm layers and embeddings too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from dashtheory._check import real
from dashtheory.rules.rule import Context, InPlace, ablation, trainable


@dataclass(frozen=True, kw_only=True)
class ShrinkAll(InPlace):
    """Shrink all that is trained and add noise, before every stage; buffers stay.

    Norm scales shrink with the weights behind them, which `sp` leaves alone.

    Formula: w <- shrink w + N(0, perturb^2), for all parameters.

    Published: shrink=0.95, perturb=0.001.

    Cost: a draw of all weights a stage; no pass over the data.

    Source: the default of Renate, a library of continual learning (AWS, archived 2026).

    Elsewhere: Renate calls the standard deviation a variance.

    Attributes:
        shrink: factor kept, in [0, 1]; 0.95 as published.
        perturb: standard deviation of the noise, >= 0; 0.001 as published.
        optimizer: as `InPlace`.
    """

    shrink: float = ablation(0.95)
    perturb: float = ablation(0.001)
    name: ClassVar[str] = "sp_all"
    inert: ClassVar[Mapping[str, Any]] = {"shrink": 1, "perturb": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        real("shrink", self.shrink, low=0, high=1, fix="It is the factor kept, not the amount removed.")
        real("perturb", self.perturb, low=0, fix="It is the standard deviation of the noise.")

    def change_(self, model: nn.Module, context: Context) -> None:
        """Shrink and perturb; draws in model order on the CPU, in float32."""
        with torch.no_grad():
            for value in trainable(model).values():
                noise = torch.randn(value.shape, generator=context.generator, dtype=torch.float32)
                value.mul_(self.shrink).add_(noise.to(value.device, value.dtype), alpha=self.perturb)
