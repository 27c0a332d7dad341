"""Warm-starting on real pictures, rule by rule and stage by stage (level 3).

Does a network trained on growing data from one distribution end below one trained from scratch, and does shrinking
its weights between stages (S&P, DASH, or one factor for all: `uniform`) repair it? It depends on the data: the
figure says what they are, and draws differences paired by seed.

    python simulations/warm_start_images.py [--quick] [--data cifar10] [--rules cold,warm,sp,dash] ...

Data: CIFAR-10 at 8 x 8 pixels where the environment variable DASHTHEORY_CIFAR10 points to the pictures (the
results then go to figures/cifar10), else scikit-learn's digits with wrong labels, which come with the package.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.deep.presets import describe_setting, folder_of
from dashtheory.deep.run import data_facts, rule_jobs
from dashtheory.experiments.warm_start_images import ImagesConfig
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_differences, draw_stages, sort_rules
from dashtheory.record import PAIRED, paired_differences

NAME = "warm_start_images"


def plan(config: ImagesConfig, seeds: Sequence[int], **limits: Any) -> list[Job]:
    """One job per seed and rule; the rules of a seed share data, first initialisation and order."""
    return rule_jobs(config, seeds, NAME, **limits)


def draw(table: pd.DataFrame, config: ImagesConfig) -> Figure:
    """Accuracy and steps by stage, and paired differences at the last stage."""
    figure, axes = plt.subplots(1, 3, figsize=(12.4, 4.4))
    for ax, (metric, scale, label, title) in zip(
        axes[:2],
        (
            ("test_accuracy", 100.0, "test accuracy (%)", "Generalisation"),
            ("steps", 1.0, "optimizer steps of the stage", "Training time"),
        ),
        strict=True,
    ):
        draw_stages(ax, table, metric, scale=scale, dodge=0.07)
        ax.set(ylabel=label, title=title)
    axes[1].set_ylim(bottom=0)
    axes[1].legend(loc="upper left", fontsize=8.5)  # accuracies fill their own panel
    foot = describe_band(table, "sd", bars=True)
    rules = sort_rules(list(config.rules))
    if "cold" in rules and len(rules) > 1:
        draw_differences(axes[2], paired_differences(table, "test_accuracy", "cold"), rules, scale=100)
        axes[2].set(xlabel="accuracy minus cold's (points)", title="Last stage, paired by seed")
        if table["seed"].nunique() > 1:
            foot += f"; right: dots are seeds, lines the 95% {PAIRED}"
    else:
        axes[2].set_visible(False)
    for ax, (left, width) in zip(axes, ((0.055, 0.28), (0.392, 0.275), (0.825, 0.155)), strict=True):
        ax.set_position((left, 0.185, width, 0.605))
    ours = config == ImagesConfig.of(data=config.data.name, data_name=config.data.title)
    title = f"Warm-starting on {config.data.title}" + ("" if ours else ", another setting")
    add_heading(figure, title, describe_setting(config), foot + capped(table))
    return figure


def capped(table: pd.DataFrame) -> str:
    """Words for stages that did not reach their criterion, if there are any."""
    stages = table[table["metric"] == "converged"]["value"]
    count = int((stages == 0).sum())
    return f"; {count} of {len(stages)} stages ended at the epoch cap" if count else ""


SCRIPT = Script(
    name=NAME,
    summary="Warm-starting on real pictures: accuracy and steps by stage, and paired differences to cold.",
    config=ImagesConfig,
    num_seeds=5,
    quick={"num_chunks": 2, "chunk_size": 120, "num_test": 200, "max_epochs": 20},
    quick_seeds=2,
    plan=plan,
    staged=True,
    draw=draw,
    facts_of=data_facts,
    out_of=folder_of,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
