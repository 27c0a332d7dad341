"""A uniform shrink that keeps the decisions of a network of ReLUs: biases in proportion to what reaches them.

A rule that multiplies weights AND biases by one factor changes the function of a network without normalisation:
after l layers the signal is c^l times what it was, and the biases only c times. Here every bias gets the product
of the factors before it, so that the output is a multiple of what it was (`dashtheory.rules.homogeneous`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn

from dashtheory.rules.alignment import checked_alpha, checked_lam
from dashtheory.rules.dash import dash_factors
from dashtheory.rules.groups import targets
from dashtheory.rules.homogeneous import output_scaling, scale_biases_
from dashtheory.rules.report import LayerReport, ShrinkReport
from dashtheory.rules.rule import Context, InPlace, ablation, flag


@dataclass(frozen=True, kw_only=True)
class Proportional(InPlace):
    """A uniform shrink by DASH's mean factor, biases in proportion, so that no decision changes.

    Each weight matrix or kernel is taken times the factor, biases and running statistics in proportion.

    A control for `uniform` and for the rules of arXiv:2507.04683: what does a shrink do that changes no decision
    of the network at that moment?

    Formula: W_l <- c_l W_l and b_l <- (c_1 ... c_l) b_l, so that f <- (c_1 ... c_L) f; c is DASH's mean factor.

    Published: none as a control; alpha and lam are those of DASH (arXiv:2410.23495).

    Cost: as DASH: one pass over all data a stage. A network whose output does not scale is refused.

    Source: the theorem is that of Soft Weight Rescaling (Oh, Park, Han & Kim, arXiv:2507.04683); as a control
    derived here.

    Elsewhere: S&P, DASH and FIRE scale or keep biases without regard to what reaches them.

    Attributes:
        alpha: of the DASH whose mean is taken; 0.3 and 0.3 as published.
        lam: of the DASH whose mean is taken; 0.3 and 0.3 as published.
        per_layer: each weight by its own mean factor, instead of the mean over all entries.
        optimizer: as `InPlace`.
    """

    alpha: float = 0.3
    lam: float = 0.3
    per_layer: bool = ablation(False)
    name: ClassVar[str] = "proportional"
    inert: ClassVar[Mapping[str, Any]] = {"lam": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_alpha(self.alpha)
        checked_lam(self.lam)
        flag("per_layer", self.per_layer)

    def change_(self, model: nn.Module, context: Context) -> ShrinkReport:
        """Shrink by DASH's mean, and scale what follows.

        Raises:
            ValueError: as `dash_`, and before any weight is touched if the network is none whose output scales
                with its weights.
        """
        dash = dash_factors(model, context.chunks(), context.loss_fn, alpha=self.alpha, lam=self.lam)
        weights = {layer.name: layer.mean_scale if self.per_layer else dash.mean_scale for layer in dash}
        scaling = output_scaling(model, {name: weights[name] for name in weights if not name.endswith("bias")})
        scale_biases_(model, scaling)
        with torch.no_grad():
            for target in targets(model):
                if target.kind != "vector":
                    target.parameter.mul_(weights[target.name])

        def remade(layer: LayerReport) -> LayerReport:
            factor = weights[layer.name]
            if layer.kind == "vector":
                factor = scaling.biases.get(layer.name.removesuffix(".bias"), 1.0)
            return replace(layer, scales=torch.full_like(layer.scales, factor))

        return replace(dash, layers=tuple(remade(layer) for layer in dash))
