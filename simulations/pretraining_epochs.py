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
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.deep.presets import describe_setting, folder_of
from dashtheory.deep.run import data_facts
from dashtheory.deep.source import TEXT
from dashtheory.experiments.pretraining_epochs import PretrainingConfig, run_pretraining
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, rule_style, sort_rules

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
    first = sort_rules(list(config.rules))[0]
    for ax, metric, scale, rules, label, title in (
        (axes[0], "test_accuracy", 100, config.rules, "test accuracy (%)", "After training on everything"),
        (axes[1], "steps", 1, config.rules, "optimizer steps on everything", "Training time on everything"),
        (axes[2], "half_loss", 1, (first,), "training loss on the half (nats)", "What pretraining had reached"),
    ):
        for place, rule in enumerate(sort_rules(list(rules))):
            _draw_line(ax, table, metric, rule, scale, shift=1.5 * (place - (len(rules) - 1) / 2))
        ax.set_xscale("symlog", linthresh=2)
        ax.set_xticks(config.epochs, [str(count) for count in config.epochs])
        ax.minorticks_off()
        ax.set(xlabel="epochs of pretraining on half (0: none)", ylabel=label, title=title)
    axes[1].set_ylim(bottom=0)
    axes[0].legend(loc="best")
    if config.criterion == "loss":
        axes[2].axhline(config.threshold, color="#444444", linewidth=1, linestyle=":")
        axes[2].annotate(
            "training on everything stops here",
            (0.02, config.threshold),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8.5,
        )
    figure.subplots_adjust(left=0.055, right=0.988, top=0.79, bottom=0.185, wspace=0.27)
    claim = f"Pretraining hurts once it memorises: {config.data_name}"
    title = (
        claim
        if config == PretrainingConfig()
        else f"Pretraining on half, a setting of your own: {config.data_name}"
    )
    add_heading(figure, title, _setting(config), describe_band(table, "sd", bars=True))
    return figure


def _setting(config: PretrainingConfig) -> str:
    """Words for the setting: only the second training goes to the criterion."""
    words = describe_setting(config)
    return words.replace("every stage trains to", "pretraining: t epochs; then training on everything to")


def _draw_line(ax: Axes, table: pd.DataFrame, metric: str, rule: str, scale: float, *, shift: float) -> None:
    """Mean over seeds and sd bars against epochs; rules side by side by a few per cent of the axis."""
    rows = table[(table["metric"] == metric) & (table["rule"] == rule)]
    grouped = rows.groupby("epochs")["value"]
    mean, sd = scale * grouped.mean(), scale * grouped.std().fillna(0.0)
    look = rule_style("" if metric == "half_loss" else rule)  # no rule has acted yet
    at = mean.index.to_numpy(dtype=float)
    at = at + 0.02 * shift * np.maximum(at, 2)
    ax.vlines(at, mean - sd, mean + sd, color=look.color, linewidth=1.4)
    ax.plot(at, mean, color=look.color, linestyle=look.linestyle, marker=look.marker, label=look.label)


SCRIPT = Script(
    name=NAME,
    summary="Pretrain t epochs on half of the data, then train on all of it: final accuracy against t.",
    config=PretrainingConfig,
    num_seeds=3,
    quick={
        "chunk_size": 24,
        "test_size": 40,
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
