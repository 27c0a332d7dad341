"""The rules between stages, for any `torch.nn.Module`: DASH, S&P, cold, warm, controls and ablations."""

from dashtheory.rules.cold import Cold
from dashtheory.rules.controls import ColdShrunk, Permuted, Perturb, Threshold, Uniform
from dashtheory.rules.dash import Dash, apply_factors_, dash_, dash_factors, group_cosines, smoothed_descent
from dashtheory.rules.grid import ShrinkGrid, shrink_grid
from dashtheory.rules.groups import GRANULARITIES, Target, targets
from dashtheory.rules.l2_init import L2Init
from dashtheory.rules.report import LayerReport, ShrinkReport
from dashtheory.rules.reset import Reset
from dashtheory.rules.rule import Context, InPlace, Learner, Rule, RuleState
from dashtheory.rules.shrink_and_perturb import ShrinkFresh, ShrinkPerturb, shrink_and_perturb_
from dashtheory.rules.spec import RULES, make_rule, read_options, read_rule, rule_options, split_spec
from dashtheory.rules.warm import Warm, WarmRenewed

__all__ = [
    "GRANULARITIES",
    "RULES",
    "Cold",
    "ColdShrunk",
    "Context",
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
