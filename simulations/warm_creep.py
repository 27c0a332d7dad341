"""A warm learner creeps: what it still learns from a thousand finite chunks, and the law of it (level 1).

Claim: with every count at its expectation a warm learner stops dead after stage 1. In finite chunks counts
fluctuate, so it goes on learning, ever more rarely: somewhat slower than the logarithm of the number of stages. A
Markov chain over learned sets gives that exactly, a mean-field law without any sampling nearly so. Warm stays far
below cold.

    python simulations/warm_creep.py [--quick] [--num-stages 1000] ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.experiments.warm_creep import CreepConfig, run_creep
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_stages, rule_style
from dashtheory.record import summarize

NAME = "warm_creep"
LOOKS = {
    "chain": ("exact chain, by counts", "-", "#000000"),
    "law": ("mean-field law, no sampling", (0, (4, 2)), "#CC79A7"),
    "limit": ("limit of large chunks", (0, (1.2, 1.8)), "#444444"),
}
"""Words, dashes and colour of each theory."""


def plan(config: CreepConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per seed."""
    return [
        Job(
            name=f"seed{seed}",
            function=run_creep,
            arguments={"config": config, "seed": seed, "experiment": NAME},
        )
        for seed in seeds
    ]


def draw(table: pd.DataFrame, config: CreepConfig) -> Figure:
    """Draw learned features, accuracy, and how often something is learned."""
    figure, axes = plt.subplots(1, 3, figsize=(11.4, 4.6))
    total = config.num_classes * config.num_features
    for ax, metric, scale, label, title in (
        (axes[0], "learned_features", 1.0, f"learned features (of {total})", "Features"),
        (axes[1], "test_accuracy", 100.0, "test accuracy (%)", "Generalisation"),
    ):
        draw_stages(ax, table[table["metric"] == metric], metric, scale=scale, line=False)
        for theory in LOOKS:
            _draw_theory(ax, table, theory, metric, scale)
        ax.set(ylabel=label, title=title)
    warm = table[table["rule"] == "warm"]
    rate = summarize(warm, "learning_rate", "range")
    axes[2].plot(rate["stage"], rate["mean"].where(rate["mean"] > 0), "s", color=rule_style("warm").color)
    expected = summarize(warm, "expected_learning_rate", "range")
    axes[2].plot(expected["stage"], expected["mean"], color="#000000", label="exact chance, given what it knows")
    axes[2].legend(loc="lower left", fontsize=8.5)
    axes[2].set(ylabel="share of stages that learn (log)", yscale="log")
    axes[2].set_title("How often a chunk teaches warm")
    axes[2].set_xlabel(axes[0].get_xlabel())
    for ax in axes:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:,.0f}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.055, 0.865), ncols=5, fontsize=9)
    figure.subplots_adjust(left=0.055, right=0.988, top=0.75, bottom=0.17, wspace=0.27)
    claim = "A warm learner creeps on finite chunks, ever more slowly, and stays far below cold"
    add_heading(
        figure,
        claim if config == CreepConfig() else "A warm learner on finite chunks, another setting",
        f"discrete world: C = {config.num_classes}, K = {config.num_features}, N = {config.chunk_size}, "
        f"γ = {config.gamma:g}, τ = {config.tau}, feature probabilities uniform on "
        f"[0, {config.max_probability:g}]",
        describe_band(table, "sd", line=False)
        + " (right: none, zeros not shown); lines: mean over the same seeds, of the chain over "
        + f"{config.num_chains} draws each",
    )
    return figure


def _draw_theory(ax: Axes, table: pd.DataFrame, theory: str, metric: str, scale: float) -> None:
    """Mean over seeds of a predicted metric, for every rule that has it."""
    words, dashes, color = LOOKS[theory]
    rows = table[table["metric"] == f"{theory}_{metric}"]
    for rule in rows["rule"].unique():
        mean = summarize(rows[rows["rule"] == rule], f"{theory}_{metric}", "range")
        shade = rule_style("cold").color if rule == "cold" else color
        label = words if rule == "warm" else None
        ax.plot(mean["stage"], scale * mean["mean"], linestyle=dashes, color=shade, label=label, zorder=3)


SCRIPT = Script(
    name=NAME,
    summary="A warm learner over many finite chunks: simulation, exact chain, mean-field law, limit.",
    config=CreepConfig,
    num_seeds=10,
    quick={"num_stages": 60, "num_chains": 10, "num_points": 12},
    quick_seeds=3,
    plan=plan,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
