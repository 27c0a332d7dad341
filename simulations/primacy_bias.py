"""An agent that learned too much too early: which rule helps it to learn on, and is it the rule? (level 3)

Left: the 2 x 2 lake, whose answer becomes the opposite after a fifth of the moves, by replay ratio (columns),
without and with 10% random moves (rows). Right: Acrobot after heavy priming. Each row of a panel is a rule minus
doing nothing, paired by seed; seeds share first weights and all draws.

    python simulations/primacy_bias.py [--quick] [--acrobot-steps 0] [--replay-ratios 4,16] ...

Acrobot needs gymnasium (`pip install 'dashtheory[rl]'`); `--acrobot-steps 0` leaves it out.
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
from dashtheory.experiments.primacy_bias import (
    AFTER_SWITCH,
    RETURN,
    UNPRIMED,
    PrimacyConfig,
    primacy_jobs,
)
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, draw_differences
from dashtheory.record import PAIRED, paired_differences

NAME = "primacy_bias"
WORDS = {
    "warm": "nothing",
    "explore": "random actions alone",
    "warm_rm": "new optimizer alone",
    "cold": "full reset",
    "reset_last": "new head",
    "redo": "ReDo",
    "warm:weight_decay=tuned": "weight decay, tuned",
    "sp": "S&P",
    "dash": "DASH",
    "permuted": "DASH's factors permuted",
    "norm_matched": "DASH's norms alone",
    UNPRIMED: "never primed",
}


def plan(config: PrimacyConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per replay ratio and epsilon, and one of Acrobot: all rules and seeds at once."""
    return primacy_jobs(config, seeds, NAME)


def draw(table: pd.DataFrame, config: PrimacyConfig) -> Figure:
    """Differences from doing nothing: the lake by replay ratio and epsilon, then Acrobot."""
    lakes, acrobot = len(config.replay_ratios), config.acrobot_steps > 0
    rows = [*config.rules, UNPRIMED] if acrobot else list(config.rules)
    height = 1.75 + len(config.epsilons) * (0.45 + 0.27 * len(config.rules))
    figure, axes = plt.subplots(
        len(config.epsilons), lakes + acrobot, figsize=(3.1 + 2.6 * (lakes + acrobot), height), squeeze=False
    )
    for line, epsilon in zip(axes, config.epsilons, strict=True):
        for ax, ratio in zip(line, config.replay_ratios, strict=False):
            here = table[(table["replay_ratio"] == ratio) & (table["epsilon"] == epsilon)]
            _draw_panel(ax, here[here["environment"] == "lake"], AFTER_SWITCH, config.rules, scale=100)
            random = f"{100 * epsilon:g}% random moves" if epsilon else "no random moves"
            ax.set_title(f"lake, {ratio} update{'s' * (ratio > 1)} a move,\n{random}", fontsize=9.5)
    for ax in axes[-1, :lakes]:
        ax.set_xlabel("points of success")
    if acrobot:
        _place_acrobot(figure, axes, table, rows)
    _name_rows(axes, config.rules, lakes)
    inch = 1 / height
    figure.subplots_adjust(
        left=1.65 / figure.get_figwidth(), right=0.985, top=1 - 1.15 * inch, bottom=0.75 * inch, wspace=0.12, hspace=0.3
    )
    ours = config == PrimacyConfig()
    add_heading(figure, *_words(table, config, ours=ours))
    return figure
