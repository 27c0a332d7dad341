"""Cold: train from scratch at every stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dashtheory.rules.rule import Context, Learner, Rule


@dataclass(frozen=True, kw_only=True)
class Cold(Rule):
    """Train from scratch at every stage: new weights, new optimizer."""

    name: ClassVar[str] = "cold"

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Return a fresh learner."""
        return context.fresh(), None
