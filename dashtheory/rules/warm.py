"""Warm: train on, with the optimizer kept or renewed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dashtheory.rules.rule import Context, Learner, Rule


@dataclass(frozen=True, kw_only=True)
class Warm(Rule):
    """Train on from the weights and the optimizer state of the stage before.

    Formula: w <- w. Every rule is compared with this one, and most are it at their inert setting.

    Source: warm-starting as in Ash & Adams (NeurIPS 2020, arXiv:1910.08475).

    Cost: none.
    """

    name: ClassVar[str] = "warm"
    acts: ClassVar[tuple[str, ...]] = ()

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Return the learner as it is."""
        return learner, None


@dataclass(frozen=True, kw_only=True)
class WarmRenewed(Rule):
    """Train on from the weights with a new optimizer: its momentum is reset.

    Formula: w <- w, and all that the optimizer remembers is gone.

    Source: a baseline of the authors' code of DASH (arXiv:2410.23495), called "warm_rm" there.

    Cost: none.

    Elsewhere: FIRE's vision runs and Hare & Tortoise renew the optimizer at every stage, whatever the rule, so
    that what they call by other names has this in it.
    """

    name: ClassVar[str] = "warm_rm"
    acts: ClassVar[tuple[str, ...]] = ("optimizer",)

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Return the same model with a new optimizer."""
        return Learner(learner.model, context.renew(learner.model)), None
