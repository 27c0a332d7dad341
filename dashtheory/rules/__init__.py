"""The rules between stages, for any `torch.nn.Module`: DASH, S&P, cold, warm, controls and ablations.

Names are imported on first use, so that a rule's text can be read (`parse_spec`) without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dashtheory._spec import read_options
    from dashtheory.rules.alignment import group_cosines, smoothed_descent
    from dashtheory.rules.cold import Cold
    from dashtheory.rules.controls import ColdShrunk, Permuted, Perturb, Threshold, Uniform
    from dashtheory.rules.dash import Dash, apply_factors_, dash_, dash_factors
    from dashtheory.rules.grid import ShrinkGrid, shrink_grid
    from dashtheory.rules.groups import GRANULARITIES, Target, targets
    from dashtheory.rules.l2_init import L2Init
    from dashtheory.rules.report import LayerReport, ShrinkReport
    from dashtheory.rules.reset import Reset
    from dashtheory.rules.rule import Between, InPlace, Learner, Rule, RuleState
    from dashtheory.rules.shrink_and_perturb import ShrinkFresh, ShrinkPerturb, shrink_and_perturb_
    from dashtheory.rules.spec import RULES, RuleSpec, make_rule, parse_rule, parse_spec, rule_options
    from dashtheory.rules.warm import Warm, WarmRenewed

_PLACES = {
    "dashtheory._spec": ("read_options",),
    "dashtheory.rules.alignment": ("group_cosines", "smoothed_descent"),
    "dashtheory.rules.cold": ("Cold",),
    "dashtheory.rules.controls": ("ColdShrunk", "Permuted", "Perturb", "Threshold", "Uniform"),
    "dashtheory.rules.dash": ("Dash", "apply_factors_", "dash_", "dash_factors"),
    "dashtheory.rules.grid": ("ShrinkGrid", "shrink_grid"),
    "dashtheory.rules.groups": ("GRANULARITIES", "Target", "targets"),
    "dashtheory.rules.l2_init": ("L2Init",),
    "dashtheory.rules.report": ("LayerReport", "ShrinkReport"),
    "dashtheory.rules.reset": ("Reset",),
    "dashtheory.rules.rule": ("Between", "InPlace", "Learner", "Rule", "RuleState"),
    "dashtheory.rules.shrink_and_perturb": ("ShrinkFresh", "ShrinkPerturb", "shrink_and_perturb_"),
    "dashtheory.rules.spec": ("RULES", "RuleSpec", "make_rule", "parse_rule", "parse_spec", "rule_options"),
    "dashtheory.rules.warm": ("Warm", "WarmRenewed"),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

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
    "RuleSpec",
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
    "parse_rule",
    "parse_spec",
    "read_options",
    "rule_options",
    "shrink_and_perturb_",
    "shrink_grid",
    "smoothed_descent",
    "targets",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'dashtheory.rules' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
