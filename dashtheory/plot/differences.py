"""A row per rule: paired differences with the seeds and an interval, and amounts as bars."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from dashtheory.plot.style import rule_style
from dashtheory.record import one_per


def draw_differences(
    ax: Axes, differences: pd.DataFrame, rules: Sequence[str], *, scale: float = 1.0, names: bool = True
) -> Axes:
    """Draw each rule's mean paired difference with its interval, below it a dot per seed, and a line at zero.

    Seeds of equal difference stand on top of each other, so that none hides another.

    Args:
        ax: where.
        differences: from `dashtheory.record.paired_differences`.
        rules: rows from top to bottom; one that has no difference (the reference) gets a label alone.
        scale: factor on the values (100: per cent).
        names: write the rules' names at the rows.

    Returns:
        `ax`.

    Raises:
        ValueError: if a rule has differences at several points.
    """
    import seaborn as sns

    one_per(differences, ["rule"], "difference per rule")
    found = differences.set_index("rule")
    found = found.loc[[rule for rule in rules if rule in found.index]]
    ax.axvline(0, color="#444444", linewidth=1.0)
    for row, rule in enumerate(rules):
        if rule not in found.index:
            ax.plot([0], [row], marker="|", color="#444444", markersize=11)
            continue
        look, one = rule_style(rule), found.loc[rule]  # seaborn's pointplot would make intervals of its own
        ax.hlines(row, scale * one["low"], scale * one["high"], color=look.color, linewidth=2.2)
        (mean,) = ax.plot([scale * one["mean"]], [row], marker=look.marker, color=look.color, markersize=6.5)
        if look.marker in _THIN:
            mean.set(markersize=10, markeredgewidth=1.8)
    _label_rows(ax, rules, names=names)
    seeds = scale * found["differences"].explode().astype(float)
    sns.swarmplot(
        x=seeds.to_numpy(),
        y=[list(rules).index(rule) + _BELOW for rule in seeds.index],
        hue=seeds.index,
        palette={rule: rule_style(rule).color for rule in found.index},
        native_scale=True,
        orient="y",
        size=3.4,
        linewidth=0.4,
        edgecolor="white",  # seen on top of the mean too, where many seeds agree
        zorder=3,
        warn_thresh=1,  # where a row is too low for a swarm, its ends overlap
        legend=False,
        ax=ax,
    )
    return ax


_THIN = frozenset("1234+x")  # markers without an inside, which the line of their own interval would hide
_BELOW = 0.36  # from a rule's interval to its seeds, in rows


def draw_amounts(ax: Axes, amounts: pd.Series, rules: Sequence[str], *, names: bool = True) -> Axes:
    """Draw a bar per rule: mean over seeds of an amount, with ± 1 sample standard deviation.

    Args:
        ax: where.
        amounts: a value per seed, the rule as index.
        rules: as `draw_differences`.
        names: as `draw_differences`.

    Returns:
        `ax`.
    """
    import seaborn as sns

    sns.barplot(
        x=amounts.to_numpy(),
        y=amounts.index,
        order=rules,
        hue=amounts.index,
        hue_order=rules,
        palette={rule: rule_style(rule).color for rule in rules},
        saturation=1,
        width=0.62,
        errorbar="sd",
        err_kws={"color": "#444444", "linewidth": 1.2},
        legend=False,
        ax=ax,
    )
    ax.set(ylabel="")
    _label_rows(ax, rules, names=names)
    return ax


def _label_rows(ax: Axes, rules: Sequence[str], *, names: bool) -> None:
    """Rows from top to bottom, with the rules' names or without."""
    ax.set_yticks(range(len(rules)), [rule_style(rule).label for rule in rules] if names else [""] * len(rules))
    ax.set_ylim(len(rules) - 0.2, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=True)
