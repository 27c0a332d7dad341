"""Paired differences: a dot, an interval and the seeds, one row per rule."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from dashtheory.plot.style import rule_style
from dashtheory.record import one_per


def draw_differences(
    ax: Axes, differences: pd.DataFrame, rules: Sequence[str], *, scale: float = 1.0, names: bool = True
) -> Axes:
    """Draw each rule's mean paired difference with its interval, the seeds as small dots, and a line at zero.

    Args:
        ax: where. differences: from `dashtheory.record.paired_differences`. rules: rows from top to bottom; one
            that has no difference (the reference) gets a label alone. scale: factor on the values (100: per cent).
        names: write the rules' names at the rows.
    Returns: `ax`.
    Raises: ValueError if a rule has differences at several points.
    """
    one_per(differences, ["rule"], "difference per rule")
    found = differences.set_index("rule")
    ax.axvline(0, color="#444444", linewidth=1.0)
    for row, rule in enumerate(rules):
        if rule not in found.index:
            ax.plot([0], [row], marker="|", color="#444444", markersize=11)
            continue
        look, one = rule_style(rule), found.loc[rule]
        seeds = [scale * value for value in one["differences"]]
        ax.plot(seeds, [row + 0.24] * len(seeds), ".", color=look.color, markersize=3.5, alpha=0.75)
        ax.hlines(row, scale * one["low"], scale * one["high"], color=look.color, linewidth=2.2)
        ax.plot([scale * one["mean"]], [row], marker=look.marker, color=look.color, markersize=6.5)
    ax.set_yticks(range(len(rules)), [rule_style(rule).label for rule in rules] if names else [""] * len(rules))
    ax.set_ylim(len(rules) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    return ax
