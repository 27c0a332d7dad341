"""Between warm, ideal and cold: what forgetting noise and forgetting features do (level 1).

Claim: how well the learner generalises depends on how much noise is forgotten between stages, and hardly on how
many features are; how long it trains depends on the features. Shrinking all weights alike forgets both (the
diagonal): it buys its accuracy with retraining. Direction-aware shrinking means to forget noise faster than
features, and gets the same accuracy for less training. Warm, ideal and cold are corners of the map. The population
limit lies over the simulation. Setting: Section 3 of Shin et al., NeurIPS 2024; the rule:
`dashtheory.discrete.Forgetting`.

    python simulations/forgetting_map.py [--quick] [--phis 0,0.1,1] ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.experiments.forgetting_map import ForgettingMapConfig, run_forgetting_map
from dashtheory.parallel import Job
from dashtheory.plot import (
    RuleStyle,
    add_heading,
    draw_contours,
    draw_map,
    draw_means,
    pivot_map,
    plain_log_ticks,
    rule_style,
    say_seeds,
)
from dashtheory.record import PREDICTED

NAME = "forgetting_map"
PATHS = {
    "only noise (oracle)": (0.0, "#000000", "D"),
    "noise 10 times as often": (0.1, "#009E73", "v"),
    "uniform: noise and features alike": (1.0, "#CC79A7", "^"),
}
"""Features forgotten per noise forgotten, colour and marker of each path through the map."""


def plan(config: ForgettingMapConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per seed; all rules of a seed share its data."""
    return [
        Job(
            name=f"seed{seed}",
            function=run_forgetting_map,
            arguments={"config": config, "seed": seed, "experiment": NAME},
        )
        for seed in seeds
    ]


def draw(table: pd.DataFrame, config: ForgettingMapConfig) -> Figure:
    """Draw both maps, accuracy along the edges, and accuracy against training time."""
    figure, axes = plt.subplots(2, 2, figsize=(11.4, 8.6))
    _draw_accuracy_map(axes[0, 0], table)
    _draw_time_map(axes[0, 1], table)
    _draw_edges(axes[1, 0], table)
    _draw_trade(axes[1, 1], table)
    figure.subplots_adjust(left=0.06, right=0.95, top=0.87, bottom=0.115, wspace=0.22, hspace=0.33)
    claim = "Forgetting noise restores accuracy; forgetting features too only costs training time"
    add_heading(
        figure,
        claim if config == ForgettingMapConfig() else "Forgetting noise and features, another setting",
        f"discrete world: C = {config.num_classes}, K = {config.num_features}, N = {config.chunk_size}, "
        f"J = {config.num_stages}, γ = {config.gamma:g}, τ = {config.tau}; before every stage each "
        "memorised sample is forgotten with chance φ_noise,\neach learned feature with chance φ_feature; "
        "axes are not to scale",
        f"{say_seeds(table)}; bars: ± 1 standard deviation over seeds; active: with a non-zero gradient; dashed: "
        "closed form for large chunks, no sampling",
    )
    return figure


def _label_map(ax: Axes, num_ticks: int, *, regions: bool) -> None:
    """Axes, corners and the diagonal of a map; words for its regions."""
    low, high = 0.5, num_ticks - 0.5  # centres of the first and the last cell
    ax.plot([low, high], [low, high], color="white", linewidth=1.2, linestyle=":")
    ax.set(xlabel="φ_noise: chance to forget a memorised sample", ylabel="φ_feature: chance to forget a feature")
    box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "alpha": 0.85, "edgecolor": "none"}
    for text, x, y, across, up in (
        ("warm", low, low, "left", "center"),
        ("ideal", high, low, "right", "center"),
        ("cold", high, high, "right", "center"),
    ):
        ax.text(x, y, text, ha=across, va=up, fontsize=9, fontweight="bold", bbox=box)
    if not regions:
        return
    words: dict[str, Any] = {"ha": "center", "fontsize": 8.5, "bbox": box, "transform": ax.transAxes}
    ax.text(0.35, 0.47, "uniform shrinking:\nthe diagonal", **words)
    ax.text(0.7, 0.28, "direction-aware:\nnoise goes first", **words)


def _draw_accuracy_map(ax: Axes, points: pd.DataFrame) -> None:
    grid = pivot_map(points, "test_accuracy", "phi_noise", "phi_feature", scale=100)
    draw_map(ax, grid, label="test accuracy after the last stage (%)")
    _label_map(ax, len(grid), regions=True)
    ax.set_title("Accuracy: a matter of noise")


def _draw_time_map(ax: Axes, points: pd.DataFrame) -> None:
    grid = pivot_map(points, "mean_active_samples", "phi_noise", "phi_feature")
    predicted = pivot_map(points, PREDICTED + "mean_active_samples", "phi_noise", "phi_feature")
    draw_map(ax, grid, label="active samples at the start, mean over stages", log=True)
    levels = [1000, 2000, 5000, 10_000, 20_000]
    draw_contours(ax, grid, levels, color="white")
    draw_contours(ax, predicted, levels, color="#ff9c75", style="--", labels=False)
    ax.set_title("Training time: mostly of features (dashed: closed form)")
    _label_map(ax, len(grid), regions=False)


def _bars(points: pd.DataFrame, metric: str, by: str) -> tuple[pd.Series, pd.Series]:
    """Mean and sample standard deviation over seeds."""
    groups = points[points["metric"] == metric].groupby(by)["value"]
    return groups.mean(), groups.std(ddof=1).fillna(0.0)


def _draw_edges(ax: Axes, points: pd.DataFrame) -> None:
    """Accuracy against phi_noise for the smallest, a middle and the largest phi_feature."""
    phis = sorted(points["phi_noise"].unique())
    chosen = sorted({phis[0], phis[len(phis) // 2], phis[-1]})
    looks = {
        phi: RuleStyle(f"φ_feature = {phi:g}", color, "none", marker)
        for phi, (_, color, marker) in zip(chosen, PATHS.values(), strict=False)
    }
    rows = points[points["metric"] == "test_accuracy"]
    draw_means(ax, rows, "phi_noise", "phi_feature", looks, scale=100, line=False, dodge=0.28, evenly=True)
    limit, _ = _bars(points, PREDICTED + "test_accuracy", "phi_noise")
    ax.plot(
        range(len(limit)), 100 * limit, color="#444444", linestyle=(0, (3, 3)), label="closed form, any φ_feature"
    )
    ax.set(xlabel="φ_noise", ylabel="test accuracy after the last stage (%)", title="What noise forgotten buys")
    ax.legend(loc="lower right")


def _draw_trade(ax: Axes, points: pd.DataFrame) -> None:
    """Accuracy against training time along three paths through the map."""
    for label, (ratio, color, marker) in PATHS.items():
        path = points[np.isclose(points["phi_feature"], ratio * points["phi_noise"])]
        accuracy, spread = _bars(path, "mean_test_accuracy", "phi_noise")
        time, _ = _bars(path, "mean_active_samples", "phi_noise")
        ax.errorbar(time, 100 * accuracy, 100 * spread, fmt=marker + "-", color=color, label=label, linewidth=1.3)
    for rule, corner in (("warm", (0.0, 0.0)), ("ideal", (1.0, 0.0)), ("cold", (1.0, 1.0))):
        here = points[(points["phi_noise"] == corner[0]) & (points["phi_feature"] == corner[1])]
        if not here.empty:
            x, y = (
                _bars(here, metric, "rule")[0].iloc[0] for metric in ("mean_active_samples", "mean_test_accuracy")
            )
            look = rule_style(rule)
            ax.annotate(
                rule,
                (x, 100 * y),
                (4, -16),
                textcoords="offset points",
                color=look.color,
                fontweight="bold",
            )
    ax.set_xscale("log")
    plain_log_ticks(ax.xaxis)
    ax.set(
        xlabel="active samples at the start, mean over stages (log scale)",
        ylabel="test accuracy, mean over stages (%)",
        title="What accuracy costs, by what is forgotten with the noise",
    )
    ax.legend(loc="lower right")


SCRIPT = Script(
    name=NAME,
    summary="Forgetting noise and features between stages: accuracy and training time over the unit square.",
    config=ForgettingMapConfig,
    num_seeds=10,
    quick={"num_stages": 12, "phis": (0.0, 0.1, 0.5, 1.0)},
    quick_seeds=3,
    plan=plan,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
