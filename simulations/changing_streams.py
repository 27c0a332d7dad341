"""Streams that change: does a network that goes on learn a new task as well as one that begins anew?

Beside every task of a stream a fresh network gets the same data and the same budget. Top: score of the network
that went on minus that of its fresh twin, task by task; zero is a network that lost nothing and gained nothing.
Below: dormant hidden units, and the effective rank of the last hidden layer; dots are the fresh twin of warm.
Rules act between tasks, on the data of the task just finished; every strength is as published or as written, none
is tuned. The tasks of regression share almost all that they ask for, so that a difference there is transfer and
plasticity together. The figure makes no claim; docs/beyond.md says what is seen.

    python simulations/changing_streams.py [--quick] [--streams label_permuted:blend=0.5] [--rules warm,dash,...]
    ...
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
from dashtheory.deep.data import digits
from dashtheory.experiments.changing_streams import ChangingStreamsConfig, stream_jobs
from dashtheory.measure import continued_minus_fresh
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, draw_stages, rule_style, say_seeds, sort_rules
from dashtheory.record import PAIRED

NAME = "changing_streams"
WORDS = {
    "input_permuted": "inputs permuted",
    "label_permuted": "labels permuted",
    "random_labels": "random labels, redrawn",
    "class_incremental": "classes arrive",
    "two_class": "two classes at a time",
    "regression": "regression, a bit flips",
}
TWIN = "#666666"
LEGEND = 4
"""Columns of the legend."""


def plan(config: ChangingStreamsConfig, seeds: Sequence[int]) -> list[Job]:
    """A job per stream and group of seeds."""
    return stream_jobs(config, list(seeds), NAME)


def draw(table: pd.DataFrame, config: ChangingStreamsConfig) -> Figure:
    """Continued minus fresh by task, dormant units and effective rank, a column per stream."""
    measured = config.probe > 0
    streams = {config.name_of(text): text for text in config.streams}
    streams = {name: text for name, text in streams.items() if name in set(table["stream"])}
    lines = 0.19 * max(0, -(-(table["rule"].nunique() + measured) // LEGEND) - 3)  # inches beyond three lines
    size = (max(4.2 * len(streams), 8.4), (10.4 if measured else 4.6) + lines)
    figure, axes = plt.subplots(3 if measured else 1, len(streams), figsize=size, squeeze=False)
    for column, (name, text) in enumerate(streams.items()):
        rows = table[table["stream"] == name].drop(columns="stream")
        _draw_gap(axes[0, column], rows)
        axes[0, column].set(title=WORDS[text.partition(":")[0]])
        if measured:
            _draw_measure(axes[1, column], rows, "dormant_share", "dormant hidden units (%)", scale=100)
            _draw_measure(axes[2, column], rows, "effective_rank", "effective rank, last hidden layer", scale=1)
        axes[-1, column].set(xlabel="task")
    inch, left = 1 / figure.get_figheight(), 0.68 / figure.get_figwidth()
    figure.subplots_adjust(
        left=left, right=0.985, top=1 - inch, bottom=(1.45 + lines) * inch, wspace=0.24, hspace=0.17
    )
    handles, labels = axes[-1, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="lower center", ncols=LEGEND, fontsize=8.5, bbox_to_anchor=(0.5, 0.42 * inch)
    )
    title = "Does a network that goes on learn as well as a fresh one?"
    title += "" if config == ChangingStreamsConfig() else " (another setting)"
    add_heading(figure, title, _setting(config), _foot(table, measured=measured))
    return figure


def _draw_gap(ax: Axes, rows: pd.DataFrame) -> None:
    """Continued minus fresh with its interval; up is good."""
    errors = "online_error" in set(rows["metric"])
    metric, better, scale = ("online_error", "lower", 1) if errors else ("online_accuracy", "higher", 100)
    found = continued_minus_fresh(rows, metric=metric, better=better)
    ax.axhline(0, color=TWIN, linewidth=1.0)
    for rule in sort_rules(found["rule"].tolist()):
        one, look = found[found["rule"] == rule], rule_style(rule)
        low, high = scale * one["low"], scale * one["high"]
        ax.fill_between(one["stage"], low, high, color=look.color, alpha=0.11, linewidth=0)
        every = max(1, len(one) // 8)
        style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker, "markevery": every}
        ax.plot(one["stage"], scale * one["mean"], linewidth=1.4, label=look.label, **style)
    ax.set_ylabel("squared error, fresh minus continued" if errors else "continued minus fresh (points)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _draw_measure(ax: Axes, rows: pd.DataFrame, metric: str, label: str, *, scale: float) -> None:
    """A measure at the end of every task, and that of a fresh network."""
    draw_stages(ax, rows, metric, scale=scale)
    rules = set(rows["rule"])
    twin = rows[
        (rows["metric"] == f"fresh_{metric}") & (rows["rule"] == ("warm" if "warm" in rules else min(rules)))
    ]
    by_task = scale * twin.groupby("stage")["value"].mean()
    ax.plot(by_task.index, by_task, color=TWIN, linestyle=":", linewidth=1.6, label="fresh twin")
    ax.set(xlabel="", ylabel=label)


def _setting(config: ChangingStreamsConfig) -> str:
    widths = "-".join(map(str, config.widths))
    streams = "; ".join(_in_words(config, text) for text in config.streams)
    steps = f"{config.optimizer}, learning rate {config.learning_rate:g}, batch {config.batch_size}"
    return f"ReLU MLP {widths}, {steps}, optimizer {config.task_optimizer} between tasks\n{streams}"


def _in_words(config: ChangingStreamsConfig, text: str) -> str:
    stream, training = config.stream(text)
    size = f"{stream.task_size:,}" if stream.task_size else "all examples"
    words = f"{WORDS[stream.kind]}: {stream.num_tasks} tasks of {size}"
    words += f", {training.epochs} epochs" if training.epochs > 1 else ""
    if training.widths != config.widths:
        words += f", {'-'.join(map(str, training.widths))} units"
    if training.batch_size != config.batch_size:
        words += f", batch {training.batch_size}"
    if training.learning_rate != config.learning_rate:
        words += f", rate {training.learning_rate:g}"
    return words


def _foot(table: pd.DataFrame, *, measured: bool) -> str:
    if table["seed"].nunique() == 1:
        return "one seed, no band; scores are online: predict, then update"
    below = "; bands below: ± 1 standard deviation" if measured else ""
    return (
        f"lines: {say_seeds(table)}, the same for all rules; scores are online: predict, then update{below}\n"
        f"bands at the top: 95% {PAIRED}, each task by itself"
    )


def facts() -> dict[str, object]:
    """What is recorded about the data."""
    return dict(digits().facts)


SCRIPT = Script(
    name=NAME,
    summary="Plasticity by task: rules on streams that change, each beside a fresh twin.",
    config=ChangingStreamsConfig,
    num_seeds=10,
    quick={
        "streams": ("input_permuted:num_tasks=6", "random_labels:num_tasks=4:task_size=100:epochs=5"),
        "rules": ("warm", "sp_init", "dash"),
    },
    quick_seeds=2,
    plan=plan,
    draw=draw,
    facts=facts,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
