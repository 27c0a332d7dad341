"""Where warm-starting hurts, and where shrinking helps, does nothing, or hurts more (level 2).

Patch networks with activations from the ReLU (q = 1) to the smoothed cube (q = 3), against the scale of the
initialisation and against the loss that ends a stage. Each map is a paired difference: warm minus cold (where
warm-starting hurts), DASH minus warm (where DASH repairs it), DASH minus a uniform shrink by its own mean (whether
its direction matters), and ideal minus cold, an oracle, beside which a ridge classifier on the same samples
stands.

    python simulations/activation_regimes.py [--quick] [--maps init,threshold] [--exponents 1,2,3] ...
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory._spec import split_text
from dashtheory.command.script import Script, main
from dashtheory.experiments.activation_regimes import RegimesConfig, run_exponent
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, draw_map, rule_style, say_seeds
from dashtheory.record import group_name, paired_differences
from dashtheory.twolayer import RIDGE

NAME = "activation_regimes"
HEIGHTS = {"init": "scale of initial weights", "threshold": "loss that ends a stage (nats)"}
PAIRS = (
    *(
        ("warm", "cold"),
        ("dash", "warm"),
        ("dash", "uniform"),
        ("dash", "permuted"),
        ("dash", "sp"),
        ("ideal", "cold"),
    ),
)
"""Differences that are mapped: rules by their first word."""


def plan(config: RegimesConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per map and exponent: all seeds and rules of a cell train at once."""
    return [
        Job(
            name=f"{which}-q{exponent:g}-{group_name(seeds)}",
            function=run_exponent,
            arguments={
                "config": dataclasses.replace(config, maps=(which,)),
                "which": which,
                "exponent": exponent,
                "seeds": list(seeds),
                "experiment": NAME,
            },
        )
        for which in config.maps
        for exponent in sorted(config.exponents, reverse=True)  # the longest first
    ]


def draw(table: pd.DataFrame, config: RegimesConfig) -> Figure:
    """A row of maps of paired differences per kind of map."""
    rows = len(config.maps)
    rules = {split_text(rule)[0]: rule for rule in config.rules}
    pairs = [(rules[one], rules[other]) for one, other in PAIRS if one in rules and other in rules]
    figure, axes = plt.subplots(rows, len(pairs), figsize=(2.75 * len(pairs), 1.75 + 2.75 * rows), squeeze=False)
    for which, line in zip(config.maps, axes, strict=True):
        here = table[table["map"] == which]
        for ax, (rule, reference) in zip(line, pairs, strict=True):
            _draw_difference(ax, differences(here, rule, reference))
            ax.set(xlabel="exponent q", title=f"{_short(rule)} minus {_short(reference)}")
            ax.set_ylabel(HEIGHTS[which] if ax is line[0] else "")
            ax.tick_params(labelsize=8)
        _name_levels(line[0], here, rules)
    inch = 1 / figure.get_figheight()
    figure.subplots_adjust(
        left=0.055, right=0.97, top=1 - 0.95 * inch, bottom=1.0 * inch, wspace=0.42, hspace=0.72
    )
    title = "Two-layer networks: where warm-starting hurts, and what shrinking does about it"
    title += "" if config == RegimesConfig() else ", another setting"
    shown = config.setting(config.exponents[0], config.init_scales[0], config.thresholds[0])
    add_heading(
        figure,
        title,
        f"patch networks, activation z^q / q up to z = 1 and linear above; {config.num_stages} chunks of "
        f"{shown.chunk_size} samples; differences of test accuracy after the last stage, in points",
        f"{say_seeds(table)}; dots: the 95% interval (Student's t, paired by seed) excludes 0; colours end at "
        "± 15; "
        f"rules with options: {', '.join(rule for rule in config.rules if ':' in rule) or 'none'}",
    )
    return figure


def differences(points: pd.DataFrame, rule: str, reference: str) -> pd.DataFrame:
    """Paired differences of test accuracy in points, by cell: columns q, y, mean, low, high."""
    both = points[points["rule"].isin([rule, reference]) & (points["metric"] == "test_accuracy")]
    found = paired_differences(both, "test_accuracy", reference)
    return found[["q", "y"]].join(100 * found[["mean", "low", "high"]])


def _draw_difference(ax: Axes, found: pd.DataFrame) -> None:
    grid = found.pivot(index="y", columns="q", values="mean")
    notes = found.assign(note=found.apply(_note, axis=1)).pivot(index="y", columns="q", values="note")
    draw_map(ax, grid, label="", low=-15, high=15, colors="PuOr", notes=notes)


def _note(cell: pd.Series) -> str:
    """A difference, with a dot below it if its interval excludes zero."""
    digits = 1 if abs(cell["mean"]) < 9.95 else 0
    return f"{cell['mean']:+.{digits}f}\n{'•' if cell['low'] > 0 or cell['high'] < 0 else ' '}"


def _name_levels(ax: Axes, points: pd.DataFrame, rules: dict[str, str]) -> None:
    """Accuracy of cold over the map, and of the ridge classifier, in words below the first map."""
    rows = points[points["metric"] == "test_accuracy"]
    cold = 100 * rows[rows["rule"] == rules["cold"]].groupby(["q", "y"])["value"].mean()
    ridge = 100 * rows[rows["rule"] == RIDGE]["value"].mean()
    capped = points[(points["metric"] == "converged") & (points["value"] == 0)]
    words = f"test accuracy of cold {cold.min():.1f} to {cold.max():.1f}%, of ridge {ridge:.1f}%"
    if len(capped):
        words += (
            f"; {len(capped)} of {int((points['metric'] == 'converged').sum())} runs had a stage at the epoch cap"
        )
    ax.annotate(words, (0, -0.36), xycoords="axes fraction", fontsize=8.5, color="#444444")


def _short(rule: str) -> str:
    name, _ = split_text(rule)
    return name if name in ("uniform", "permuted") else rule_style(name).label.split(" (")[0]


SCRIPT = Script(
    name=NAME,
    summary="Where warm-starting hurts and what shrinking does, over activations, initialisation and threshold.",
    config=RegimesConfig,
    num_seeds=5,
    quick={
        "exponents": (1.0, 2.0),
        "init_scales": (0.003, 0.03),
        "thresholds": (0.2, 0.05),
        "num_stages": 3,
        "num_test": 500,
    },
    quick_seeds=2,
    plan=plan,
    grouped=True,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
