"""A control of any rule: the norms that it would leave, and no change of direction.

Where this does as well as the rule, what the rule did beyond the size of the weights (which weights it chose,
where it turned them) was not needed. Weights that a normalisation follows have no size of their own but a step
size (`docs/theory.md`), so that the control is one of step sizes by layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory.copies import copied
from dashtheory.rules.report import LayerReport, ShrinkReport
from dashtheory.rules.rule import Context, InPlace, Learner, RuleState, ablation, flag
from dashtheory.rules.spec import parse_rule


@dataclass(frozen=True, kw_only=True)
class NormMatched(InPlace):
    """A control of any rule: each tensor gets the norm that it would leave, its direction untouched.

    The rule acts on a copy, with the stage's own streams, so that its noise is that of a run with it. Tensors that
    it leaves alone stay; so does one that is zero. Buffers and optimizer stay.

    Formula:

        w <- w * (norm of w after the rule / norm of w)          each tensor, or all of them by one factor

    Published: none.

    Cost: that of the other rule, and a copy of the network.

    Source: a control derived here; it is missing from the papers that propose such rules.

    Attributes:
        of: the rule, one that changes weights in place, with its options after +: dash, dash+lam=0.05, sp.
        whole: one factor for all tensors that the rule changes, so that their total norm is matched, instead of a
            factor each.
        optimizer: as `InPlace`.
    """

    of: str | tuple[object, ...] = ablation("dash")
    whole: bool = ablation(False)
    name: ClassVar[str] = "norm_matched"
    inert: ClassVar[Mapping[str, Any]] = {"of": ("perturb", "perturb=0")}

    def __post_init__(self) -> None:
        super().__post_init__()
        flag("whole", self.whole)
        self.rule()

    def rule(self) -> InPlace:
        """The rule whose norms are taken.

        Raises:
            ValueError: if there is none such, or it does not change weights in place.
        """
        parts = self.of if isinstance(self.of, tuple) else (self.of,)
        rule = parse_rule(":".join(map(str, parts)))
        if not isinstance(rule, InPlace):
            fail("of", "must be a rule that changes weights in place", str(parts[0]), "Choose dash or sp, say.")
        return rule

    def start(self, learner: Learner) -> RuleState:
        """What that rule remembers."""
        return self.rule().start(learner)

    def change_(self, model: nn.Module, context: Context) -> ShrinkReport | None:
        """Let the rule act on a copy, and take its norms."""
        changed = copied(model)
        report = self.rule().change_(changed, context)
        factors = _factors(model, changed, whole=self.whole)
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name in factors:
                    value.mul_(factors[name])
        return None if report is None else _reported(report, factors)


def _factors(model: nn.Module, changed: nn.Module, *, whole: bool) -> dict[str, float]:
    """Factor of each tensor that differs between the two, and is not zero."""
    after = dict(changed.named_parameters())
    pairs = {
        name: (_norm(value), _norm(after[name]))
        for name, value in model.named_parameters()
        if not torch.equal(value, after[name]) and _norm(value) > 0
    }
    if not whole:
        return {name: now / before for name, (before, now) in pairs.items()}
    before, now = (math.hypot(*(pair[side] for pair in pairs.values())) for side in (0, 1))
    return dict.fromkeys(pairs, now / before if pairs else 1.0)


def _norm(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value.detach(), dtype=torch.float64))


def _reported(report: ShrinkReport, factors: dict[str, float]) -> ShrinkReport:
    """The rule's report with the factors that were applied."""

    def remade(layer: LayerReport) -> LayerReport:
        return replace(layer, scales=torch.full_like(layer.scales, factors.get(layer.name, 1.0)))

    return replace(report, layers=tuple(remade(layer) for layer in report))
