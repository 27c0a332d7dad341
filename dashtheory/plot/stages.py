"""Draw a metric against the stage, a line and a band per rule."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dashtheory.plot.style import rule_style, sort_rules
from dashtheory.record import BANDS, Band, one_per, summarize


def draw_stages(
    ax: Axes,
    table: pd.DataFrame,
    metric: str,
    *,
    band: Band = "sd",
    scale: float = 1.0,
    line: bool = True,
    dodge: float = 0.0,
) -> Axes:
    """Draw the mean over seeds of `metric` by stage, with a band, for every rule in the table.

    Where a rule left stages out that others have, its line is dotted, thin and without a band.

    Args:
        ax: where to draw.
        table: tidy table.
        metric: its name there.
        band: kind of band, named in the figure by `describe_band`.
        scale: factor on the values (100: per cent).
        line: join the means by a line; without it they are points, for a figure whose lines are predictions.
        dodge: shift of each rule against the next, in stages, where equal curves would hide each other; bands
            become bars then.

    Returns:
        `ax`.

    Raises:
        ValueError: as `summarize`, or if a rule has the metric at several points.
    """
    summary = _by_stage(table, metric, band)  # seaborn's lineplot would average logarithms on a logarithmic axis
    every = max(1, summary["stage"].nunique() // 8)
    rules = sort_rules(summary["rule"].tolist())
    for place, rule in enumerate(rules):  # markers are staggered, so that equal curves both show
        rows, look = _with_gaps(summary, rule), rule_style(rule)
        stages = rows["stage"] + dodge * (place - (len(rules) - 1) / 2)
        low, mean, high = (scale * rows[name] for name in ("low", "mean", "high"))
        gaps = bool(mean.isna().any())
        if dodge:
            ax.vlines(stages, low, high, color=look.color, linewidth=1.4)
        else:
            ax.fill_between(stages, low, high, color=look.color, alpha=0.16, linewidth=0)
        if gaps and line:
            ax.plot(stages[mean.notna()], mean.dropna(), color=look.color, linestyle=":", linewidth=1)
        ax.plot(
            stages,
            mean,
            color=look.color,
            linestyle=look.linestyle if line else "none",
            marker=look.marker,
            markevery=1 if gaps else (place * every // len(rules), every),
            label=look.label,
        )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.set_xlabel("stage (training on all chunks so far)")
    return ax


def stages_left_out(table: pd.DataFrame, metric: str) -> bool:
    """Whether `draw_stages` draws a dotted line: a rule left stages out that others have."""
    summary = _by_stage(table, metric, "sd")
    return any(_with_gaps(summary, rule)["mean"].isna().any() for rule in set(summary["rule"]))


def _with_gaps(summary: pd.DataFrame, rule: str) -> pd.DataFrame:
    """A rule's lines of a summary, with NaN at stages between its first and last that others alone have."""
    rows = summary[summary["rule"] == rule]
    all_stages = np.unique(summary["stage"])
    between = all_stages[(all_stages >= rows["stage"].min()) & (all_stages <= rows["stage"].max())]
    return rows.set_index("stage").reindex(between).rename_axis("stage").reset_index()


def draw_prediction(ax: Axes, table: pd.DataFrame, metric: str, *, scale: float = 1.0) -> Axes:
    """Draw the mean over seeds of a predicted metric by stage, a dashed line per rule without band or label.

    Where the predictions of the first and the last rule coincide, their dashes alternate, so that both show.

    Args:
        ax: where to draw.
        table: tidy table.
        metric: its name there.
        scale: factor on the values (100: per cent).

    Returns:
        `ax`.

    Raises:
        ValueError: as `summarize`, or if a rule has the metric at several points.
    """
    summary = _by_stage(table, metric, "range")
    rules = sort_rules(summary["rule"].tolist())
    for place, rule in enumerate(rules):
        rows = summary[summary["rule"] == rule]
        offset = 3 * place / max(len(rules) - 1, 1)
        dashes = (offset, (3, 3))
        ax.plot(rows["stage"], scale * rows["mean"], color=rule_style(rule).color, linestyle=dashes, zorder=3)
    return ax


def _by_stage(table: pd.DataFrame, metric: str, band: Band) -> pd.DataFrame:
    summary = summarize(table, metric, band)
    one_per(summary, ["rule", "stage"], f"{metric} per rule and stage")
    return summary


def say_seeds(table: pd.DataFrame) -> str:
    """Words for how many seeds a mean is over."""
    num_seeds = table["seed"].nunique()
    return "one seed" if num_seeds == 1 else f"mean of n = {num_seeds} seeds"


def describe_band(table: pd.DataFrame, band: Band, *, line: bool = True, bars: bool = False) -> str:
    """Words for what lines (or points) and bands (or bars) are, with n, for the foot of a figure."""
    num_seeds = table["seed"].nunique()
    means = "lines" if line else "points"
    if num_seeds == 1:
        return f"{means}: one seed, no band"
    return f"{means}: {say_seeds(table)}; {'bars' if bars else 'bands'}: {BANDS[band]} over these seeds"


def add_heading(figure: Figure, title: str, setting: str, foot: str) -> None:
    """Put a title, the setting in one line, and a foot line on a figure, left-aligned, clear of the axes."""
    inch = 1 / figure.get_figheight()
    figure.suptitle(title, x=0.012, y=1 - 0.065 * inch, ha="left", va="top", fontsize=12.5, fontweight="bold")
    figure.text(0.012, 1 - 0.41 * inch, setting, ha="left", va="top", fontsize=9, color="#444444")
    figure.text(0.012, 0.05 * inch, foot, ha="left", va="bottom", fontsize=8.5, color="#444444")
