"""When does warm-starting begin to hurt? Pretrain t epochs on half of the data, then train on all of it (level 3).

Claim (Shin et al. 2024, and older): a little pretraining does no harm; harm comes with memorising. The figure
draws the test accuracy after training on everything against t, beside the training loss that pretraining had
reached by then.

    python simulations/pretraining_epochs.py [--quick] [--data cifar10|digits|text] [--epochs 0,5,20] ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.deep.config import TEXT
from dashtheory.deep.presets import describe_setting, folder_of
from dashtheory.deep.run import data_facts
from dashtheory.experiments.pretraining_epochs import PretrainingConfig, run_pretraining
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_means, rule_style, sort_rules

NAME = "pretraining_epochs"


def plan(config: PretrainingConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per seed."""
    return [
        Job(
            name=f"seed{seed}",
            function=run_pretraining,
            arguments={"config": config, "seed": seed, "experiment": NAME},
        )
        for seed in seeds
    ]


def draw(table: pd.DataFrame, config: PretrainingConfig) -> Figure:
    """Final accuracy and steps against epochs of pretraining, and how far pretraining had come."""
    figure, axes = plt.subplots(1, 3, figsize=(12.0, 4.4))
    looks = {rule: rule_style(rule) for rule in sort_rules(list(config.rules))}
    before = {next(iter(looks)): rule_style("")}  # no rule has acted yet
    for ax, metric, scale, shown, label, title in (
        (axes[0], "test_accuracy", 100, looks, "test accuracy (%)", "After training on everything"),
        (axes[1], "steps", 1, looks, "optimizer steps on everything", "Training time on everything"),
        (axes[2], "half_loss", 1, before, "training loss on the half (nats)", "What pretraining had reached"),
    ):
        ax.set_xscale("symlog", linthresh=2)
        draw_means(ax, table[table["metric"] == metric], "epochs", "rule", shown, scale=scale, dodge=0.16)
        ax.set_xticks(config.epochs, [str(count) for count in config.epochs])
        ax.minorticks_off()
        ax.set(xlabel="epochs of pretraining on half (0: none)", ylabel=label, title=title)
    axes[1].set_ylim(bottom=0)
    axes[0].legend(loc="best")
    if config.training.criterion == "loss":
        axes[2].axhline(config.training.threshold, color="#444444", linewidth=1, linestyle=":")
        axes[2].annotate(
            "training on everything stops here",
            (0.02, config.training.threshold),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8.5,
        )
    figure.subplots_adjust(left=0.055, right=0.988, top=0.79, bottom=0.185, wspace=0.27)
    claim = f"Pretraining hurts once it memorises: {config.data.title}"
    title = (
        claim if config == PretrainingConfig.of() else f"Pretraining on half, another setting: {config.data.title}"
    )
    add_heading(figure, title, _setting(config), describe_band(table, "sd", bars=True))
    return figure


def _setting(config: PretrainingConfig) -> str:
    """Words for the setting: only the second training goes to the criterion."""
    words = describe_setting(config)
    return words.replace("every stage trains to", "pretraining: t epochs; then training on everything to")


SCRIPT = Script(
    name=NAME,
    summary="Pretrain t epochs on half of the data, then train on all of it: final accuracy against t.",
    config=PretrainingConfig,
    num_seeds=3,
    quick={
        "chunk_size": 24,
        "num_test": 40,
        "epochs": (0, 2, 10),
        "model_options": ("width=16",),
        "threshold": 2.0,
    },
    quick_seeds=1,
    plan=plan,
    draw=draw,
    facts_of=data_facts,
    out_of=lambda config: folder_of(config, TEXT),
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
