"""Phase diagrams of warm-starting: where it hurts, simulated and predicted (level 1).

Claim: whether warm-starting hurts can be predicted without any run. It hurts where one chunk
teaches few of the features that all chunks together teach: gamma large against the features' counts in one chunk,
many stages, features of middling frequency. It does no harm where one chunk teaches all that can be learned, or
where even all chunks teach too little. The limit of large chunks overstates the gap where warm creeps; the law for
finite chunks does not.

    python simulations/phase_diagram.py [--quick] [--maps gamma_tau,uniform] ...
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.experiments.phase_diagram import MAPS, PhaseConfig, run_map
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, draw_contours, draw_map, pivot_map, say_seeds
from dashtheory.record import PREDICTED, group_name

NAME = "phase_diagram"
LEVELS = (2, 10, 20)
"""Gaps in points of accuracy at which contours are drawn."""
WORDS = {
    "gamma_tau": ("Learner", "γ: count that teaches a feature", "τ: features that explain a sample"),
    "size_stages": ("Data", "N: samples per chunk", "J: chunks"),
    "uniform": ("Features uniform on [0, p_max]", "p_max", "γ"),
    "power_law": ("Power law, 4 features per sample", "a in p ∝ rank^−a", "γ"),
    "two_level": ("Ten features with p = 0.3, others rare", "p of the rare features", "γ"),
}
"""Title and axes of each map."""
MARKERS = dict(
    zip(
        MAPS,
        (("o", "#0072B2"), ("s", "#D55E00"), ("^", "#009E73"), ("D", "#CC79A7"), ("v", "#000000")),
        strict=True,
    )
)


def plan(config: PhaseConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per map: a batch of all its points and seeds."""
    return [
        Job(
            name=f"{which}-{group_name(seeds)}",
            function=run_map,
            arguments={
                "config": dataclasses.replace(config, maps=(which,)),
                "which": which,
                "seeds": list(seeds),
                "experiment": NAME,
            },
        )
        for which in config.maps
    ]


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Gap between cold and warm in points of accuracy: one row per point, seed and metric.

    Metrics: gap (simulated), limit (predicted for large chunks), law (warm by the law for finite chunks).
    """
    wide = table.pivot_table(index=["map", "x", "y", "seed"], columns=["metric", "rule"], values="value")
    cold = {kind: wide[kind + "test_accuracy", "cold"] for kind in ("", PREDICTED)}
    found = pd.DataFrame(
        {
            "gap": cold[""] - wide["test_accuracy", "warm"],
            "limit": cold[PREDICTED] - wide[PREDICTED + "test_accuracy", "warm"],
            "law": cold[PREDICTED] - wide["law_test_accuracy", "warm"],
        }
    )
    return (100 * found).reset_index().melt(["map", "x", "y", "seed"], var_name="metric")


def draw(table: pd.DataFrame, config: PhaseConfig) -> Figure:
    """Draw every map with its contours, and prediction against simulation for all of them."""
    found = gaps(table)
    figure, axes = plt.subplots(2, 3, figsize=(12.6, 8.2))
    for ax in axes.flat:
        ax.set_visible(False)
    for ax, which in zip(axes.flat, config.maps, strict=False):
        ax.set_visible(True)
        _draw_one(ax, found[found["map"] == which], which, float(found["value"].max()))
    axes[1, 2].set_visible(True)
    _draw_agreement(axes[1, 2], found)
    figure.subplots_adjust(left=0.05, right=0.985, top=0.865, bottom=0.105, wspace=0.25, hspace=0.34)
    add_heading(
        figure,
        "Where warm-starting hurts can be predicted"
        if config == PhaseConfig()
        else "Where warm-starting hurts, another setting",
        f"discrete world: test accuracy of cold minus warm after the last stage; where not varied C = "
        f"{config.num_classes}, K = {config.num_features}, N = {config.chunk_size}, J = {config.num_stages}, "
        f"γ = {config.gamma:g}, τ = {config.tau},\nfeature probabilities uniform on "
        f"[0, {config.max_probability:g}]; axes are not to scale",
        f"{say_seeds(table)}; lines: gaps of {', '.join(map(str, LEVELS))} points; white: simulated; dashed "
        "orange: predicted by the law for finite chunks, dotted red: predicted by the limit of large chunks",
    )
    return figure


def _draw_one(ax: Axes, found: pd.DataFrame, which: str, top: float) -> None:
    title, x, y = WORDS[which]
    simulated, limit, law = (pivot_map(found, metric, "x", "y") for metric in ("gap", "limit", "law"))
    draw_map(
        ax,
        simulated,
        label="cold − warm (points)",
        low=0,
        high=top,
        every=(2 if len(simulated.columns) > 8 else 1, 1),
    )
    draw_contours(ax, simulated, LEVELS, color="white", style="-")
    draw_contours(ax, law, LEVELS, color="#ff9c4a", style="--", labels=False)
    draw_contours(ax, limit, LEVELS, color="#e4352b", style=":", labels=False)
    ax.set(title=title, xlabel=x, ylabel=y)


def _draw_agreement(ax: Axes, found: pd.DataFrame) -> None:
    """Predicted against simulated gap, a point per cell of every map."""
    cells = found.pivot_table(index=["map", "x", "y"], columns="metric", values="value").reset_index()
    top = float(cells[["gap", "law"]].to_numpy().max()) + 2
    ax.plot([-2, top], [-2, top], color="#444444", linewidth=1)
    for which, rows in cells.groupby("map"):
        marker, color = MARKERS[str(which)]
        ax.plot(rows["law"], rows["gap"], marker, color=color, markersize=4, alpha=0.7, label=WORDS[str(which)][0])
    errors = {kind: float(np.abs(cells[kind] - cells["gap"]).mean()) for kind in ("law", "limit")}
    ax.text(
        0.97,
        0.04,
        f"mean absolute error\nlaw {errors['law']:.1f}, limit {errors['limit']:.1f} points",
        transform=ax.transAxes,
        ha="right",
        fontsize=9,
    )
    ax.set(
        xlabel="gap predicted for finite chunks (points)",
        ylabel="simulated gap (points)",
        title="All cells of all maps",
    )
    ax.legend(loc="upper left", fontsize=7.5, handletextpad=0.2, borderaxespad=0.2)


SCRIPT = Script(
    name=NAME,
    summary="Cold minus warm over gamma, tau, N, J and shapes of the feature distribution, and its prediction.",
    config=PhaseConfig,
    num_seeds=5,
    quick={
        "num_stages": 10,
        "gammas": (10, 30, 50, 100, 200),
        "taus": (1, 3, 6),
        "sizes": (200, 600, 1000, 2000),
        "stages": (2, 5, 10),
        "tops": (0.05, 0.1, 0.2, 0.4),
        "exponents": (0.0, 0.5, 1.0),
        "lows": (0.01, 0.03, 0.1),
    },
    quick_seeds=2,
    plan=plan,
    grouped=True,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
