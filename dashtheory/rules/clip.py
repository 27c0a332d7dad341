"""Weight clipping: after every step no weight is larger than some times the bound that it was drawn within."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, integer, real
from dashtheory.rules.matrices import layer_weights
from dashtheory.rules.rule import (
    AfterStep,
    Context,
    Learner,
    RuleState,
    WhileTraining,
    ablation,
    flag,
    remembered,
    trainable,
)

BOUNDS = ("torch", "kaiming", "drawn")
"""Bounds of an initialization.

    torch     sqrt(1 / inputs), of the uniform one that is PyTorch's own
    kaiming   sqrt(6 / inputs), He's for ReLU
    drawn     the largest entry of the run's first weights of the layer, whatever drew them
"""


@dataclass(frozen=True, kw_only=True)
class Clip(WhileTraining):
    """Weight clipping: weights and biases of layers are cut off at some times their layer's first bound.

    Layers are convolutions, linear layers and attention projections; norm layers and embeddings stay. A bias has
    the bound of its layer's weight. Weights within the bound keep their bits, and so does the optimizer.

    Formula: after every step w <- max(-kappa s, min(kappa s, w)), s the bound of the layer's first weights.

    Published: after every step; kappa is swept. The default here is not tuned.

    Cost: a pass over the weights a step.

    Source: Elsayed, Lan, Lyle & Mahmood, "Weight clipping for deep continual and reinforcement learning" (RLC
    2024, arXiv:2407.01704), of which a summary alone was read.

    Attributes:
        kappa: > 0; swept in the paper.
        bound: s, of `BOUNDS`.
        last: whether the last layer is clipped too.
        every: steps between two cuts; 1 as published.
    """

    kappa: float = ablation(2.0)
    bound: str = ablation("torch")
    last: bool = ablation(True)
    every: int = ablation(1)
    name: ClassVar[str] = "clip"
    acts: ClassVar[tuple[str, ...]] = ("steps",)
    inert: ClassVar[Mapping[str, Any]] = {"kappa": 1e9}

    def __post_init__(self) -> None:
        real("kappa", self.kappa, low=0, open_low=True, fix="It multiplies the first bound.")
        choice("bound", self.bound, BOUNDS)
        flag("last", self.last)
        integer("every", self.every, minimum=1, fix="It counts optimizer steps.")

    def start(self, learner: Learner) -> RuleState:
        """The bound of every layer.

        Raises:
            ValueError: if a bound that is drawn is zero, so that the layer could never train.
        """
        found = {}
        for one in layer_weights(learner.model, last=self.last):
            value = one.parameter.detach()
            if self.bound == "drawn":
                found[one.name] = value.abs().amax().clone()
                if not found[one.name] > 0:
                    fix = "bound='torch' goes by the number of inputs."
                    fail("bound", "must not be drawn where first weights are zero", f"zeros in {one.name}", fix)
            else:
                inputs = one.matrix().shape[1]
                size = math.sqrt((6 if self.bound == "kaiming" else 1) / inputs)
                found[one.name] = torch.full((), size, dtype=value.dtype, device=value.device)
        return found

    def after_step(self, learner: Learner, context: Context) -> AfterStep:
        """Cut off."""
        known = trainable(learner.model)
        pairs: list[tuple[nn.Parameter, Tensor]] = []
        for one in layer_weights(learner.model, last=self.last):
            most = self.kappa * remembered(context.state, one.name, one.parameter.detach().abs().amax())
            bias = known.get(f"{one.name.removesuffix('weight')}bias")
            pairs += [(value, most) for value in (one.parameter, bias) if value is not None]

        @torch.no_grad()
        def call(step: int) -> None:
            for value, most in pairs:
                value.clamp_(-most, most)

        return AfterStep(call=call, every=self.every)
