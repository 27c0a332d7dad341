"""Toy experiments for the tests of the command line: importable by name, so that workers find them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from dashtheory._check import real
from dashtheory.command.script import Script
from dashtheory.parallel import Job, Report
from dashtheory.record import concatenate, group_name, make_table


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Everything that an option may be."""

    slope: float = field(default=2.0, metadata={"help": "of the line"})
    rules: tuple[str, ...] = field(default=("cold", "warm"), metadata={"help": "names"})
    num_stages: int = field(default=3, metadata={"help": "stages"})
    pause: float = field(default=0.0, metadata={"help": "seconds per run"})
    log: str = field(default="", metadata={"help": "file that gets a line per run"})
    error: str = field(default="", metadata={"help": "what a run fails with"})

    def __post_init__(self) -> None:
        real("slope", self.slope, low=0, fix="Lines here go up.")


def run_line(config: ToyConfig, rule: str, seed: int, report: Report) -> pd.DataFrame:
    """A line through the seed."""
    if config.log:
        with Path(config.log).open("a") as log:
            log.write(f"{rule}-{seed}\n")
    report(0.5, "half way")
    time.sleep(config.pause)
    if config.error and seed == 1:
        raise (RuntimeError if config.error.startswith("torch") else ValueError)(config.error)
    return make_table(
        {
            "level": "toy",
            "experiment": "toy",
            "rule": rule,
            "seed": seed,
            "stage": stage,
            "metric": "m",
            "value": config.slope * stage + seed,
        }
        for stage in range(1, config.num_stages + 1)
    )


def plan(config: ToyConfig, seeds: Sequence[int]) -> list[Job]:
    """A job per seed and rule."""
    return [
        Job(
            name=f"{rule}-{seed}",
            function=run_line,
            arguments={"config": dataclasses.replace(config, rules=(rule,)), "rule": rule, "seed": seed},
        )
        for seed in seeds
        for rule in config.rules
    ]


def draw(table: pd.DataFrame, config: ToyConfig) -> Figure:
    """A line."""
    figure, ax = plt.subplots(figsize=(2, 2))
    ax.plot(table["stage"], table["value"])
    return figure


TOY = Script(
    name="toy",
    summary="A toy.",
    config=ToyConfig,
    num_seeds=2,
    quick={"num_stages": 1},
    quick_seeds=1,
    plan=plan,
    draw=draw,
    facts=lambda: {"source": "arithmetic"},
)


def run_lines(config: ToyConfig, rule: str, seeds: list[int], report: Report) -> pd.DataFrame:
    """The lines of several seeds in one job."""
    return concatenate(run_line(config, rule, seed, report) for seed in seeds)


def plan_groups(config: ToyConfig, seeds: Sequence[int]) -> list[Job]:
    """A job per rule, for all seeds together."""
    return [
        Job(
            name=f"{rule}-{group_name(seeds)}",
            function=run_lines,
            arguments={"config": dataclasses.replace(config, rules=(rule,)), "rule": rule, "seeds": list(seeds)},
        )
        for rule in config.rules
    ]


GROUPED = dataclasses.replace(TOY, name="grouped", plan=plan_groups, grouped=True)

if __name__ == "__main__":
    import sys

    from dashtheory.command.script import main
    from tests.toys import TOY as IMPORTED  # workers find its functions in tests.toys, not in __main__

    sys.exit(main(IMPORTED))
