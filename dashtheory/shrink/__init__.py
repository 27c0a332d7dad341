"""The rules between stages, for any `torch.nn.Module`: DASH, S&P, cold, warm, controls and ablations."""

from dashtheory.shrink.ablations import ColdShrunk, Permuted, Perturb, Threshold, Uniform
from dashtheory.shrink.dash import (
    LayerReport,
    ShrinkReport,
    apply_factors_,
    dash_,
    dash_factors,
    group_cosines,
    smoothed_descent,
)
from dashtheory.shrink.grid import ShrinkGrid, shrink_grid
from dashtheory.shrink.groups import GRANULARITIES, Target, targets
from dashtheory.shrink.perturb import shrink_and_perturb_
from dashtheory.shrink.regularize import L2Init
from dashtheory.shrink.rule import Between, InPlace, Learner, Rule, RuleState
from dashtheory.shrink.rules import (
    RULES,
    Cold,
    Dash,
    Reset,
    ShrinkFresh,
    ShrinkPerturb,
    Warm,
    WarmRenewed,
    make_rule,
    rule_options,
)
from dashtheory.shrink.spec import read_options, read_rule, split_spec

__all__ = [
    "GRANULARITIES",
    "RULES",
    "Between",
    "Cold",
    "ColdShrunk",
    "Dash",
    "InPlace",
    "L2Init",
    "LayerReport",
    "Learner",
    "Permuted",
    "Perturb",
    "Reset",
    "Rule",
    "RuleState",
    "ShrinkFresh",
    "ShrinkGrid",
    "ShrinkPerturb",
    "ShrinkReport",
    "Target",
    "Threshold",
    "Uniform",
    "Warm",
    "WarmRenewed",
    "apply_factors_",
    "dash_",
    "dash_factors",
    "group_cosines",
    "make_rule",
    "read_options",
    "read_rule",
    "rule_options",
    "shrink_and_perturb_",
    "shrink_grid",
    "smoothed_descent",
    "split_spec",
    "targets",
]
