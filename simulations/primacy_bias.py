"""An agent that learned too much too early: and rules that may help it (level 3).

Left: the 2 x 2 lake, whose answer becomes the opposite after a fifth of the moves, by replay ratio (columns),
without and with 10% random moves (rows). Right: Acrobot after heavy priming. Each row of a panel is a rule minus
doing nothing, paired by seed; seeds share first weights and all draws. The last rows are DASH minus controls that
shrink as much: what they leave is direction.

Claim: on the lake resets look like a cure where nothing is random, but random actions alone bring as much at one
or four updates a move. With 10% random moves primacy bias is left at sixteen updates a move; a full reset and ReDo
repair it, S&P perhaps, DASH does not. On Acrobot, in so short a run, means hardly differ. Direction is not seen to
help: DASH is not told from its norms alone in any panel, and from its factors at random rows in one of seven, by a
hair.

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
    "permuted": "DASH permuted",
    "norm_matched": "DASH's norms alone",
    UNPRIMED: "never primed",
}
CONTROLS = {"permuted": "DASH minus permuted", "norm_matched": "DASH minus norms alone"}
"""They shrink as much as DASH; what DASH has above them is direction. With the name of that difference."""


def plan(config: PrimacyConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per replay ratio and epsilon, and one of Acrobot: all rules and seeds at once."""
    return primacy_jobs(config, seeds, NAME)


def draw(table: pd.DataFrame, config: PrimacyConfig) -> Figure:
    """Differences from doing nothing: the lake by replay ratio and epsilon, then Acrobot."""
    lake, acrobot = (table[table["environment"] == name] for name in ("lake", "acrobot"))
    rules = [rule for rule in config.rules if rule in set(lake["rule"])]
    ratios, epsilons = (sorted(lake[name].unique()) for name in ("replay_ratio", "epsilon"))
    columns = len(ratios) + (len(acrobot) > 0)
    size = (4.0 + 2.6 * columns, 1.75 + len(epsilons) * (0.45 + 0.27 * (len(rules) + len(_controls(rules)))))
    figure, axes = plt.subplots(len(epsilons), columns, figsize=size, squeeze=False)
    for line, epsilon in zip(axes, epsilons, strict=True):
        for ax, ratio in zip(line, ratios, strict=False):
            here = lake[(lake["replay_ratio"] == ratio) & (lake["epsilon"] == epsilon)]
            _draw_panel(ax, here, AFTER_SWITCH, rules, scale=100)
            random = f"{100 * epsilon:g}% random moves" if epsilon else "no random moves"
            ax.set_title(f"lake, {ratio:g} update{'s' if ratio > 1 else ''} a move,\n{random}", fontsize=9.5)
        _set_names(line[0], rules)
    widest = max(abs(edge) for ax in axes[:, : len(ratios)].flat for edge in ax.get_xlim())
    for ax in axes[:, : len(ratios)].flat:
        ax.set_xlim(-widest, widest)
        ax.set_xticks((-50, 0, 50))
    for ax in axes[-1, : len(ratios)]:
        ax.set_xlabel("points of success", fontsize=9)
    if len(acrobot):
        _draw_acrobot(figure, axes, acrobot, [*rules, UNPRIMED])
    figure.subplots_adjust(
        left=1.9 / size[0],
        right=1 - (1.9 if len(acrobot) else 0.2) / size[0],
        top=1 - 1.15 / size[1],
        bottom=0.75 / size[1],
        wspace=0.12,
        hspace=0.3,
    )
    add_heading(figure, *_words(table, config))
    return figure


def _draw_panel(ax: Axes, here: pd.DataFrame, metric: str, rules: Sequence[str], *, scale: float) -> None:
    """Each rule minus `warm`, what `warm` reaches in its own row, and DASH minus its controls below."""
    rows = here[(here["metric"] == metric) & (here["stage"] == here["stage"].max())]
    found = [paired_differences(here, metric, "warm")]
    for control in _controls(rules):
        against = paired_differences(here, metric, control)
        found.append(against[against["rule"] == "dash"].assign(rule=CONTROLS[control]))
    every = [*rules, *(CONTROLS[control] for control in _controls(rules))]
    draw_differences(ax, pd.concat(found, ignore_index=True), every, scale=scale, names=False)
    ax.axhline(len(rules) - 0.32, color="#999999", linewidth=0.8)
    usual = scale * rows[rows["rule"] == "warm"]["value"].mean()
    text = f"{usual:.0f}%" if scale == 100 else f"{usual:.0f}".replace("-", "−")
    ax.annotate(f" {text}", (0, list(rules).index("warm")), fontsize=9, va="center", color="#444444")
    ax.tick_params(labelsize=8.5)


def _controls(rules: Sequence[str]) -> list[str]:
    """Controls that shrink as much as DASH, if both are there."""
    return [rule for rule in CONTROLS if rule in rules and "dash" in rules]


def _set_names(ax: Axes, rules: Sequence[str]) -> None:
    every = [*(WORDS.get(rule, rule) for rule in rules), *(CONTROLS[control] for control in _controls(rules))]
    ax.set_yticks(range(len(every)), every)


def _draw_acrobot(figure: Figure, axes: np.ndarray, here: pd.DataFrame, rules: Sequence[str]) -> None:
    """Acrobot in the last column, as high as all rows of the lake."""
    grid = axes[0, -1].get_gridspec()
    for ax in axes[:, -1]:
        ax.remove()
    ax = figure.add_subplot(grid[:, -1])
    _draw_panel(ax, here, RETURN, rules, scale=1)
    _set_names(ax, rules)
    ax.yaxis.tick_right()
    ax.set_title("Acrobot, primed,\nrule once after priming", fontsize=9.5)
    ax.set_xlabel("return in the last quarter", fontsize=9)


def _words(table: pd.DataFrame, config: PrimacyConfig) -> tuple[str, str, str]:
    """Title, setting and foot."""
    seeds, ours = table["seed"].nunique(), config == PrimacyConfig()
    title = "Primacy bias: each rule minus doing nothing" + ("" if ours else ", another setting")
    setting = (
        f"double DQN; lake: {config.moves} moves, a rule every "
        f"{config.rule_every}, success after the hole has moved"
    )
    if config.acrobot_steps:
        setting += (
            f"; Acrobot: {config.prime_updates:,} updates on {config.prime_steps} transitions, then "
            f"{config.acrobot_steps:,} steps"
        )
    foot = f"large marks: mean of n = {seeds} seeds, small ones: seeds" if seeds > 1 else "one seed, no interval"
    if seeds > 1:
        foot += f"; lines: 95% {PAIRED}, each by itself"
    return title, setting, foot


SCRIPT = Script(
    name=NAME,
    summary="Rules for agents that learned too much too early, beside exploration alone and other controls.",
    config=PrimacyConfig,
    num_seeds=20,
    quick={
        "replay_ratios": (1, 4),
        "moves": 300,
        "rule_every": 60,
        "acrobot_steps": 2000,
        "prime_updates": 500,
        "lake_hidden": (16, 16),
        "acrobot_hidden": (16, 16),
        "tuning_seeds": 2,
    },
    quick_seeds=3,
    plan=plan,
    grouped=True,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
