"""What is it about a rule that repairs warm-starting? Every rule beside its controls, paired by seed (level 3).

Each rule is compared with training from scratch (cold) and with DASH on the same data, first initialisation and
order. The controls take a rule apart: `uniform` shrinks all weights by DASH's mean factor, `permuted` gives DASH's
factors to the wrong weights, `perturb` is the noise of S&P alone, `threshold` the reverse of DASH that a popular
summary describes; `cold_shrunk` starts anew from smaller weights, and `cold:weight_decay=tuned` from scratch with
a weight decay chosen on held-out training data. The figure makes no claim: what holds depends on the data, and it
shows what.

    python simulations/rule_ablation.py [--quick] [--data cifar10|digits|text] [--rules ...] ...

Data as in `warm_start_images.py`; results on other data than digits go to a folder of figures/ named after them.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.deep.presets import describe_setting, folder_of
from dashtheory.deep.run import data_facts, rule_jobs
from dashtheory.experiments.rule_ablation import ABLATION, AblationConfig
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, draw_amounts, draw_differences, rule_style, say_seeds
from dashtheory.record import PAIRED, paired_differences

NAME = "rule_ablation"


def plan(config: AblationConfig, seeds: Sequence[int], **limits: Any) -> list[Job]:
    """One job per seed and rule; the rules of a seed share data, first initialisation and order."""
    return rule_jobs(config, seeds, NAME, **limits)


def draw(table: pd.DataFrame, config: AblationConfig) -> Figure:
    """Paired differences to cold and to DASH, and steps."""
    height = 1.75 + 0.3 * len(config.rules)
    figure, axes = plt.subplots(1, 3, figsize=(12.4, height), width_ratios=[1, 1, 0.72])
    for ax, reference in zip(axes[:2], ("cold", "dash"), strict=True):
        differences = paired_differences(table, "test_accuracy", reference)
        draw_differences(ax, differences, config.rules, scale=100, names=reference == "cold")
        label = rule_style(reference).label
        ax.set(xlabel=f"test accuracy minus {label}'s (points)", title=f"Against {label}")
    _draw_steps(axes[2], table, config.rules)
    inch = 1 / height
    figure.subplots_adjust(left=0.19, right=0.985, top=1 - 0.98 * inch, bottom=0.78 * inch, wspace=0.08)
    seeds = table["seed"].nunique()
    foot = f"last stage; dots: {seeds} seeds, the same for all rules" + (
        f"; lines: 95% {PAIRED}, each rule by itself; right: ± 1 standard deviation" if seeds > 1 else ""
    )
    if len(_share_capped(table)):
        foot += f"; capped: stages that ended after {config.training.max_epochs} epochs"
    ours = dataclasses.replace(config, rules=ABLATION) == AblationConfig.of(
        data=config.data.name, data_name=config.data.title
    )
    title = f"Rules between stages and their controls: {config.data.title}"
    add_heading(figure, title + ("" if ours else ", another setting"), describe_setting(config), foot)
    return figure


def _draw_steps(ax: Axes, table: pd.DataFrame, rules: Sequence[str]) -> None:
    """Optimizer steps of all stages after the first."""
    rows = table[(table["metric"] == "steps") & (table["stage"] > 1)]
    steps = rows.groupby(["rule", "seed"])["value"].sum()
    draw_amounts(ax, steps.droplevel("seed"), rules, names=False)
    for rule, share in _share_capped(table).items():
        words = f" {100 * share:.0f}% capped"
        ax.annotate(words, (0, rules.index(str(rule))), color="white", va="center", fontsize=8)
    ax.set(xlabel=f"optimizer steps, {say_seeds(table)}", title="Training time after stage 1")


def _share_capped(table: pd.DataFrame) -> pd.Series:
    """Share of each rule's stages that ended at the epoch cap, for the rules that had one."""
    rows = table[table["metric"] == "converged"]
    share = 1 - rows.groupby("rule")["value"].mean()
    return share[share > 0]


SCRIPT = Script(
    name=NAME,
    summary="Every rule and its controls: paired differences to cold and to DASH, with intervals.",
    config=AblationConfig,
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
