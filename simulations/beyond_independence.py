"""Beyond independent features: which of the paper's conclusions survive more structure (level 1).

Claim: with correlated features, features shared between classes, classes of unequal size and label noise, a warm
learner still stops early and generalises worse than cold, and ideal still learns what cold learns from fewer
active samples. The gap grows with label noise, shrinks as features are shared or correlated, and with unequal
classes the mean hides it: warm may never learn the smaller class at all, which cold does. The closed form (dashed)
covers all four worlds, because each class is a mixture of components with independent features.

    python simulations/beyond_independence.py [--quick] [--kinds label_noise] ...
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.experiments.beyond_independence import BeyondConfig, run_kind
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, draw_means, plain_log_ticks, rule_style, say_seeds, sort_rules
from dashtheory.record import PREDICTED, group_name

NAME = "beyond_independence"
WORDS = {
    "correlated": ("Correlated features", "strength of the correlation"),
    "shared": ("Shared features", "features of a class that all share"),
    "unbalanced": ("Unbalanced classes", "share of the larger class"),
    "label_noise": ("Label noise", "share without a feature of their label"),
}
"""Title and x axis of each world."""


def plan(config: BeyondConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per kind of world."""
    return [
        Job(
            name=f"{kind}-{group_name(seeds)}",
            function=run_kind,
            arguments={
                "config": dataclasses.replace(config, kinds=(kind,)),
                "kind": kind,
                "seeds": list(seeds),
                "experiment": NAME,
            },
        )
        for kind in config.kinds
    ]


def draw(table: pd.DataFrame, config: BeyondConfig) -> Figure:
    """Draw accuracy and training time against the departure from the paper's world."""
    figure, axes = plt.subplots(  # seaborn's FacetGrid splits rows alone; here predictions share the panels
        2, len(config.kinds), figsize=(12.4, 6.8), sharex="col", sharey="row", squeeze=False
    )
    for column, kind in enumerate(config.kinds):
        rows = table[table["kind"] == kind]
        title, x = WORDS[kind]
        top, bottom = axes[:, column]
        _draw_rules(top, rows, "test_accuracy", 100.0, dodge=0.2)  # ideal lies on cold
        _draw_rules(bottom, rows, "active_samples", 1.0)
        if kind == "unbalanced":
            _draw_worst(top, rows)
        top.set_title(title)
        bottom.set_xlabel(x)
    axes[1, 0].set_yscale("log")  # of the whole row
    plain_log_ticks(axes[1, 0].yaxis)
    axes[0, 0].set_ylabel("test accuracy at the end (%)")
    axes[1, 0].set_ylabel("active samples, last stage (log)")
    _draw_legend(figure, axes[0, 0], axes[0, min(2, len(config.kinds) - 1)])
    figure.subplots_adjust(left=0.072, right=0.99, top=0.8, bottom=0.12, wspace=0.1, hspace=0.1)
    claim = "Warm-starting hurts in worlds with more structure too; forgetting the noise alone still repairs it"
    usual = config == BeyondConfig()
    add_heading(
        figure,
        claim if usual else "Beyond independent features, another setting",
        f"discrete world: C = {config.num_classes}, K = {config.num_features} features per class, "
        f"N = {config.chunk_size}, J = {config.num_stages}, γ = {config.gamma:g}, τ = {config.tau}, features "
        f"uniform on [0, {config.max_probability:g}]" + ("; left ends: the paper's world" if usual else ""),
        f"points: {say_seeds(table)}; bars: ± 1 standard deviation over seeds (open markers: none); "
        "dashed: closed form, no sampling; active: with a non-zero gradient",
    )
    return figure


def _draw_rules(ax: Axes, rows: pd.DataFrame, metric: str, scale: float, dodge: float = 0.0) -> None:
    """Means, bars and predictions of every rule."""
    looks = {rule: rule_style(rule) for rule in sort_rules(rows["rule"].tolist())}
    measured = rows[rows["metric"] == metric]
    draw_means(ax, measured, "x", "rule", looks, scale=scale, line=False, dodge=dodge)
    for rule, look in looks.items():
        mine = rows[(rows["rule"] == rule) & (rows["metric"] == PREDICTED + metric)]
        limit = mine.groupby("x")["value"].mean()
        offset = {"cold": 0.0, "warm": 1.5}.get(rule, 3.0)
        ax.plot(limit.index, scale * limit, color=look.color, linestyle=(offset, (3, 3)), linewidth=1.4)


def _draw_worst(ax: Axes, rows: pd.DataFrame) -> None:
    """Accuracy of the smaller class, open markers."""
    for rule in ("cold", "warm"):
        mine = rows[(rows["rule"] == rule) & (rows["metric"] == "worst_class_accuracy")]
        mean, look = 100 * mine.groupby("x")["value"].mean(), rule_style(rule)
        label = "worse class alone" if rule == "cold" else None
        ax.plot(
            mean.index, mean, look.marker, color=look.color, markerfacecolor="white", label=label, linestyle="none"
        )


def _draw_legend(figure: Figure, first: Axes, unbalanced: Axes) -> None:
    handles, labels = first.get_legend_handles_labels()
    extra = [pair for pair in zip(*unbalanced.get_legend_handles_labels(), strict=True) if pair[1] not in labels]
    handles, labels = [*handles, *(pair[0] for pair in extra)], [*labels, *(pair[1] for pair in extra)]
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.06, 0.9), ncols=5, fontsize=9)


SCRIPT = Script(
    name=NAME,
    summary="Correlated and shared features, unbalanced classes, label noise: accuracy and training time.",
    config=BeyondConfig,
    num_seeds=10,
    quick={
        "num_stages": 10,
        "correlated": (0.0, 0.5, 1.0),
        "shared": (0, 25, 50),
        "unbalanced": (0.5, 0.7, 0.9),
        "label_noise": (0.0, 0.2, 0.4),
    },
    quick_seeds=3,
    plan=plan,
    grouped=True,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
