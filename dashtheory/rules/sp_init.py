"""S&P towards initial weights, the form in which the number is the amount removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from dashtheory._check import choice, fail, real
from dashtheory.rules.rule import Context, InPlace, Learner, RuleState, ablation, remembered, trainable

ORIGINS = ("own", "fresh")
"""Which initial weights: the run's own first ones, or new ones from the stage's stream."""


@dataclass(frozen=True, kw_only=True)
class ShrinkInit(InPlace):
    """Mix every trainable parameter, norm layers too, with initial weights before every stage; buffers stay.

    Formula: w <- (1 - c) w + c w_0

    With c = 1 weights are those of a reset, with c = 0 they stay. `linear=1:optimizer=kept` is the form of FIRE's
    DQN (linear layers begin again, kernels are mixed), `to=fresh` that of its SAC. In the terms of Ash & Adams
    (`ShrinkFresh`) it is shrink = 1 - c, perturb = c.

    Published: c=0.8 for vision; for GPT 0.5 or 0.8; with a new optimizer, but for DQN.

    Cost: a copy of the first weights, or a new network a stage; no pass over the data.

    Source: the code of FIRE (arXiv:2602.08040) and of Hare & Tortoise (ICML 2024, arXiv:2406.02596), which call it
    shrink and perturb; nothing is taken over from either.

    Elsewhere: DASH's authors and Ash & Adams give the factor *kept* (`sp`, `sp_ash_adams`).

    Attributes:
        c: share of the initial weights, in [0, 1].
        to: "own" (the run's first initialization, remembered) or "fresh" (a new one in every stage).
        linear: c of linear layers alone, in [0, 1]; "same" for no other than c.
        optimizer: as `InPlace`; "renewed" as published.
    """

    c: float = ablation(0.8)
    to: str = ablation("own")
    linear: float | str = ablation("same")
    optimizer: str = ablation("renewed")
    name: ClassVar[str] = "sp_init"
    inert: ClassVar[Mapping[str, Any]] = {"c": 0, "optimizer": "kept"}

    def __post_init__(self) -> None:
        super().__post_init__()
        real("c", self.c, low=0, high=1, fix="It is the amount removed, not the factor kept.")
        choice("to", self.to, ORIGINS)
        if isinstance(self.linear, str):
            choice("linear", self.linear, ("same",))
        else:
            real("linear", self.linear, low=0, high=1, fix="It is c of linear layers; or say same.")

    def start(self, learner: Learner) -> RuleState:
        """Copy all that is trained, if that is what later weights are mixed with."""
        return initial_weights(learner.model) if self.to == "own" else {}

    def change_(self, model: nn.Module, context: Context) -> None:
        """Mix with initial weights."""
        origin = origin_of(self.to, context)
        linear = {
            id(value)
            for part in model.modules()
            if isinstance(part, nn.Linear)
            for value in part.parameters(False)
        }
        pairs = [(value, remembered(origin, name, value)) for name, value in trainable(model).items()]
        with torch.no_grad():
            for value, first in pairs:
                c = self.linear if id(value) in linear and not isinstance(self.linear, str) else self.c
                value.copy_((1 - c) * value + c * first.to(value.dtype))


def initial_weights(model: nn.Module) -> RuleState:
    """Copies of all that is trained, by name."""
    return {name: value.detach().clone() for name, value in trainable(model).items()}


def origin_of(to: str, context: Context) -> RuleState:
    """Initial weights: "own" are those remembered, "fresh" those of a new model.

    Raises:
        ValueError: if a model of the same parameters has remembered nothing.
    """
    if to == "own" and not context.state:
        fail("state", "must hold the first weights", "none", "Give what this rule's start() returned.")
    return context.state if to == "own" else dict(trainable(context.fresh().model))
