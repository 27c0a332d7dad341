"""Warm-starting in the discrete world: accuracy, learned features and training time by stage (level 1).

Claim: a learner that keeps its memory (warm) stops learning features early, because memorised samples no longer
teach it; forgetting the memory but not the features (ideal) ends where training from scratch (cold) ends, with far
fewer samples left to train on. The closed form (no sampling, every count at its expectation) lies over the
simulation; warm rises a little above it, because counts in finite chunks fluctuate. Setting: Section 3 of Shin et
al., NeurIPS 2024.

    python simulations/discrete_learning.py [--quick] [--gamma 50] ...
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.experiments.discrete_learning import DiscreteConfig, run_with_prediction
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_prediction, draw_stages
from dashtheory.record import PREDICTED, run_name

NAME = "discrete_learning"


def plan(config: DiscreteConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per seed and rule; the rules of a seed share its data."""
    return [
        Job(
            name=run_name(rule, seed),
            function=run_with_prediction,
            arguments={"config": dataclasses.replace(config, rules=(rule,)), "seed": seed, "experiment": NAME},
        )
        for seed in seeds
        for rule in config.rules
    ]


def draw(table: pd.DataFrame, config: DiscreteConfig) -> Figure:
    """Draw the three panels."""
    figure, axes = plt.subplots(1, 3, figsize=(11.4, 4.3))
    panels = (
        ("test_accuracy", 100.0, "test accuracy (%)", "Generalisation"),
        ("learned_features", 1.0, f"learned features (of {config.num_classes * config.num_features})", "Features"),
        (
            "active_samples",
            1.0,
            "non-zero-gradient samples\nat the start of the stage (log scale)",
            "Training time",
        ),
    )
    for ax, (metric, scale, label, title) in zip(axes, panels, strict=True):
        draw_stages(ax, table, metric, scale=scale, line=False)
        draw_prediction(ax, table, PREDICTED + metric, scale=scale)
        ax.set(ylabel=label, title=title)
    axes[2].set_yscale("log")
    axes[1].plot(
        [], [], color="#444444", linestyle=(0, (3, 3)), label="closed form, no sampling\n(cold and ideal coincide)"
    )
    axes[1].legend(loc="center right", bbox_to_anchor=(1.0, 0.48))
    setting = (
        f"discrete world: C = {config.num_classes} classes, K = {config.num_features} features per class, "
        f"N = {config.chunk_size} samples per chunk, γ = {config.gamma:g}, τ = {config.tau}, "
        f"feature probabilities uniform on [0, {config.max_probability:g}]"
    )
    figure.subplots_adjust(left=0.062, right=0.988, top=0.79, bottom=0.185, wspace=0.29)
    claim = "A warm-started learner keeps its noise and stops learning features"
    add_heading(
        figure,
        claim if config == DiscreteConfig() else "Features and noise as sets, another setting",
        setting,
        describe_band(table, "sd", line=False) + "; dashed: mean over the same seeds of the closed form",
    )
    return figure


SCRIPT = Script(
    name=NAME,
    summary="Discrete learning: test accuracy, learned features and training time by stage, for each rule.",
    config=DiscreteConfig,
    num_seeds=10,
    quick={"num_stages": 20, "num_test": 2_000},
    quick_seeds=3,
    plan=plan,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
