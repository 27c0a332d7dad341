r"""The command line of the package: `dashtheory run` compares rules on pictures, text or your own data.

    dashtheory run --data digits --model narrow_resnet --rules cold,cold:weight_decay=tuned,warm,dash --seeds 5
    dashtheory run --data text --model transformer --optimizer adam --learning-rate 0.002 --batch-size 16 \
        --criterion loss --threshold 1 --chunk-size 128 --num-chunks 4
    dashtheory run --data python:mine.py:stream --model python:mine.py:network

Every field of `dashtheory.deep.config.RunConfig` is an option. A killed call goes on where it was, stage by stage.
The result is a tidy table with its provenance, and a figure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from dashtheory._version import __version__
from dashtheory.command.script import Script
from dashtheory.command.script import main as run_script
from dashtheory.deep.config import RunConfig
from dashtheory.deep.presets import describe_data, describe_setting
from dashtheory.deep.run import data_facts, rule_jobs
from dashtheory.parallel import Job
from dashtheory.plot import add_heading, describe_band, draw_stages

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


SCRIPT = Script(
    name=NAME,
    summary="Compare rules between stages on a stream of pictures, text or your own data.",
    config=RunConfig,
    num_seeds=3,
    quick={"num_chunks": 2, "chunk_size": 100, "num_test": 200, "max_epochs": 20},
    quick_seeds=1,
    plan=plan,
    staged=True,
    draw=draw,
    facts_of=data_facts,
    out=Path("runs"),
    program="dashtheory run",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:
        return run_script(SCRIPT, given[1:])
    if given in (["--version"], ["-V"]):
        print(f"dashtheory {__version__}")  # noqa: T201
        return 0
    if given in ([], ["--help"], ["-h"]):
        print((__doc__ or "").strip() + "\n\nSee dashtheory run --help.")  # noqa: T201
        return 0
    print(f"dashtheory: the first word must be run, got {given[0]!r}. See dashtheory --help.", file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main())
