"""Jobs for the tests of executors: resumable, and with numbers that only exact files keep."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pandas as pd

from dashtheory.parallel import Job, Lasting, Report
from dashtheory.record import COMPLETE, DEVICE, make_table

NUM_STAGES = 4


def staged(
    seed: int,
    log: str,
    report: Report,
    folder: Path | None = None,
    pause: float = 0.0,
    call: str = "",
    device: str = "cpu",
) -> pd.DataFrame:
    """Stage after stage, each kept in a file; the log says which stages were computed, where, and by whom.

    Args:
        seed: of the numbers.
        log: file that gets a line per stage.
        report: told of every stage.
        folder: of the stages that are kept.
        pause: seconds per stage.
        call: what the first process that comes to stage 3 tells a shell, whose parent it is.
        device: that is written into the log.
    """
    kept = Path(folder or f"{log}-{seed}")
    kept.mkdir(parents=True, exist_ok=True)
    for stage in range(1, NUM_STAGES + 1):
        if (kept / str(stage)).exists():
            continue
        if call and stage == 3 and not (kept / "called").exists():
            (kept / "called").touch()
            subprocess.run(call, shell=True, check=True)
            time.sleep(0.2)  # for a signal to arrive
        began = time.time()
        time.sleep(pause)
        (kept / str(stage)).touch()
        with Path(log).open("a") as lines:
            lines.write(f"{seed} {stage} {os.getpid()} {device} {began} {time.time()}\n")
        report(stage / NUM_STAGES, Lasting(f"stage {stage}", {"stage": stage, "m": number(seed, stage)}))
    table = make_table(
        {
            **{"level": "toy", "experiment": "e", "rule": "r", "seed": seed, "stage": stage},
            **{"lam": 0.1 / 3, "metric": "m", "value": number(seed, stage)},
        }
        for stage in range(1, NUM_STAGES + 1)
    )
    table.attrs |= {COMPLETE: True, DEVICE: "toy device"}
    return table


def number(seed: int, stage: int) -> float:
    """A number with all of its bits."""
    return (seed + 1) / (3.0 * stage + 7.0)


def failing(report: Report) -> pd.DataFrame:
    """Code of the user's with a secret in it."""
    secret = "hunter2"
    raise KeyError(f"not there{len(secret)}")


def staged_jobs(log: Path, num_jobs: int = 2, **arguments: object) -> list[Job]:
    """A job for each seed."""
    return [
        Job(
            name=f"r-seed{seed}",
            function=staged,
            arguments={"seed": seed, "log": str(log), **arguments},
            resumable=True,
        )
        for seed in range(num_jobs)
    ]


def lines_of(log: Path) -> list[list[str]]:
    """The log's lines, in words."""
    return [line.split() for line in log.read_text().splitlines()]
