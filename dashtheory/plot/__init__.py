"""One visual language for every figure; functions take tables and axes, and compute nothing."""

from dashtheory.plot.stages import add_heading, describe_band, draw_prediction, draw_stages
from dashtheory.plot.style import RULE_STYLES, RuleStyle, rule_style, save_figure, sort_rules, style

__all__ = [
    "RULE_STYLES",
    "RuleStyle",
    "add_heading",
    "describe_band",
    "draw_prediction",
    "draw_stages",
    "rule_style",
    "save_figure",
    "sort_rules",
    "style",
]
