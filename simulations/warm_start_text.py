"""Warm-starting on real text: new data do not help a warm character transformer; shrinking repairs it (level 3).

Claim: on chunks of one English text, all rules train to the same training loss, and the test loss of a warm
transformer rises with every chunk while that of one trained from scratch falls; shrinking the weights before
each stage (S&P, DASH) repairs it. Data: CPython's `pydoc_data.topics`, which differ between Python versions (the
table's provenance holds their hash); nothing is downloaded.

    python simulations/warm_start_text.py [--quick] [--rules cold,warm,sp,dash:lam=0.05] [--stages 2] ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from dashtheory.command.script import Script, main
from dashtheory.deep.run import data_facts, rule_jobs
from dashtheory.experiments.warm_start_text import TextConfig
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_stages
from dashtheory.rules import Dash, ShrinkPerturb
from dashtheory.rules.spec import parse_spec

NAME = "warm_start_text"


def plan(config: TextConfig, seeds: Sequence[int], **limits: Any) -> list[Job]:
    """One job per rule and seed; the rules of a seed share data, first initialisation and order."""
    return rule_jobs(config, seeds, NAME, **limits)


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
    network, characters = config.model.values(), config.data.chunk_size * config.data.size
    started = f"embeddings started with sd {network['embedding_std']:g}"
    if network.get("linear_std"):
        started = f"initial sd: embeddings {network['embedding_std']:g}, linear {network['linear_std']:g}"
    setting = (
        f"character transformer (width {network['width']}, {network['num_layers']} layers, {started}) "
        "on Python's help texts; "
        f"every stage adds {characters:,} characters and trains to a loss of {config.training.threshold:g} nat"
    )
    foot = "; ".join(
        [
            describe_band(table, "range", bars=True) + _unconverged(table),
            *(text for rule in config.rules if (text := _options(rule))),
        ]
    )
    claim = "On real text, warm-starting wastes new data; shrinking the weights repairs it"
    title = claim if config == TextConfig.of() else "Warm start on real text, another setting"
    figure.subplots_adjust(left=0.058, right=0.988, top=0.79, bottom=0.185, wspace=0.26)
    add_heading(figure, title, setting, foot)
    return figure


def _options(text: str) -> str:
    """What S&P and DASH do to a weight, in words; empty for other rules."""
    rule = parse_spec(text).rule
    if isinstance(rule, ShrinkPerturb):
        return f"S&P keeps {rule.shrink:g} of each weight and adds noise of sd {rule.perturb:g}"
    return f"DASH: α = {rule.alpha:g}, λ = {rule.lam:g}" if isinstance(rule, Dash) else ""


def _unconverged(table: pd.DataFrame) -> str:
    stages = table[table["metric"] == "converged"]["value"]
    return f"; {int((stages == 0).sum())} of {len(stages)} stages hit the epoch cap" if (stages == 0).any() else ""


SCRIPT = Script(
    name=NAME,
    summary="Warm start on real text: test loss, next-character accuracy and steps by stage, for each rule.",
    config=TextConfig,
    num_seeds=3,
    quick={
        "num_chunks": 3,
        "chunk_size": 24,
        "num_test": 100,
        "model_options": ("width=32", "num_layers=2", "num_heads=4", "embedding_std=0.02", "linear_std=0.0"),
        "threshold": 1.8,
    },
    quick_seeds=1,
    plan=plan,
    draw=draw,
    staged=True,
    facts_of=data_facts,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
