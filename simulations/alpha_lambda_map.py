"""DASH over alpha and lam in two-layer networks, beside its controls (level 2).

Does it matter which alpha and lam DASH has, and does its direction matter beside its size? Five maps: test
accuracy, accuracy minus that of a uniform shrink by DASH's own mean factor and of DASH's factors at random neurons
(same alpha, lam and seeds), training time, and the share of weights at the floor lam. Cold, warm, S&P, ideal (an
oracle) and a ridge classifier on the same samples are named below the first map.

    python simulations/alpha_lambda_map.py [--quick] [--regimes cnn_a,mlp_small] [--alphas 0.3,1] ...
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

from dashtheory.command.script import Script, main
from dashtheory.experiments.alpha_lambda_map import AlphaLambdaConfig, run_alpha_lambda
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, draw_map, pivot_map, say_seeds
from dashtheory.record import group_name, paired_differences
from dashtheory.twolayer import RIDGE

NAME = "alpha_lambda_map"
WORDS = {"cnn_a": "patch network", "mlp_small": "MLP, small start", "mlp_he": "MLP, usual start"}
SHORT = {"cold": "cold", "warm": "warm", "sp": "S&P (0.3)", "ideal": "ideal", RIDGE: "ridge"}


def plan(config: AlphaLambdaConfig, seeds: Sequence[int]) -> list[Job]:
    """One job per regime: all points and seeds train at once."""
    return [
        Job(
            name=f"{regime}-{group_name(seeds)}",
            function=run_alpha_lambda,
            arguments={
                "config": dataclasses.replace(config, regimes=(regime,)),
                "regime": regime,
                "seeds": list(seeds),
                "experiment": NAME,
            },
        )
        for regime in config.regimes
    ]


def draw(table: pd.DataFrame, config: AlphaLambdaConfig) -> Figure:
    """A row of four maps per regime."""
    rows = len(config.regimes)
    figure, axes = plt.subplots(rows, 5, figsize=(16.0, 1.6 + 2.9 * rows), squeeze=False)
    for regime, line in zip(config.regimes, axes, strict=True):
        here = table[table["regime"] == regime]
        dash = here[here["rule"] == "dash"]
        words = WORDS.get(regime, regime)
        draw_map(line[0], _grid(dash, "test_accuracy", 100), label="test accuracy (%)")
        _name_controls(line[0], here)
        _draw_difference(line[1], differences(here, "uniform"))
        _draw_difference(line[2], differences(here, "permuted"))
        draw_map(line[3], _grid(dash, "steps", 1), label="optimizer steps after stage 1")
        draw_map(line[4], _grid(dash, "share_clamped", 100), label="entries at λ (%)", low=0, high=100)
        titles = ("DASH", "minus uniform", "minus permuted", "training time", "at the floor")
        for ax, title in zip(line, titles, strict=True):
            ax.set(xlabel="λ", ylabel="α", title=f"{words}: {title}")
            ax.tick_params(labelsize=6.5)
            ax.tick_params(axis="x", labelsize=5.6)  # so that the smallest values of lam stand apart
    height = figure.get_figheight()
    figure.subplots_adjust(
        left=0.045, right=0.965, top=1 - 0.95 / height, bottom=1.0 / height, wspace=0.6, hspace=0.62
    )
    title = "DASH over α and λ, beside its mean factor for all and its factors at random neurons"
    title += "" if config == AlphaLambdaConfig() else ", another setting"
    setting = config.setting(config.regimes[0])
    add_heading(
        figure,
        title,
        f"two-layer networks on signal + noise; {setting.num_stages} chunks of {setting.chunk_size} samples; "
        "test accuracy after the last stage",
        f"{say_seeds(table)}; dots: the 95% interval (Student's t, paired by seed) of the difference excludes 0",
    )
    return figure


def differences(points: pd.DataFrame, reference: str) -> pd.DataFrame:
    """DASH minus a control at each alpha and lam of one regime: columns alpha, lam, mean, low, high, in points."""
    mapped = points[points["rule"].isin(["dash", reference]) & (points["metric"] == "test_accuracy")]
    found = paired_differences(mapped, "test_accuracy", reference)
    return found[["alpha", "lam"]].join(100 * found[["mean", "low", "high"]])


def _grid(rows: pd.DataFrame, metric: str, scale: float) -> pd.DataFrame:
    return pivot_map(rows, metric, "lam", "alpha", scale=scale)


def _name_controls(ax: Axes, points: pd.DataFrame) -> None:
    """Accuracies of the controls, in words below the first map."""
    rows = points[(points["metric"] == "test_accuracy") & points["rule"].isin(SHORT)]
    means = (100 * rows.groupby("rule")["value"].mean()).sort_values()
    words = ", ".join(f"{SHORT[str(rule)]} {value:.1f}" for rule, value in means.items())
    ax.annotate(f"for comparison: {words}", (0, -0.29), xycoords="axes fraction", fontsize=8.5, color="#444444")


def _draw_difference(ax: Axes, found: pd.DataFrame) -> None:
    """Map of the differences; dots where the interval excludes zero."""
    grid = found.pivot(index="alpha", columns="lam", values="mean")
    most = max(float(np.abs(grid.to_numpy()).max()), 0.1)
    dots = found.assign(dot=np.where((found["low"] > 0) | (found["high"] < 0), "•", ""))
    notes = dots.pivot(index="alpha", columns="lam", values="dot")
    draw_map(ax, grid, label="difference (points)", low=-most, high=most, colors="PuOr", notes=notes)


SCRIPT = Script(
    name=NAME,
    summary="DASH over alpha and lam in two-layer networks: accuracy, against uniform shrinking, time, floor.",
    config=AlphaLambdaConfig,
    num_seeds=8,
    quick={"alphas": (0.1, 0.3, 1.0), "lams": (0.05, 0.3, 0.9), "num_stages": 4, "num_test": 500},
    quick_seeds=2,
    plan=plan,
    grouped=True,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
