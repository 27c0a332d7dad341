"""Soft weight rescaling: after every step each layer shrinks a little towards the norm that it began with.

Formula:

    c_l = (lam ||W_l at the start|| + (1 - lam) ||W_l||) / ||W_l||;  W_l <- c_l W_l

Biases from the last normalisation on get the product of the factors up to them, so that the network's output is
only scaled (for layers that pass a factor on, such as ReLU); before it each bias gets its own layer's factor.
Scale and shift of a norm layer count as weight and bias.

Source: Oh, Park, Han & Kim, "Recovering Plasticity of Neural Networks via Soft Weight Rescaling"
(arXiv:2507.04683).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dashtheory._check import integer, real
from dashtheory.rules.layers import layout_of
from dashtheory.rules.rule import AfterStep, Context, Learner, RuleState, WhileTraining, ablation, remembered

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True, kw_only=True)
class SoftRescale(WhileTraining):
    """Soft weight rescaling: after every step norms go towards the first ones, biases in proportion.

    Layers are taken in the order of `model.named_modules()`, which is that of the signal in a chain; only biases
    behind the last normalisation depend on it. Running statistics follow the smaller signal by themselves, in
    later batches. Frozen weights keep their size, and their factor is 1.

    Published: the paper sweeps both coefficients; those here are this package's, and not tuned.

    Cost: the norms of all weights a step; no pass over the data.

    Elsewhere: not to be confused with selective weight reinitialization (arXiv:2508.00212), of the same initials.

    Attributes:
        features: lam of all layers but the classifier, in [0, 1]; 0: none, 1: norms stay what they were.
        classifier: lam of the last linear layer.
        every: steps between two rescalings; 1 as published.
    """

    features: float = ablation(1e-3)
    classifier: float = ablation(1e-3)
    every: int = ablation(1)
    name: ClassVar[str] = "swr"
    acts: ClassVar[tuple[str, ...]] = ("steps",)
    inert: ClassVar[Mapping[str, Any]] = {"features": 0, "classifier": 0}

    def __post_init__(self) -> None:
        real("features", self.features, low=0, high=1, fix="It is the share of the first norm.")
        real("classifier", self.classifier, low=0, high=1, fix="It is the share of the first norm.")
        integer("every", self.every, minimum=1, fix="It counts optimizer steps.")

    def start(self, learner: Learner) -> RuleState:
        """Note the norm of every layer."""
        return {name: norm(layer.weight) for name, layer in layers(learner.model).items()}

    def after_step(self, learner: Learner, context: Context) -> AfterStep | None:
        """Rescale all layers."""
        if not self.features and not self.classifier:
            return None
        parts = layers(learner.model)
        first = {name: remembered(context.state, name, norm(part.weight)) for name, part in parts.items()}
        behind = _last_norm(learner.model, parts)
        return AfterStep(call=lambda step: self.rescale_(parts, first, behind), every=self.every)

    @torch.no_grad()
    def rescale_(self, parts: Mapping[str, Any], first: Mapping[str, Tensor], behind: int) -> None:
        """Rescale layers, in place.

        Args:
            parts: `layers` of a model.
            first: norms that the layers began with, by name.
            behind: place of the layer from which on biases get the product, that one's own factor the first of it.
        """
        linear = [name for name, part in parts.items() if isinstance(part, nn.Linear)]
        product: Tensor | float = 1.0
        for place, (name, part) in enumerate(parts.items()):
            lam = self.classifier if linear and name == linear[-1] else self.features
            now = norm(part.weight)
            factor = torch.where(now > 0, (lam * first[name] + (1 - lam) * now) / now, 1.0)
            if not part.weight.requires_grad:
                factor = torch.ones_like(factor)
            product = factor if place <= behind else product * factor
            part.weight.mul_(factor.to(part.weight.dtype))
            bias = getattr(part, "bias", None)
            if bias is not None and bias.requires_grad:
                bias.mul_(product.to(bias.dtype))


def _last_norm(model: nn.Module, parts: Mapping[str, Any]) -> int:
    """Place of the last norm layer among `parts`, or of what follows it if it has no weight; 0 without any."""
    place = behind = 0
    for name, part in model.named_modules():
        behind = place if isinstance(part, _NORMS) else behind
        place += name in parts
    return behind


def layers(model: nn.Module) -> dict[str, Any]:
    """Norm layers, and layers that rules shrink, that have a `weight`, by name, in model order, each weight once.

    What `dashtheory.rules.layers` knows counts; attention that holds its projections as bare parameters does not.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for name, part in model.named_modules():
        known = isinstance(part, _NORMS) or "weight" in (layout_of(part) or {})
        if known and part.weight is not None and id(part.weight) not in seen:
            seen.add(id(part.weight))
            found[name] = part
    return found


def norm(value: Tensor) -> Tensor:
    """The 2-norm of all entries, in float32 or better."""
    kind = torch.promote_types(value.dtype, torch.float32)
    found: Tensor = torch.linalg.vector_norm(value.detach(), dtype=kind)
    return found
