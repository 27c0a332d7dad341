"""Does it matter which weights DASH shrinks? DASH beside controls without its directions, by setting (level 3).

The controls take the direction away and keep of the amount of shrinking what the name says: `norm_matched` gives
each tensor the norm that DASH would leave, `permuted` puts DASH's factors at random groups of their layer,
`uniform` takes DASH's mean factor for all weights (which leaves another norm).
Each row of the figure changes one thing of the setting: DASH's lam, width, depth, step size, or what
--settings names.

    python simulations/direction.py [--quick] [--data cifar10] [--settings base,lam=0.05,width=32] ...

Data as in `warm_start_images.py`; the network is one of convolutions, whose kernels DASH shrinks one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.deep.presets import describe_setting, folder_of
from dashtheory.deep.run import data_facts
from dashtheory.experiments.direction import BASE, DirectionConfig, setting_jobs
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, rule_style
from dashtheory.record import PAIRED, paired_differences

NAME = "direction"


def plan(config: DirectionConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per setting, rule and seed."""
    return setting_jobs(config, list(seeds), NAME)


def draw(table: pd.DataFrame, config: DirectionConfig) -> Figure:
    """DASH minus each other rule, a row per setting."""
    others = [rule for rule in config.rules if rule != "dash"]
    shown = [setting for setting in config.settings if setting in set(table["setting"])]
    height = 2.0 + 0.42 * len(shown)
    figure, axes = plt.subplots(1, len(others), figsize=(12.4, height), sharey=True, squeeze=False)
    for ax, other in zip(axes[0], others, strict=True):
        differences = paired_differences(table, "test_accuracy", other)
        _draw_column(ax, differences[differences["rule"] == "dash"].set_index("setting"), shown)
        label = rule_style(other).label
        ax.set(xlabel="points of test accuracy", title=f"DASH minus {label}")
    axes[0][0].set_yticks(range(len(shown)), [_words(text) for text in shown])
    axes[0][0].set_ylim(len(shown) - 0.4, -0.6)
    inch = 1 / height
    figure.subplots_adjust(left=0.13, right=0.985, top=1 - 1.0 * inch, bottom=0.8 * inch, wspace=0.1)
    seeds = table["seed"].nunique()
    foot = f"last stage; dots: {seeds} seeds, the same for all rules" + (
        f"; lines: 95% {PAIRED}, each by itself" if seeds > 1 else ""
    )
    title = f"Which weights DASH shrinks, or only how much? {config.data.title}"
    ours = config == DirectionConfig.of(data=config.data.name, data_name=config.data.title)
    title += "" if ours else ", another setting"
    add_heading(figure, title, f"first row: {describe_setting(config)}", foot)
    return figure


def _words(setting: str) -> str:
    """A setting for the axis: learning_rate=0.001 is learning rate 0.001."""
    return "as it is" if setting == BASE else setting.replace("_", " ").replace("=", " ")


def _draw_column(ax: Axes, differences: pd.DataFrame, settings: Sequence[str]) -> None:
    """Mean, interval and seeds of each setting."""
    ax.axvline(0, color="#444444", linewidth=1.0)
    color = rule_style("dash").color
    for row, setting in enumerate(settings):
        one = differences.loc[setting]
        seeds = [100 * value for value in one["differences"]]
        ax.plot(seeds, [row + 0.24] * len(seeds), ".", color=color, markersize=5, alpha=0.6, markeredgewidth=0)
        ax.hlines(row, 100 * one["low"], 100 * one["high"], color=color, linewidth=2.2)
        ax.plot([100 * one["mean"]], [row], marker="v", color=color, markersize=6.5)
    ax.tick_params(axis="y", length=0)


SCRIPT = Script(
    name=NAME,
    summary="DASH beside controls without its directions: does direction matter, and in which setting?",
    config=DirectionConfig,
    num_seeds=5,
    quick={"num_chunks": 2, "chunk_size": 120, "num_test": 200, "max_epochs": 20, "settings": (BASE, "lam=0.05")},
    quick_seeds=2,
    plan=plan,
    draw=draw,
    facts_of=data_facts,
    out_of=folder_of,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
