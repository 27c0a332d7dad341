"""A network first learns what samples share, then memorises each wrong label (level 3).

Claim: on pictures with some wrong labels, the right labels are learned first, and most samples with a wrong label
are given their TRUE class by then; their wrong labels are fitted last. On harder pictures (CIFAR-10) the phases
overlap. The mean cosine of the weights with the negative gradient, which is what DASH looks at, is drawn for both
kinds of labels.

    python simulations/learning_phases.py [--quick] [--data cifar10] [--label-noise 0.4] ...

Data as in `warm_start_images.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dashtheory.command.script import Script, main
from dashtheory.deep.presets import describe_setting, folder_of
from dashtheory.deep.run import data_facts
from dashtheory.experiments.learning_phases import PhasesConfig, run_phases
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band

NAME = "learning_phases"
_PANELS = (
    (
        "accuracy (%)",
        "What is learned when",
        100.0,
        (
            ("right_accuracy", "right labels", "#0072B2", "-", "o"),
            ("wrong_accuracy", "wrong labels", "#D55E00", (0, (5, 1.5)), "s"),
            ("true_class", "their true class", "#009E73", (0, (3, 1)), "v"),
            ("test_accuracy", "test set", "#000000", (0, (1.2, 1.6)), "D"),
        ),
    ),
    (
        "loss (nats)",
        "Loss on training samples",
        1.0,
        (
            ("right_loss", "right labels", "#0072B2", "-", "o"),
            ("wrong_loss", "wrong labels", "#D55E00", (0, (5, 1.5)), "s"),
        ),
    ),
    (
        "mean cosine of weights and descent",
        "Alignment of weights with descent",
        1.0,
        (
            ("alignment", "all labels", "#000000", (0, (1.2, 1.6)), "D"),
            ("right_alignment", "right labels", "#0072B2", "-", "o"),
            ("wrong_alignment", "wrong labels", "#D55E00", (0, (5, 1.5)), "s"),
        ),
    ),
)


def plan(config: PhasesConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per seed."""
    return [
        Job(
            name=f"seed{seed}", function=run_phases, arguments={"config": config, "seed": seed, "experiment": NAME}
        )
        for seed in seeds
    ]


def draw(table: pd.DataFrame, config: PhasesConfig) -> Figure:
    """Accuracies, losses and alignment by epoch, and the epoch at which the true class shows best."""
    curves_of = {
        metric: rows.pivot_table(index="epoch", columns="seed", values="value")
        for metric, rows in table.groupby("metric")
    }
    figure, axes = plt.subplots(1, 3, figsize=(12.0, 4.4))
    turn = int(curves_of["true_class"].mean(axis=1).to_numpy().argmax())
    for ax, (label, title, scale, curves) in zip(axes, _PANELS, strict=True):
        for metric, name, color, dashes, marker in curves:
            _draw_curve(ax, scale * curves_of[metric], name, color, dashes, marker)
        ax.axvline(turn, color="#888888", linewidth=1)
        ax.set(xlabel="epoch", ylabel=label, title=title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(loc="best", fontsize=8.5)
    axes[1].set_ylim(bottom=0)
    axes[2].axhline(0, color="#444444", linewidth=0.8)
    figure.subplots_adjust(left=0.055, right=0.988, top=0.79, bottom=0.185, wspace=0.25)
    first = (
        "First the features, then the noise" if config.data.name == "digits" else "Right and wrong labels by epoch"
    )
    claim = f"{first}: {config.data.title}"
    ours = config == PhasesConfig.of(data=config.data.name, data_name=config.data.title)
    title = claim if ours else f"Right and wrong labels by epoch, another setting: {config.data.title}"
    foot = (
        describe_band(table, "sd") + f"; grey line: epoch {turn}, where wrongly labelled samples get "
        "their true class most often; re-estimated batch norm"
    )
    add_heading(figure, title, describe_setting(config, stages=False), foot)
    return figure


def _draw_curve(ax: Axes, values: pd.DataFrame, name: str, color: str, dashes: object, marker: str) -> None:
    mean, sd = values.mean(axis=1), values.std(axis=1).fillna(0.0)
    ax.fill_between(values.index, mean - sd, mean + sd, color=color, alpha=0.16, linewidth=0)
    every = max(1, len(values) // 8)
    ax.plot(values.index, mean, color=color, linestyle=dashes, marker=marker, markevery=every, label=name)


SCRIPT = Script(
    name=NAME,
    summary="Accuracy on right and wrong labels, loss, and alignment of weights with descent, by epoch.",
    config=PhasesConfig,
    num_seeds=5,
    quick={"num_chunks": 1, "chunk_size": 200, "num_test": 200, "max_epochs": 15},
    quick_seeds=1,
    plan=plan,
    draw=draw,
    facts_of=data_facts,
    out_of=folder_of,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
