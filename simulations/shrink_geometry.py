"""What each rule does to a weight vector at each angle to the negative gradient (all levels).

Claim: DASH keeps what points down the loss and shrinks the rest to a floor lam: its factor is the cosine, clipped.
S&P and a uniform shrink treat all angles alike. The rule of a popular summary (`threshold`) has it the other way
round: it shrinks what is aligned. No rule of this kind turns a vector: each acts on its length alone.

    python simulations/shrink_geometry.py [--quick] [--rules dash:lam=0.5,sp] ...
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

from dashtheory._spec import slug_of
from dashtheory.command.script import Script, main
from dashtheory.experiments.shrink_geometry import GeometryConfig, run_geometry
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, rule_style
from dashtheory.user_code import fingerprints

NAME = "shrink_geometry"


def plan(config: GeometryConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per rule and seed."""
    return [
        Job(
            name=f"{slug_of(rule)}-seed{seed}",
            function=run_geometry,
            arguments={
                "config": dataclasses.replace(config, rules=(rule,)),
                "rule": rule,
                "seed": seed,
                "experiment": NAME,
            },
        )
        for seed in seeds
        for rule in config.rules
    ]


def draw(table: pd.DataFrame, config: GeometryConfig) -> Figure:
    """Factor against angle, and the half circle of unit vectors after each rule."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.4, 4.8), width_ratios=[1.15, 1])
    for rule in config.rules:
        rows = table[(table["rule"] == rule) & (table["metric"] == "along")].groupby("angle")["value"].mean()
        look = rule_style(rule)
        every = (3 * config.rules.index(rule), max(1, config.num_angles // 9))
        left.plot(
            rows.index,
            rows,
            color=look.color,
            linestyle=look.linestyle,
            marker=look.marker,
            markevery=every,
            label=look.label,
        )
        _draw_vectors(right, rows, rule)
    left.set(
        xlabel="angle between the weights and the negative gradient (degrees)",
        ylabel="factor on the length",
        title="Factor by angle",
        xticks=range(0, 181, 30),
        ylim=(-0.03, 1.05),
    )
    left.legend(loc="upper right", bbox_to_anchor=(1.0, 0.93), fontsize=8.5)
    right.annotate(
        "negative gradient",
        (1.28, 0),
        (0.62, -0.16),
        arrowprops={"arrowstyle": "->"},
        fontsize=8.5,
        annotation_clip=False,
    )
    right.annotate("", (1.28, 0), (1.02, 0), arrowprops={"arrowstyle": "->"})
    right.set(
        xlabel="part along the negative gradient",
        ylabel="part at a right angle to it",
        title="Where unit vectors go",
        xlim=(-1.08, 1.32),
        ylim=(-0.2, 1.08),
        aspect="equal",
    )
    figure.subplots_adjust(left=0.06, right=0.985, top=0.8, bottom=0.16, wspace=0.16)
    add_heading(
        figure,
        "DASH keeps what points down the loss; S&P and uniform shrinking cannot tell"
        if config == GeometryConfig()
        else "What rules do to a vector, another setting",
        f"rows of a linear layer: {config.num_angles} unit vectors from 0 to 180 degrees, one gradient for all",
        "each rule applied once; S&P with its noise (standard deviation 0.01 per entry); uniform: by DASH's mean "
        "factor over these vectors",
    )
    return figure


def _draw_vectors(ax: Axes, factors: pd.Series, rule: str) -> None:
    """The curve that the tips of unit vectors end on."""
    look, angle = rule_style(rule), np.deg2rad(factors.index.to_numpy(dtype=float))
    length = factors.to_numpy()
    ax.plot(length * np.cos(angle), length * np.sin(angle), color=look.color, linestyle=look.linestyle)


SCRIPT = Script(
    name=NAME,
    summary="What each rule does to a weight vector at each angle to the negative gradient.",
    config=GeometryConfig,
    num_seeds=1,
    quick={"num_angles": 19},
    quick_seeds=1,
    plan=plan,
    draw=draw,
    facts_of=lambda config: dict(fingerprints(config.rules)),
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
