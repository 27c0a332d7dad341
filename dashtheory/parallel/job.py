"""What a run is: a job, what it reports, and what it ends with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Report = Callable[[float, str], None]
"""`report(share_done, text)`: how far a run is (0 to 1), and a few words on where it is."""

Heard = Callable[[str, float, str], None]
"""`heard(job, share_done, text)`: a report, where it arrives."""


class Lasting(str):
    """Words of a report that are worth a line of a log (a finished stage), not only a look.

    Args:
        text: the words.
        row: the numbers that they tell of, by name, for whoever follows a run.
    """

    __slots__ = ("row",)
    row: Mapping[str, float]

    def __new__(cls, text: str, row: Mapping[str, float] | None = None) -> Lasting:
        """A text that knows its numbers."""
        made = super().__new__(cls, text)
        made.row = dict(row or {})
        return made


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: `function(**arguments, report=...)` returns its tidy table.

    Attributes:
        name: unique, and fit for a file name.
        function: importable by name, so that a worker can find it.
        arguments: what it is called with; must be picklable.
        resumable: whether it also takes `folder=...`, where it may keep checkpoints until it has ended.
        num_stages: stages that are wanted of it; None: all.
        at: the stages that are enough, if not all of these.
        ended: the file in which it leaves what it ends with, where an executor carries it out.
        gigabytes: of a device's memory (2^30 bytes each) that it needs, by an estimate; 0: nothing is known.
    """

    name: str
    function: Callable[..., pd.DataFrame]
    arguments: Mapping[str, object] = field(default_factory=dict)
    resumable: bool = False
    num_stages: int | None = None
    at: tuple[int, ...] = ()
    ended: Path | None = None
    gigabytes: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Done:
    """A finished job.

    Attributes:
        name: of the job.
        table: what it has returned.
        seconds: wall time.
        made: what the process that computed it says of itself, if that was another machine's: machine, versions,
            finished (a time), and the parts of the run's identity that depend on where it is computed.
    """

    name: str
    table: pd.DataFrame
    seconds: float
    made: Mapping[str, Any] = field(default_factory=dict)


def moved(job: Job, device: str) -> Job:
    """The job, computed by another device if it takes one.

    Args:
        job: that names a device, or none.
        device: "cuda:1".
    """
    if "device" not in job.arguments:
        return job
    return dataclasses.replace(job, arguments={**job.arguments, "device": device})
