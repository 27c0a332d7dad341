"""Memorised noise, read off the weights of two-layer networks, stage by stage (level 2).

Claim: a warm-started network keeps the noise of the first chunk and adds to it, and generalises worse; rules
that shrink make room again. In the patch network its margins on frequent features stay below those of a network
trained from scratch (in the MLP they do not). DASH ends where its own factors at random neurons end
(`permuted`), within half a point of a uniform shrink by its mean factor (`uniform`); `ideal`, which forgets the
noise inside each neuron, is an oracle.

    python simulations/two_layer_dynamics.py [--quick] [--regime mlp_small|mlp_he|relu|root|cub] [--lam 0.3] ...

Results of other regimes than cnn_a go to folders of figures/ named after them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.experiments.two_layer_dynamics import DynamicsConfig, run_dynamics
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_differences, draw_stages, rule_style, sort_rules
from dashtheory.record import PAIRED, paired_differences, summarize
from dashtheory.twolayer import RIDGE
from dashtheory.twolayer.config import MLPConfig

NAME = "two_layer_dynamics"
SEEDS_PER_JOB = 4
LINES = ("cold", "warm", "ideal", "sp", "dash")
"""Rules that get a line; the others are in the differences."""


def plan(config: DynamicsConfig, seeds: Sequence[int]) -> list[Job]:
    """A job per group of seeds: all rules of a group train at once."""
    groups = [list(seeds[start : start + SEEDS_PER_JOB]) for start in range(0, len(seeds), SEEDS_PER_JOB)]
    return [
        Job(
            name=f"seeds{group[0]}-{group[-1]}",
            function=run_dynamics,
            arguments={"config": config, "seeds": group, "experiment": NAME},
        )
        for group in groups
    ]


def draw(table: pd.DataFrame, config: DynamicsConfig) -> Figure:
    """Accuracy, memorised noise, memorisation gap; cosines and shares, margins, paired differences."""
    lines = table[table["rule"].isin(LINES)]
    figure, axes = plt.subplots(2, 3, figsize=(12.6, 7.9))
    draw_stages(axes[0, 0], lines, "test_accuracy", scale=100)
    _draw_ridge(axes[0, 0], table)
    axes[0, 0].set(ylabel="test accuracy (%)", title="Generalisation")
    axes[0, 0].legend(loc="best", fontsize=8.5)
    _draw_saw(axes[0, 1], lines)
    draw_stages(axes[0, 2], lines, "memorisation_gap", scale=100)
    axes[0, 2].set(ylabel="accuracy lost with fresh noise (points)", title="Memorisation gap")
    _draw_neurons(axes[1, 0], table, config)
    _draw_margins(axes[1, 1], table)
    foot = describe_band(table, "sd")
    rules = [*sort_rules(list(config.rules)), RIDGE]
    if "cold" in rules:
        draw_differences(axes[1, 2], paired_differences(table, "test_accuracy", "cold"), rules, scale=100)
        axes[1, 2].set(xlabel="test accuracy minus cold's (points)", title="Last stage, paired by seed")
        if table["seed"].nunique() > 1:
            foot += f"; differences: dots are seeds, lines the 95% {PAIRED}"
    else:
        axes[1, 2].set_visible(False)
    _place(axes)
    ours = config == DynamicsConfig(regime=config.regime)
    title = "Two-layer networks: what warm-starting keeps is noise" + ("" if ours else ", another setting")
    add_heading(figure, title, _setting(config), foot)
    return figure


def _place(axes: np.ndarray) -> None:
    """Three columns, the last one with room for the names of rules."""
    for row, bottom in zip(axes, (0.555, 0.105), strict=True):
        for ax, left, width in zip(row, (0.055, 0.385, 0.735), (0.27, 0.27, 0.25), strict=True):
            ax.set_position((left, bottom, width, 0.33))
    axes[1, 2].set_position((0.815, 0.105, 0.17, 0.33))


def _setting(config: DynamicsConfig) -> str:
    setting = config.setting()
    data, network = setting.data, setting.network
    if isinstance(network, MLPConfig):
        words = f"ReLU MLP, {network.hidden} hidden neurons, both layers trained"
    else:
        words = f"patch network, {network.neurons} neurons per class, activation max(z, 0)^{network.exponent:g}"
        words += " smoothed" if network.smoothed else ""
    return (
        f"{config.regime}: {words}; {setting.num_stages} chunks of {setting.chunk_size} samples, "
        f"{data.num_features} features per class, noise of length {data.noise_norm:g} in {data.noise_dim} "
        f"dimensions; every stage trains to a loss of {setting.threshold:g} nats"
    )


def _draw_ridge(ax: Axes, table: pd.DataFrame) -> None:
    """The ridge classifier on the same samples, at the last stage."""
    rows = table[(table["rule"] == RIDGE) & (table["metric"] == "test_accuracy")]
    look = rule_style(RIDGE)
    ax.axhline(
        100 * rows["value"].mean(), color=look.color, linestyle=look.linestyle, label=f"{look.label}, at the end"
    )


def _draw_saw(ax: Axes, table: pd.DataFrame) -> None:
    """Norm of memorised noise at the end of each stage, and right after each rule."""
    for rule in sort_rules(table["rule"].tolist()):
        look = rule_style(rule)
        rows = table[table["rule"] == rule]
        end = summarize(rows, "noise_norm").set_index("stage")["mean"]
        after = summarize(rows, "noise_norm_after_rule").set_index("stage")["mean"]
        x = [place for stage in end.index for place in ((stage - 0.99, stage) if stage > 1 else (stage,))]
        y = [v for stage in end.index for v in ((after[stage], end[stage]) if stage > 1 else (end[stage],))]
        ax.plot(x, y, color=look.color, linestyle=look.linestyle, linewidth=1.4)
        ax.plot(end.index, end, linestyle="none", marker=look.marker, color=look.color)
    ax.set(
        xlabel="stage (drops: the rule between stages)",
        ylabel="norm of memorised noise in the weights",
        title="Memorised noise",
    )
    ax.set_ylim(bottom=0)


_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}  # so that points do not cross words


def _draw_neurons(ax: Axes, table: pd.DataFrame, config: DynamicsConfig) -> None:
    """Cosine with G against feature share, a point per neuron and seed, for DASH at its last use."""
    rows = table[table["metric"].isin(["cosine", "feature_share"]) & (table["rule"] == "dash")]
    ax.set(
        xlabel="feature share of the neuron's learned weights",
        ylabel="cosine with the smoothed negative gradient",
        title="What DASH sees",
    )
    if rows.empty:
        return
    wide = rows.pivot_table(index=["seed", "neuron"], columns="metric", values="value")
    ax.plot(wide["feature_share"], wide["cosine"], "v", color=rule_style("dash").color, alpha=0.55, markersize=4)
    ax.margins(y=0.16)  # room for the words above the highest neuron
    ax.axhline(config.lam, color="#444444", linestyle=":", linewidth=1.2)
    ax.annotate(
        f"λ = {config.lam:g}",
        (0.02, config.lam),
        xycoords=("axes fraction", "data"),
        va="bottom",
        fontsize=8.5,
        bbox=_PAPER,
    )
    correlation = wide["feature_share"].corr(wide["cosine"])
    ax.annotate(
        f"correlation {correlation:.2f}; sd of shares {wide['feature_share'].std(ddof=0):.2f}",
        (0.02, 0.97),
        xycoords="axes fraction",
        va="top",
        fontsize=8.5,
        bbox=_PAPER,
    )


def _draw_margins(ax: Axes, table: pd.DataFrame) -> None:
    """Margin of each feature alone against its frequency, mean over seeds and classes."""
    rows = table[table["metric"].isin(["margin", "frequency"]) & table["rule"].isin(LINES)]
    for rule in sort_rules(rows["rule"].tolist()):
        mine = rows[rows["rule"] == rule].pivot_table(index="feature", columns="metric", values="value")
        look, one = rule_style(rule), mine.sort_values("frequency")
        ax.plot(
            one["frequency"],
            one["margin"],
            color=look.color,
            linestyle=look.linestyle,
            marker=look.marker,
            markersize=4,
        )
    ax.axhline(0, color="#444444", linewidth=0.8)
    ax.set(
        xlabel="frequency of the feature in its class",
        ylabel="margin that the feature alone adds",
        title="What was learned",
    )


SCRIPT = Script(
    name=NAME,
    summary="Memorised noise in two-layer networks: accuracy, noise before and after each rule, cosines, margins.",
    config=DynamicsConfig,
    num_seeds=8,
    quick={"num_stages": 4, "num_test": 500},
    quick_seeds=2,
    plan=plan,
    draw=draw,
    out_of=lambda config: Path("figures") if config.regime == "cnn_a" else Path("figures") / config.regime,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
