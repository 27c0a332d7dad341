"""Figures of a preset's results: accuracy, training time, what rules leave of old data, cosines or canaries."""

from __future__ import annotations

import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.measure import BINS
from dashtheory.paper.published import Published
from dashtheory.plot import add_heading, describe_band, draw_stages, rule_style, sort_rules, stages_left_out

_OLD = ("old_accuracy_reestimated_epoch0", "old_accuracy_epoch0")
_CANARY = "canary_accuracy_at_start_reestimated"
_AFTER = "cosine_after_00"
_COSINE = "cosine of weights with descent on old data"


def draw_results(
    table: pd.DataFrame, published: list[Published], *, title: str, setting: str, foot: str
) -> Figure:
    """Four panels by stage, fewer where something was not measured.

    Args:
        table: tidy, of one setting.
        published: figures of others, drawn as rings.
        title: words.
        setting: words.
        foot: words.
    """
    table, of_all = _shared(table), table
    rows = math.ceil(table["rule"].nunique() / _IN_A_ROW)
    height = 4.5 + _ROW * (rows - 1)
    old, memorised = _old_metric(table), _memorised_drawer(table)
    figure, found = plt.subplots(1, 2 + bool(old) + bool(memorised), figsize=(15.2, height))
    axes = list(found)
    draw_stages(axes[0], table, "test_accuracy", scale=100, dodge=0)
    axes[0].set(ylabel="test accuracy (%)", title="Generalisation")
    _draw_published(axes[0], published, 2 * int(table["stage"].max()))
    draw_stages(axes[1], table, "steps")
    axes[1].set(ylabel="optimizer steps of the stage", title="Training time")
    if old:
        _draw_old(axes[2], table, old)
    if memorised:
        memorised(axes[-1], table)
    top, bottom = 1 - (1.06 + _ROW * (rows - 1)) / height, 0.79 / height
    figure.subplots_adjust(left=0.042, right=0.992, top=top, bottom=bottom, wspace=0.27)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.006, 1 - 0.52 / height),
        ncols=min(len(labels), _IN_A_ROW),
        fontsize=8,
        columnspacing=1.4,
    )
    rings = "; rings: one run of the authors each, original pixels" if published else ""
    fewer = "; the seeds that all rules have" if len(table) < len(of_all) else ""
    dotted = "; dotted: across stages left out" if stages_left_out(table, "test_accuracy") else ""
    add_heading(figure, title, setting, describe_band(table, "sd") + dotted + fewer + rings + foot)
    return figure


def panels_in_words(table: pd.DataFrame) -> str:
    """What `draw_results` shows of a table, for those who do not see it."""
    metrics = set(table["metric"])
    shown = ["test accuracy", "steps"]
    if _old_metric(table):
        shown.append("old accuracy")
    if _CANARY in metrics:
        shown.append("old wrong labels still predicted")
    *first, last = shown
    words = f"{', '.join(first)} and {last} by stage for each rule"
    return words + "; cosines of weights with descent" * (_CANARY not in metrics and _AFTER in metrics)


def _shared(table: pd.DataFrame) -> pd.DataFrame:
    """The runs on seeds that all rules have, if there are any: means over other seeds are not to be compared."""
    seeds = set.intersection(*(set(rows) for _, rows in table.groupby("rule")["seed"]))
    return table[table["seed"].isin(seeds)] if seeds else table


def furthest(table: pd.DataFrame) -> pd.DataFrame:
    """The runs that end later than all on the seeds that all rules have: of the seed with most of them.

    Args:
        table: tidy, of one setting.

    Returns:
        all rows of these runs; none if there are no such runs.
    """
    last = table.groupby(["rule", "seed"])["stage"].max()
    further = last[last > _shared(table)["stage"].max()].reset_index()
    if further.empty:
        return table.iloc[:0]
    seed = int(further["seed"].value_counts().sort_index().idxmax())
    rules = further.loc[further["seed"] == seed, "rule"]
    return table.loc[(table["seed"] == seed) & table["rule"].isin(rules)]


_IN_A_ROW = 7  # rules in a row of the legend
_ROW = 0.24  # its height, in inches


def _draw_published(ax: Axes, published: list[Published], last: int) -> None:
    """Rings up to a stage: those far behind ours would squeeze them."""
    for one in published:
        if one.metric == "test_accuracy" and 0 < one.stage <= last:
            look = rule_style(one.rule)
            ax.plot(one.stage, 100 * one.value, "o", mfc="none", mec=look.color, markersize=9, zorder=5)


def _old_metric(table: pd.DataFrame) -> str:
    """What tells of accuracy on old chunks; empty if it was not measured."""
    return next((name for name in _OLD if name in set(table["metric"])), "")


def _draw_old(ax: Axes, table: pd.DataFrame, metric: str) -> None:
    """Accuracy on the old chunks right after the rule, batch-norm statistics re-estimated where there are any."""
    draw_stages(ax, table, metric, scale=100)
    how = ", re-estimated" if metric == _OLD[0] else ""
    ax.set(ylabel=f"old training accuracy{how} (%)", title="What the rule leaves")


def _memorised_drawer(table: pd.DataFrame) -> Callable[[Axes, pd.DataFrame], None] | None:
    """What draws canaries where there are any, else cosines of weights with descent; None if there are neither."""
    metrics = set(table["metric"])
    return _draw_canaries if _CANARY in metrics else _draw_cosines if _AFTER in metrics else None


def _draw_canaries(ax: Axes, table: pd.DataFrame) -> None:
    draw_stages(ax, table, _CANARY, scale=100)
    ax.set(ylabel="old wrong labels still predicted (%)", title="Memorised, after the rule")


def _draw_cosines(ax: Axes, table: pd.DataFrame) -> None:
    """Shares of weights by their cosine with descent, at the last stage that has them."""
    names = {when: [f"cosine_{when}_{place:02d}" for place in range(BINS)] for when in ("before", "after")}
    stage = int(table.loc[table["metric"] == _AFTER, "stage"].max())
    edges = np.linspace(-1, 1, BINS + 1)  # shares are kept by bin: seaborn would need made-up cosines to bin again
    for rule in sort_rules(list(table["rule"].unique())):
        rows = table[(table["rule"] == rule) & (table["stage"] == stage)].groupby("metric")["value"].mean()
        look = rule_style(rule)
        if names["after"][0] in rows:
            ax.stairs(100 * rows[names["after"]].to_numpy(), edges, color=look.color, linestyle=look.linestyle)
    before = table[(table["rule"] == "warm") & (table["stage"] == stage - 1)].groupby("metric")["value"].mean()
    if names["before"][0] in before:
        shares = 100 * before[names["before"]].to_numpy()
        ax.stairs(shares, edges, color="#bbbbbb", fill=True, alpha=0.5, label="warm, before")
        ax.legend(fontsize=7.5)
    ax.set(
        yscale="log",
        xlabel=_COSINE,
        ylabel="share of weights (%, logarithmic)",
        title=f"Alignment after the rule, stage {stage}",
    )
