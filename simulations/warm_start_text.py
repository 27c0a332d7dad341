"""Warm-starting on real text: new data do not help a warm character transformer; shrinking repairs it (level 3).

Claim: on chunks of one English text, all rules train to the same training loss, and the test loss of a warm
transformer rises with every chunk while that of one trained from scratch falls; shrinking the weights before
each stage (S&P, DASH) repairs it. Data: CPython's `pydoc_data.topics`, which differ between Python versions (the
table's provenance holds their hash); nothing is downloaded.

    python simulations/warm_start_text.py [--quick] [--rules cold,warm,sp,dash] [--lam 0.3] ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from dashtheory._spec import slug_of
from dashtheory.command.script import Script, main
from dashtheory.experiments.warm_start_text import TextConfig, run_text, text_facts
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_stages

NAME = "warm_start_text"


def plan(config: TextConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per rule and seed; the rules of a seed share data, first initialisation and order."""
    return [
        Job(
            name=f"{slug_of(rule)}-seed{seed}",
            function=run_text,
            resumable=True,
            arguments={"config": config, "rule": rule, "seed": seed, "experiment": NAME},
        )
        for seed in seeds
        for rule in config.rules
    ]


def draw(table: pd.DataFrame, config: TextConfig) -> Figure:
    """Draw test loss, next-character accuracy and steps by stage."""
    figure, axes = plt.subplots(1, 3, figsize=(11.4, 4.3))
    panels = (
        ("test_loss", 1.0, "test loss (nats per character)", "Generalisation: loss"),
        ("test_accuracy", 100.0, "next-character accuracy (%)", "Generalisation: accuracy"),
        ("steps", 1.0, "optimizer steps of the stage", "Training time"),
    )
    for ax, (metric, scale, label, title) in zip(axes, panels, strict=True):
        draw_stages(ax, table, metric, scale=scale, band="range", dodge=0.07)
        ax.set(ylabel=label, title=title)
    axes[2].set_ylim(bottom=0)
    axes[1].legend(loc="upper left")
    characters = config.chunk_windows * config.context
    linear = f", linear weights with sd {config.linear_std:g}" if config.linear_std else ""
    setting = (
        f"character transformer (width {config.width}, {config.num_layers} layers, embeddings started with sd "
        f"{config.embedding_std:g}{linear}) on Python's help texts; "
        f"every stage adds {characters:,} characters and trains to a loss of {config.threshold:g} nat"
    )
    options = {
        "sp": f"S&P keeps {config.shrink:g} of each weight and adds noise of sd {config.perturb:g}",
        "dash": f"DASH: α = {config.alpha:g}, λ = {config.lam:g}",
    }
    foot = "; ".join(
        [
            describe_band(table, "range", bars=True) + _unconverged(table),
            *(text for rule, text in options.items() if rule in config.rules),
        ]
    )
    claim = "On real text, warm-starting wastes new data; shrinking the weights repairs it"
    title = claim if config == TextConfig() else "Warm start on real text, a setting of your own"
    figure.subplots_adjust(left=0.058, right=0.988, top=0.79, bottom=0.185, wspace=0.26)
    add_heading(figure, title, setting, foot)
    return figure


def _unconverged(table: pd.DataFrame) -> str:
    stages = table[table["metric"] == "converged"]["value"]
    return f"; {int((stages == 0).sum())} of {len(stages)} stages hit the epoch cap" if (stages == 0).any() else ""


SCRIPT = Script(
    name=NAME,
    summary="Warm start on real text: test loss, next-character accuracy and steps by stage, for each rule.",
    config=TextConfig,
    num_seeds=3,
    quick={"num_chunks": 3, "chunk_windows": 24, "test_windows": 100, "width": 32, "threshold": 1.8},
    quick_seeds=1,
    plan=plan,
    draw=draw,
    facts_of=lambda config: text_facts(config.rules),
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
