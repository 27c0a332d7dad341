"""What `dashtheory run` computes and draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from dashtheory.deep.config import RunConfig
from dashtheory.deep.presets import describe_data, describe_setting
from dashtheory.deep.run import data_facts, rule_jobs
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_stages

__all__ = ["data_facts", "draw", "plan"]

NAME = "run"
_PANELS = (
    ("test_accuracy", 100.0, "test accuracy (%)", "Generalisation"),
    ("steps", 1.0, "optimizer steps", "Training time"),
    ("weight_norm", 1.0, "norm of convolution and linear weights", "Weights"),
)


def plan(config: RunConfig, seeds: Sequence[int], **limits: Any) -> list[Job]:
    """One job per seed and rule."""
    return rule_jobs(config, seeds, NAME, **limits)


def draw(table: pd.DataFrame, config: RunConfig) -> Figure:
    """Accuracy, steps and weight norm by stage."""
    figure, axes = plt.subplots(1, 3, figsize=(11.4, 4.3))
    for ax, (metric, scale, label, title) in zip(axes, _PANELS, strict=True):
        draw_stages(ax, table, metric, scale=scale, dodge=0.06)
        ax.set(ylabel=label, title=title)
    axes[0].legend(loc="best", fontsize=8)
    figure.subplots_adjust(left=0.062, right=0.988, top=0.79, bottom=0.185, wspace=0.29)
    capped = table[(table["metric"] == "converged") & (table["value"] == 0)]
    add_heading(
        figure,
        f"Rules between stages: {describe_data(config)}",
        describe_setting(config),
        describe_band(table, "sd", bars=True)
        + (
            f"; {len(capped)} stages ended at the cap of {config.training.max_epochs} epochs"
            if len(capped)
            else ""
        ),
    )
    return figure
