"""The rules between stages, by name: what happens to a learner before it trains on the next chunk.

    cold    a new model and a new optimizer
    warm    nothing
    sp      S&P as the authors of DASH compare it: `shrink_and_perturb_`, optimizer kept
    dash    DASH: `dash_`, optimizer kept

A rule is a frozen object; `RULES` maps its name to its class, `make_rule` builds one from a name and options.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import nn

from dashtheory._check import choice, fail, real
from dashtheory.shrink.dash import LossFunction, ShrinkReport, dash_
from dashtheory.shrink.perturb import shrink_and_perturb_


@dataclass(frozen=True, eq=False)
class Learner:
    """A model and the optimizer that trains it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True, kw_only=True, eq=False)
class Between:
    """What a rule may use before a stage.

    Attributes:
        chunks: one (input, target) batch per chunk seen so far, oldest first; made anew at each call.
        loss_fn: `loss_fn(model(input), target)`, the mean loss.
        fresh: makes a new learner from the stage's own initialisation stream.
        generator: the stage's perturbation stream.
    """

    chunks: Callable[[], Iterable[tuple[object, object]]]
    loss_fn: LossFunction
    fresh: Callable[[], Learner]
    generator: torch.Generator


class Rule(ABC):
    """What happens to the learner between two stages."""

    name: ClassVar[str]

    @abstractmethod
    def apply(self, learner: Learner, between: Between) -> tuple[Learner, ShrinkReport | None]:
        """Return the learner that starts the next stage (changed in place or new), and a report if any."""


@dataclass(frozen=True, kw_only=True)
class Cold(Rule):
    """Train from scratch at every stage: new weights, new optimizer."""

    name: ClassVar[str] = "cold"

    def apply(self, learner: Learner, between: Between) -> tuple[Learner, None]:
        """Return a fresh learner."""
        return between.fresh(), None


@dataclass(frozen=True, kw_only=True)
class Warm(Rule):
    """Train on from the weights and the optimizer state of the stage before."""

    name: ClassVar[str] = "warm"

    def apply(self, learner: Learner, between: Between) -> tuple[Learner, None]:
        """Return the learner as it is."""
        return learner, None


@dataclass(frozen=True, kw_only=True)
class ShrinkPerturb(Rule):
    """S&P: w <- shrink w + N(0, perturb^2) on convolution and linear parameters; optimizer kept.

    Attributes:
        shrink: factor kept, in [0, 1]. perturb: standard deviation of the noise, >= 0.
    """

    shrink: float = 0.3
    perturb: float = 0.01
    name: ClassVar[str] = "sp"

    def __post_init__(self) -> None:
        real("shrink", self.shrink, low=0, high=1, fix="It is the factor kept, not the amount removed.")
        real("perturb", self.perturb, low=0, fix="It is the standard deviation of the noise.")

    def apply(self, learner: Learner, between: Between) -> tuple[Learner, None]:
        """Shrink and perturb the model in place."""
        shrink_and_perturb_(learner.model, shrink=self.shrink, perturb=self.perturb, generator=between.generator)
        return learner, None


@dataclass(frozen=True, kw_only=True)
class Dash(Rule):
    """DASH: shrink by alignment with the smoothed negative gradient; optimizer kept.

    Attributes:
        alpha: weight of each newer chunk, in (0, 1]. lam: smallest factor, in [0, 1].
    """

    alpha: float = 0.3
    lam: float = 0.3
    name: ClassVar[str] = "dash"

    def __post_init__(self) -> None:
        real("alpha", self.alpha, low=0, high=1, open_low=True, fix="The paper uses 0.3.")
        real("lam", self.lam, low=0, high=1, fix="The paper uses 0.3 or 0.05.")

    def apply(self, learner: Learner, between: Between) -> tuple[Learner, ShrinkReport]:
        """Shrink the model in place after one pass over the chunks."""
        report = dash_(learner.model, between.chunks(), between.loss_fn, alpha=self.alpha, lam=self.lam)
        return learner, report


RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (Cold, Warm, ShrinkPerturb, Dash)}
"""Rule classes by name."""


def make_rule(name: str, **options: float) -> Rule:
    """Build the rule called `name` with the given options.

    Raises: ValueError if there is no such rule or it has no such option.
    """
    known = rule_options(name)
    for option in options:
        if option not in known:
            fail(
                "options",
                f"of rule {name} must be among {sorted(known) or 'none'}",
                repr(option),
                "Drop it or choose another rule.",
            )
    return RULES[name](**options)


def rule_options(name: str) -> tuple[str, ...]:
    """Names of the options of the rule called `name`.

    Raises: ValueError if there is no such rule.
    """
    rule: Any = RULES[choice("rule", name, RULES)]
    return tuple(option.name for option in fields(rule))
