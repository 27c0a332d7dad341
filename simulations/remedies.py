"""Every published remedy on several streams, tuned with the same budget (level 3).

A row per rule, a panel per stream: the tuned rule minus the tuned warm start at the last stage, paired by seed;
its defaults minus a warm start with defaults; and the tuned rule's norms without its directions. The tables, with
the protocol of every stream, are written beside the picture. The whole takes hours on two cores and goes on where
it was stopped.

    python simulations/remedies.py [--quick] [--streams digits,text] [--rules dash:lam=0.05/0.1/0.3,fire] ...
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashtheory._spec import label_of, split_text
from dashtheory.command.remedies import main
from dashtheory.command.remedy_results import compared, kept_results, save_results
from dashtheory.experiments.remedies import StreamSetting
from dashtheory.experiments.remedy_scores import IS_CONTROL, NORMS, PUBLISHED, TUNED
from dashtheory.experiments.remedy_tables import Compared, differences_of, render
from dashtheory.plot import add_heading, save_figure, style
from dashtheory.record import PAIRED, write_text
from dashtheory.rules import RULES

KINDS = {
    "between": ("#0072B2", "o", "acts on weights between stages"),
    "loss": ("#009E73", "s", "acts in the loss"),
    "steps": ("#D55E00", "D", "acts while training"),
    "other": ("#AA4499", "^", "acts on optimizer, network or evaluation"),
    "control": ("#555555", "P", "control"),
}
"""Colour, marker and words by where a rule acts."""


CONTROLS_OF = {
    "dash": ("uniform", "permuted", "scattered", "proportional", "threshold", "rewarm"),
    "sp": ("perturb",),
    "cold": ("cold_shrunk",),
}
"""Remedies and the controls that take something away from them."""


def kind_of(rule: str) -> str:
    """Where a rule acts, of `KINDS`."""
    name = split_text(rule)[0]
    if name in IS_CONTROL:
        return "control"
    acts = RULES[name].acts if name in RULES else ("between",)
    return next((kind for kind in ("loss", "between", "steps") if kind in acts), "other")


def control_of(rule: str) -> str:
    """The remedy that a control takes something away from; empty if it is none."""
    return next((of for of, names in CONTROLS_OF.items() if split_text(rule)[0] in names), "")


def controls_beside(rules: list[str]) -> list[str]:
    """The rules in their order, but every control behind its rule, if that is there."""
    alone = [rule for rule in rules if control_of(rule) not in rules]
    return [one for rule in alone for one in (rule, *(other for other in rules if control_of(other) == rule))]


def best_first(differences: pd.DataFrame) -> list[str]:
    """Rules by the mean of their ranks over streams, whose units differ.

    Args:
        differences: with columns rule, stream and mean, a line per rule and stream that it was run on.
    """
    ranks = differences.groupby("stream")["mean"].rank(pct=True)
    means = ranks.groupby(differences["rule"]).mean()
    return [str(rule) for rule in means.sort_values(ascending=False, kind="stable").index]


def draw(streams: list[Compared]) -> Figure:
    """Differences by rule and stream, best first: by the mean of its ranks."""
    found = differences_of(streams)
    tuned = found[found["arm"] == TUNED]
    order = controls_beside(best_first(tuned))
    top = 0.95 + 0.15 * max(_wrapped(one.setting).count("\n") + 1 for one in streams)
    height, width = 1.15 + top + 0.21 * len(order), max(2.6 + 2.6 * len(streams), 13.0)
    figure, axes = plt.subplots(1, len(streams), figsize=(width, height), sharey=True, squeeze=False)
    for ax, one in zip(axes[0], streams, strict=True):
        _panel(ax, found[found["stream"] == one.name], order, one)
    names = [f"{label_of(rule)}{'  ↲' if control_of(rule) in order else ''}" for rule in order]
    axes[0][0].set_yticks(range(len(order)), names, fontsize=8)
    for tick, rule in zip(axes[0][0].get_yticklabels(), order, strict=True):
        tick.set_color(KINDS[kind_of(rule)][0])
    axes[0][0].set_ylim(len(order) - 0.4, -0.6)
    inch = 1 / height
    figure.subplots_adjust(left=2.5 / width, right=0.985, top=1 - top * inch, bottom=1.15 * inch, wspace=0.08)
    _legend(figure, inch)
    seeds = " and ".join(sorted({str(int(one.scores["n"].max())) for one in streams}))
    add_heading(
        figure,
        "What each remedy adds to a warm start",
        "last stage, paired by seed; tuned: every rule and warm with as many trials on held-out training data",
        f"lines: 95% {PAIRED}, each by itself; n = {seeds} seeds; arrows: beyond the axis; "
        "↲: a control of the rule above; order: mean rank over streams",
    )
    return figure


def _panel(ax: Axes, found: pd.DataFrame, order: list[str], one: Compared) -> None:
    """One stream."""
    arms = {arm: rows.set_index("rule") for arm, rows in found.groupby("arm")}
    ends = _ends(arms[TUNED])
    ax.axvline(0, color="#D55E00", linewidth=1.0)
    if "cold" in arms[TUNED].index:
        ax.axvline(float(arms[TUNED]["mean"]["cold"]), color="#0072B2", linewidth=1.0, linestyle=(0, (4, 2)))
    for row, rule in enumerate(order):
        color, marker, _ = KINDS[kind_of(rule)]
        looks: dict[str, dict[str, Any]] = {
            TUNED: {"color": color, "marker": marker, "markersize": 4.5},
            PUBLISHED: {"color": color, "marker": "o", "markersize": 4, "markerfacecolor": "none"},
            NORMS: {"color": "#222222", "marker": "|", "markersize": 9},
        }
        if rule in arms[TUNED].index:
            low, high = (float(arms[TUNED][end][rule]) for end in ("low", "high"))
            ax.hlines(row, max(low, ends[0]), min(high, ends[1]), color=color, linewidth=1.6)
        for arm, look in looks.items():
            if arm in arms and rule in arms[arm].index:
                _mark(ax, float(arms[arm]["mean"][rule]), row, ends, look)
    margin = 0.04 * (ends[1] - ends[0])
    ax.set_xlim(ends[0] - margin, ends[1] + margin)
    ax.set_title(_wrapped(one.setting), fontsize=8.5)
    ax.set_xlabel(one.setting.unit, fontsize=8.5)
    ax.tick_params(axis="y", length=0)


def _ends(tuned: pd.DataFrame) -> tuple[float, float]:
    """Ends of the axis: what most rules need, so that one that is far off does not press them together."""
    low, high = (float(tuned["mean"].quantile(share)) for share in (0.05, 0.95))
    span = max(high - low, 1e-9)
    wanted = min(float(tuned["low"].min()), 0.0), max(float(tuned["high"].max()), 0.0)
    return max(wanted[0], min(low, 0.0) - 0.6 * span), min(wanted[1], max(high, 0.0) + 0.6 * span)


def _mark(ax: Axes, value: float, row: int, ends: tuple[float, float], look: dict[str, Any]) -> None:
    """A mark, or an arrow at the end of the axis that it lies beyond."""
    beyond = ">" if value > ends[1] else "<" if value < ends[0] else look["marker"]
    ax.plot([min(max(value, ends[0]), ends[1])], [row], linestyle="none", **{**look, "marker": beyond})


def _wrapped(setting: StreamSetting) -> str:
    words, lines = setting.title.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 24:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _legend(figure: Figure, inch: float) -> None:
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5, linewidth=1.6, label=words)
        for color, marker, words in KINDS.values()
    ]
    plain = {"color": "#444444", "linestyle": "none"}
    handles += [
        Line2D([], [], marker="o", markerfacecolor="none", label="defaults, minus warm's", **plain),  # type: ignore[arg-type]
        Line2D([], [], marker="|", markersize=9, label="the tuned rule's norms alone", **plain),  # type: ignore[arg-type]
        Line2D([], [], color="#0072B2", linestyle=(0, (4, 2)), label="tuned cold start"),
        Line2D([], [], color="#D55E00", label="tuned warm start"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=5, fontsize=8, bbox_to_anchor=(0.5, 0.3 * inch))


def write(out: Path) -> None:
    """Draw what is there, and write its tables."""
    mpl.use("Agg")
    kept = kept_results(out)
    streams, table = compared(kept), save_results(out, kept)
    with style():
        figure = draw(streams)
        pictures = save_figure(figure, out / "remedies")
        plt.close(figure)
    write_text(out / "TABLES.md", render(streams))
    print(f"wrote {', '.join(map(str, pictures))}, {table} and {out / 'TABLES.md'}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(write))
