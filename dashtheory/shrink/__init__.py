"""The rules between stages, for any `torch.nn.Module`: DASH, shrink and perturb, cold, warm."""

from dashtheory.shrink.dash import LayerReport, ShrinkReport, dash_, group_cosines, smoothed_descent
from dashtheory.shrink.groups import Target, targets
from dashtheory.shrink.perturb import shrink_and_perturb_
from dashtheory.shrink.rules import (
    RULES,
    Between,
    Cold,
    Dash,
    Learner,
    Rule,
    ShrinkPerturb,
    Warm,
    make_rule,
    rule_options,
)

__all__ = [
    "RULES",
    "Between",
    "Cold",
    "Dash",
    "LayerReport",
    "Learner",
    "Rule",
    "ShrinkPerturb",
    "ShrinkReport",
    "Target",
    "Warm",
    "dash_",
    "group_cosines",
    "make_rule",
    "rule_options",
    "shrink_and_perturb_",
    "smoothed_descent",
    "targets",
]
