"""Warm: train on, with the optimizer kept or renewed.

Warm-starting as in Ash & Adams (NeurIPS 2020, arXiv:1910.08475) and, with its momentum reset between stages
("warm_rm"), as in the authors' code of arXiv:2410.23495.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dashtheory.rules.rule import Context, Learner, Rule


@dataclass(frozen=True, kw_only=True)
class Warm(Rule):
    """Train on from the weights and the optimizer state of the stage before."""

    name: ClassVar[str] = "warm"
    acts: ClassVar[tuple[str, ...]] = ()

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Return the learner as it is."""
        return learner, None


@dataclass(frozen=True, kw_only=True)
class WarmRenewed(Rule):
    """Train on from the weights with a new optimizer: warm with its momentum reset (arXiv:2410.23495)."""

    name: ClassVar[str] = "warm_rm"
    acts: ClassVar[tuple[str, ...]] = ("optimizer",)

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Return the same model with a new optimizer."""
        return Learner(learner.model, context.renew(learner.model)), None
