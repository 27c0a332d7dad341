"""Shrinking as a step size: how large a step is for a direction, by rule and stage (level 3).

For a layer with a norm behind it, descent from s w with step size eta is descent from w with eta / s^2
(docs/theory.md), so a rule that shrinks such layers enlarges their effective step eta / |w|^2. Left: its geometric
mean over these layers at the start of each stage, after the rule. Middle: test accuracy. Right: whether the
effective step at the start of the last stage tells where a rule ends. `rewarm` takes the larger step and touches
no weight; `cold_shrunk` takes it from a fresh start. The figure makes no claim; it shows how far one number goes.

    python simulations/effective_step.py [--quick] [--rules cold,warm,sp,rewarm,...] ...
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.deep.presets import describe_setting, folder_of
from dashtheory.deep.run import data_facts, rule_jobs
from dashtheory.experiments.effective_step import (
    ACCURACY,
    STEP,
    EffectiveStepConfig,
    last_stage,
    rank_agreement,
)
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_stages, rule_style, sort_rules

NAME = "effective_step"


def plan(config: EffectiveStepConfig, seeds: Sequence[int], **limits: Any) -> list[Job]:
    """One job per seed and rule; the rules of a seed share data, first initialisation and order."""
    return rule_jobs(config, seeds, NAME, **limits)


def draw(table: pd.DataFrame, config: EffectiveStepConfig) -> Figure:
    """Effective steps and accuracy by stage, and one against the other at the last."""
    figure, axes = plt.subplots(1, 3, figsize=(12.4, 4.9))
    draw_stages(axes[0], table, STEP, dodge=0.06)
    axes[0].set(yscale="log", ylabel=r"step size / $|w|^2$, geometric mean over layers", title="Effective step")
    draw_stages(axes[1], table, ACCURACY, scale=100, dodge=0.06)
    axes[1].set(ylabel="test accuracy (%)", title="Generalisation")
    _draw_order(axes[2], table)
    inch = 1 / figure.get_figheight()
    figure.subplots_adjust(left=0.065, right=0.985, top=1 - 0.98 * inch, bottom=1.36 * inch, wspace=0.25)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=8.5, bbox_to_anchor=(0.5, 0.3 * inch))
    ours = config == EffectiveStepConfig.of(data=config.data.name, data_name=config.data.title)
    title = f"How large a step is for a direction: {config.data.title}"
    add_heading(
        figure,
        title + ("" if ours else ", another setting"),
        describe_setting(config),
        describe_band(table, "sd", bars=True) + "; right: small marks are seeds, large ones their means",
    )
    return figure


def _draw_order(ax: Axes, table: pd.DataFrame) -> None:
    """Accuracy against effective step: a mark per seed, and a large one at each rule's mean."""
    points = last_stage(table)
    for rule in sort_rules(points["rule"].tolist()):
        rows, look = points[points["rule"] == rule], rule_style(rule)
        marks = {"color": look.color, "marker": look.marker, "linestyle": "none"}
        ax.plot(rows[STEP], 100 * rows[ACCURACY], alpha=0.35, markersize=3.5, **marks)  # type: ignore[arg-type]
        centre = math.exp(rows[STEP].map(math.log).mean())
        ax.plot([centre], [100 * rows[ACCURACY].mean()], markersize=9, markeredgecolor="white", **marks)  # type: ignore[arg-type]
    found = rank_agreement(table)
    words = f"rank correlation over rules {found.mean:+.2f}".replace("-", "−")
    if len(found.by_seed) > 1:
        words += f"\n95% interval over seeds [{found.low:+.2f}, {found.high:+.2f}]".replace("-", "−")
    ax.text(0.03, 0.04, words, transform=ax.transAxes, ha="left", va="bottom", fontsize=8.5)
    last = int(table["stage"].max())
    ax.set(
        xscale="log",
        xlabel=f"effective step at the start of stage {last}",
        ylabel=f"test accuracy after stage {last} (%)",
        title="Does one number tell the order?",
    )


SCRIPT = Script(
    name=NAME,
    summary="Effective step sizes by rule and stage, and how far they alone tell the order of the rules.",
    config=EffectiveStepConfig,
    num_seeds=10,
    quick={"num_chunks": 2, "chunk_size": 60, "batch_size": 20, "num_test": 200, "max_epochs": 10},
    quick_seeds=2,
    plan=plan,
    staged=True,
    draw=draw,
    facts_of=data_facts,
    out_of=folder_of,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
