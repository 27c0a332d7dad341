"""Synaptic intelligence: weights are held where they were, each by what its path gained in the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import real
from dashtheory.rules.importance import prefixed, pull
from dashtheory.rules.rule import (
    AfterStep,
    Context,
    Learner,
    RuleState,
    WhileTraining,
    ablation,
    remembered,
    trainable,
)


@dataclass(frozen=True, kw_only=True)
class SI(WhileTraining):
    """Synaptic intelligence: each weight is held where it was, by what its path gained in the loss.

    Formula: from the second stage on loss + strength / 2 x sum Omega (w - w*)^2, w* the weights after the last,
    with

        path      sum over the steps of a stage of -gradient x (change of w)
        Omega     sum over stages of path / ((w at its end - w at its beginning)^2 + damping), cut to [0, most]

    The gradient is the one that the step was taken with, the penalty's own part included, as in Avalanche; an
    optimizer that looks twice (SAM) leaves that of its last look.

    Published: strength is chosen by the data; damping and cut are those of Avalanche.

    Cost: two copies of the weights a step, four kept, and on CUDA steps are not recorded.

    Source: Zenke, Poole & Ganguli (ICML 2017, arXiv:1703.04200); the details are those of the library Avalanche
    0.6.0.

    Elsewhere: the streaming form in UPGD's code starts from previous weights of zero.

    Attributes:
        strength: >= 0; papers choose it by the data, and this one is not tuned.
        damping: > 0; 1e-7 as in Avalanche.
        most: the largest Omega, > 0; 0.001 as in Avalanche.
    """

    strength: float = ablation(1.0)
    damping: float = ablation(1e-7)
    most: float = ablation(1e-3)
    name: ClassVar[str] = "si"
    acts: ClassVar[tuple[str, ...]] = ("loss", "steps")
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        real("damping", self.damping, low=0, open_low=True, fix="It is there for weights that stood still.")
        real("most", self.most, low=0, open_low=True, fix="It is the largest importance.")

    def start(self, learner: Learner) -> RuleState:
        """No importance, and no path yet."""
        values = trainable(learner.model)
        zeros = {name: torch.zeros_like(value) for name, value in values.items()}
        return {
            **prefixed("path", zeros),
            **prefixed("sum", zeros),
            **prefixed("omega", zeros),
            **prefixed("anchor", values),
        }

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The pull to the weights after the stage before."""
        if not self.strength:
            return None
        pulled = pull(model, state, [("omega", "anchor")])
        return lambda: pulled() * (self.strength / 2)

    def after_step(self, learner: Learner, context: Context) -> AfterStep | None:
        """Follow the path."""
        if not self.strength:
            return None
        values = list(trainable(learner.model).items())
        paths = [remembered(context.state, f"path.{name}", value).zero_() for name, value in values]
        before = [value.detach().clone() for _, value in values]

        @torch.no_grad()
        def call(step: int) -> None:
            for (_, value), path, last in zip(values, paths, before, strict=True):
                if value.grad is not None:
                    path.addcmul_(value.grad, value - last, value=-1)
                last.copy_(value)

        return AfterStep(call=call, recordable=False)

    def finish(self, learner: Learner, context: Context) -> RuleState:
        """Turn the path into importance, and note the weights."""
        if not self.strength:
            return context.state
        values, sums = trainable(learner.model), {}
        for name, value in values.items():
            path, began, sum_ = (
                remembered(context.state, f"{part}.{name}", value) for part in ("path", "anchor", "sum")
            )
            sums[name] = sum_ + path / ((value.detach() - began).square() + self.damping)
        return {
            **prefixed("path", {name: torch.zeros_like(value) for name, value in values.items()}),
            **prefixed("sum", sums),
            **prefixed("omega", {name: value.clamp(0, self.most) for name, value in sums.items()}),
            **prefixed("anchor", values),
        }
