"""Language in two phases: help texts first, far too long or not, then a mix with source code (level 3).

A character transformer learns Python's help texts, and starts a second phase, on them and as much source code,
from where its held-out loss was least, from long after that, or from long after that with more weight decay. Left:
held-out loss of the mix against characters of the second phase. Right: the last loss minus that of a cold start.

    python simulations/two_phase_text.py [--quick] [--rules cold,warm,sp,dash,fire] ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.deep.config import TEXT
from dashtheory.deep.presets import folder_of
from dashtheory.experiments.two_phase_text import STARTS, TwoPhaseConfig, run_two_phases, text_facts
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_means, rule_style, sort_rules
from dashtheory.record import PAIRED, paired_differences

NAME = "two_phase_text"
WORDS = {
    "best": "From the least held-out loss",
    "late": "From long after that",
    "decayed": "The same, with weight decay before",
}
LOOKS = {"best": ("#000000", "o"), "late": ("#777777", "s"), "decayed": ("#AAAAAA", "^")}
"""Greys, since colors are those of rules in the panels beside."""


def plan(config: TwoPhaseConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per seed."""
    return [
        Job(
            name=f"seed{seed}",
            function=run_two_phases,
            arguments={"config": config, "seed": seed, "experiment": NAME},
        )
        for seed in seeds
    ]


def draw(table: pd.DataFrame, config: TwoPhaseConfig) -> Figure:
    """Loss against characters, from every start, and differences at the end."""
    figure, axes = plt.subplots(1, 4, figsize=(14.6, 4.9))
    rows = table[(table["metric"] == "loss_mix") & (table["stage"] == 2)]
    rows = rows.assign(thousands=rows["characters"] / 1000)
    looks = {rule: rule_style(rule) for rule in sort_rules(sorted(set(table["rule"])))}
    limits = _limits(rows)
    for ax, start in zip(axes, STARTS, strict=False):
        mine = rows[rows["start"].isin([start, "cold"]) & (rows["thousands"] > 0)]
        draw_means(ax, mine, "thousands", "rule", looks)
        ax.set(xlabel="thousand characters of the second phase", ylabel="", title=WORDS[start], ylim=limits)
        ax.tick_params(axis="y", labelleft=start == STARTS[0])
        _note_above(ax, mine, limits[1])
    axes[0].set_ylabel("held-out loss of the mix (nats per character)")
    foot = describe_band(table, "sd", bars=True)
    if "cold" in looks and table["seed"].nunique() > 1:
        _differences(axes[3], rows, [rule for rule in looks if rule != "cold"])
        foot += f"; right: 95% {PAIRED}, each by itself"
    else:
        axes[3].set_visible(False)
    for place, ax in enumerate(axes):
        ax.set_position((0.05 + 0.219 * place, 0.27, 0.204, 0.53) if place < 3 else (0.8, 0.27, 0.19, 0.53))
    handles, labels = axes[0].get_legend_handles_labels()
    below: dict[str, Any] = {"loc": "lower center", "fontsize": 8.5}
    figure.legend(handles, labels, ncols=len(labels), bbox_to_anchor=(0.37, 0.08), **below)
    handles, labels = axes[3].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=1, bbox_to_anchor=(0.87, 0.0), **below)
    ours = config == TwoPhaseConfig.of()
    title = "Two phases of text: help texts, then a mix with source code"
    add_heading(figure, title + ("" if ours else ", another setting"), _setting(config, table), foot)
    return figure


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Of the losses after the first epochs, so that those right after a rule do not press the others together."""
    later = rows[rows["characters"] > rows["characters"].max() / 20]["value"]
    return float(later.min()) - 0.05, float(later.quantile(0.97)) + 0.15


def _note_above(ax: Axes, rows: pd.DataFrame, top: float) -> None:
    """Say where a mean ends that lies above the axis."""
    last = rows[rows["characters"] == rows["characters"].max()].groupby("rule")["value"].mean()
    for place, (rule, mean) in enumerate(last[last > top].items()):
        look: dict[str, Any] = {"color": rule_style(str(rule)).color, "fontsize": 8.5, "ha": "right", "va": "top"}
        ax.annotate(f"ends at {mean:.2f}", (0.99, 0.93 - 0.07 * place), xycoords="axes fraction", **look)


def _differences(ax: Axes, rows: pd.DataFrame, rules: list[str]) -> None:
    """Last loss minus cold's, a mark per start; left is better."""
    last = rows[rows["characters"] == rows["characters"].max()]
    cold = last[last["start"] == "cold"]
    ax.axvline(0, color="#444444", linewidth=1.0)
    for place, (start, (color, marker)) in enumerate(LOOKS.items()):
        both = pd.concat([last[last["start"] == start], cold]).drop(columns=["start", "characters", "thousands"])
        found = paired_differences(both, "loss_mix", "cold").set_index("rule")
        for row, rule in enumerate(rules):
            y = row + 0.22 * (place - 1)
            low, mean, high = (float(found[part][rule]) for part in ("low", "mean", "high"))
            ax.hlines(y, low, high, color=color, linewidth=2)
            ax.plot([mean], [y], marker=marker, color=color, markersize=5)
        ax.plot([], [], marker=marker, color=color, label=WORDS[start].lower(), linestyle="none")
    ax.set_yticks(range(len(rules)), [rule_style(rule).label for rule in rules], fontsize=8.5)
    ax.set_ylim(len(rules) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set(xlabel="last loss minus cold's (nats)", title="What the first phase is worth")


def _setting(config: TwoPhaseConfig, table: pd.DataFrame) -> str:
    """Words for the setting."""
    data, how = config.data, config.training
    first = table[(table["metric"] == "first_epochs") & (table["start"] == "best")]["value"]
    best = f" (least loss after {first.min():.0f} to {first.max():.0f})" if len(first) else ""
    return (
        f"character transformer; {data.chunk_size * data.size:,} characters, {how.max_epochs} epochs{best}; then "
        f"twice as many, {config.second_epochs} epochs; {how.optimizer}, learning rate {how.learning_rate:g}; "
        f"weight decay before: {config.first_decay:g}"
    )


def facts(config: Any) -> dict[str, object]:
    """About the texts."""
    return text_facts()


SCRIPT = Script(
    name=NAME,
    summary="Two phases of text: what a first phase is worth in the second, by rule and by how long it was.",
    config=TwoPhaseConfig,
    num_seeds=5,
    quick={
        "chunk_size": 32,
        "num_test": 20,
        "max_epochs": 12,
        "second_epochs": 4,
        "at": (0, 1, 2, 4),
        "model_options": ("width=16",),
    },
    quick_seeds=2,
    plan=plan,
    draw=draw,
    facts_of=facts,
    out_of=lambda config: folder_of(config, TEXT),
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
