"""Cold: train from scratch at every stage, on all chunks so far.

The reference of warm-starting work: what warm-starting is to reach, though not a ceiling. Its controls, a shrunk
start among them, are in `dashtheory.rules.controls`.

Source: Ash & Adams (NeurIPS 2020, arXiv:1910.08475); the "random" start of arXiv:2410.23495.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dashtheory.rules.rule import Context, Learner, Rule


@dataclass(frozen=True, kw_only=True)
class Cold(Rule):
    """Train from scratch at every stage: new weights, new optimizer.

    Formula: w <- a new initialization, of the stage's own stream; running statistics and the optimizer's state are
    new.

    Cost: none between stages, but every stage pays its training in full. Stages need not be run one after the
    other.
    """

    name: ClassVar[str] = "cold"
    anew: ClassVar[bool] = True

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Return a fresh learner."""
        return context.fresh(), None
