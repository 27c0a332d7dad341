"""The paper's runs at toy size, for tests: the embedded digits, two or three chunks, two epochs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dashtheory.deep.config import RunConfig
from dashtheory.deep.run import run_rule
from dashtheory.paper import preset
from dashtheory.parallel import Done, Job, Report
from dashtheory.parallel.pool import _finished
from dashtheory.record import stage_rows

SMALL: dict[str, Any] = {
    "num_chunks": 3,
    "chunk_size": 70,
    "max_epochs": 2,
    "precision": "float32",
    "channels_last": False,
    "histograms": 1,
    "model_options": ("widths=16+16",),
    "seconds": False,
    "device": "cpu",
}


BARE: dict[str, Any] = {"histograms": 0, "retention": -1}
"""Nothing is measured but scores and norms of weights."""


def silent(share: float, text: str) -> None:
    """Tell nobody."""


def toy(name: str = "digits-mlp", **changed: Any) -> RunConfig:
    """A preset of the digits, cut down."""
    return preset(name, **{**SMALL, **changed})


def run_toy(
    config: RunConfig,
    folder: Path,
    rule: str = "dash",
    *,
    seed: int = 0,
    report: Report = silent,
    deadline: float | None = None,
) -> pd.DataFrame:
    """One run on the CPU."""
    torch.set_num_threads(1)
    return run_rule(config, rule, seed, "toy", report, folder, deadline=deadline)


def run_until(config: RunConfig, folder: Path, rule: str, moment: str) -> None:
    """A run that kills itself: at the first report that begins so, or while it writes the stage named so."""

    def report(share: float, text: str) -> None:
        if text.startswith(moment):
            os.kill(os.getpid(), signal.SIGKILL)

    written = Path.write_bytes

    def write(path: Path, data: bytes) -> int:
        if f'"{moment[:5]}": {moment[6:]}'.encode() in data[:300]:
            written(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return written(path, data)

    Path.write_bytes = write  # type: ignore[method-assign, assignment]
    run_toy(config, folder, rule, report=report)


def serially(jobs: list[Job], *, num_workers: int, total: int | None = None) -> Iterator[Done]:
    """`dashtheory.parallel.run_jobs` in this process, one job after another; each takes two seconds."""
    for job in jobs:
        future: Future[tuple[pd.DataFrame, float]] = Future()
        try:
            future.set_result((job.function(**job.arguments, report=silent), 2.0))
        except Exception as error:
            future.set_exception(error)
        yield _finished(future, job)


def stages_of(table: pd.DataFrame) -> list[dict[str, float]]:
    """Metrics of each stage of a run, in order, but wall times."""
    kept = table[~table["metric"].str.endswith("_seconds")]
    return [dict(zip(rows["metric"], rows["value"], strict=True)) for _, rows in kept.groupby("stage")]


def made_table(
    value: Callable[[str, int, int, str], float],
    rules: tuple[str, ...] = ("cold", "warm"),
    seeds: tuple[int, ...] = (0, 1, 2),
    stages: int = 3,
    metrics: tuple[str, ...] = ("test_accuracy", "steps"),
) -> pd.DataFrame:
    """A tidy table of any numbers: value(rule, seed, stage, metric)."""
    return pd.DataFrame(
        row
        for rule in rules
        for seed in seeds
        for stage in range(1, stages + 1)
        for row in stage_rows(
            level="deep",
            experiment="toy",
            rule=rule,
            seed=seed,
            stage=stage,
            metrics={metric: value(rule, seed, stage, metric) for metric in metrics},
        )
    )
