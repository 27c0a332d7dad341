"""One visual language for every figure; functions take tables and axes, and compute nothing but means over seeds.

seaborn is imported by the functions that draw with it, when they are called: it brings ipywidgets along, which
nothing else here needs.
"""

from dashtheory.plot.animate import animate_stages, describe_moment, draw_moment, gif_html, num_moments
from dashtheory.plot.differences import draw_amounts, draw_differences
from dashtheory.plot.maps import draw_contours, draw_map, pivot_map, plain_log_ticks
from dashtheory.plot.means import draw_means
from dashtheory.plot.stages import add_heading, describe_band, draw_prediction, draw_stages, say_seeds
from dashtheory.plot.style import RULE_STYLES, RuleStyle, rule_style, save_figure, sort_rules, style

__all__ = [
    "RULE_STYLES",
    "RuleStyle",
    "add_heading",
    "animate_stages",
    "describe_band",
    "describe_moment",
    "draw_amounts",
    "draw_contours",
    "draw_differences",
    "draw_map",
    "draw_means",
    "draw_moment",
    "draw_prediction",
    "draw_stages",
    "gif_html",
    "num_moments",
    "pivot_map",
    "plain_log_ticks",
    "rule_style",
    "save_figure",
    "say_seeds",
    "sort_rules",
    "style",
]
