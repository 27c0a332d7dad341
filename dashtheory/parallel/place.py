"""Where runs are computed: here, by Slurm, or by a Dask cluster; checked before anything is submitted."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dashtheory._check import fail, integer, real

PATIENCE = 10.0
"""Seconds that a scheduler may take to answer."""
LOCAL, SLURM, DASK = "local", "slurm", "dask"
_NEEDED = ("sbatch", "srun", "sacct", "scancel", "scontrol")
HOURS = 24.0
"""Time of a run by Slurm, if nothing is said."""

_START = "Start some on a command line: dask worker ADDRESS --nthreads 1 --nworkers N."


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where runs are computed, and what each may ask for.

    Attributes:
        on: "local", "slurm" or "dask:ADDRESS", the address of a scheduler as tcp://HOST:PORT.
        partition: of Slurm's; empty: its default.
        hours: of Slurm's time for a run; a run that needs more is put back into the queue and goes on. 0: 24.
        gpus: here: GPUs that the runs are spread over, one at a time for a process; by Slurm: of each run, 0 or 1.
        array: runs at once by Slurm; 0: as many as it allows.
        gigabytes: memory of each run by Slurm; 0: its default. Here: of a run on its GPU, so that as
            many go at once on each as it can hold; 0: not looked at.

    Raises:
        ValueError: if a value is none, or there is no such place from here.
    """

    on: str = LOCAL
    partition: str = ""
    hours: float = 0.0
    gpus: int = 0
    array: int = 0
    gigabytes: float = 0.0

    def __post_init__(self) -> None:
        kind = self.kind
        if kind not in (LOCAL, SLURM, DASK) or (kind == DASK) != (":" in self.on):
            fail("on", "must be local, slurm or dask:ADDRESS", repr(self.on), "Leave it out for this machine.")
        real("hours", self.hours, low=0, fix="It is the time of one run before it is put back into the queue.")
        real("gigabytes", self.gigabytes, low=0, fix="It is the memory of one run.")
        integer("array", self.array, minimum=0, fix="It is the number of runs at once.")
        integer("gpus", self.gpus, minimum=0, fix="It is a number of GPUs.")
        given = [name for name in ("partition", "hours", "array") if getattr(self, name)]
        if self.gigabytes and kind != SLURM and not (self.here and self.gpus):
            fail("gigabytes", "must come with Slurm or with gpus", f"'{self.on}'", "Leave it out.")
        if given and kind != SLURM:
            fail(given[0], "must come with Slurm", f"'{self.on}'", "Say on=slurm, or leave it out.")
        if self.partition and not re.fullmatch(r"[\w.,+-]+", self.partition):
            fail("partition", "must be a name of Slurm's", repr(self.partition), "sinfo lists them.")
        if kind == SLURM:
            _check_slurm(self.gpus)
        if kind == DASK:
            _check_dask(self.on.partition(":")[2], self.gpus)

    @property
    def kind(self) -> str:
        """The kind of place: local, slurm or dask."""
        return self.on.partition(":")[0]

    @property
    def here(self) -> bool:
        """Whether it is this machine."""
        return self.kind == LOCAL

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices of this machine that runs are spread over; none if each run names its own."""
        return tuple(f"cuda:{number}" for number in range(self.gpus)) if self.here else ()

    def opened(self, folder: Path) -> AbstractContextManager[Any]:
        """What carries runs out, for `dashtheory.parallel.run_jobs`; None for processes of this machine.

        Args:
            folder: for what is kept of submissions; all machines must see it.
        """
        if self.kind == SLURM:
            from dashtheory.parallel import slurm

            return slurm.opened(folder / SLURM, self)
        return _dask(self.on.partition(":")[2]) if self.kind == DASK else contextlib.nullcontext()


HERE = Place()


def _check_slurm(gpus: int) -> None:
    if gpus > 1:
        fail("gpus", "must be 0 or 1 of each run", gpus, "A run uses one GPU; array=N lets N runs go at once.")
    _need("submitit", SLURM)
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        fail("on", "must find Slurm's commands", f"no {', '.join(missing)}", "Call it where jobs are submitted.")


def _check_dask(address: str, gpus: int) -> None:
    if gpus:
        fail(
            "gpus",
            "must be left out for a Dask cluster",
            gpus,
            "Start a worker for each GPU, and say device=cuda.",
        )
    if not re.fullmatch(r"(tcp|tls|ucx)://[^\s/]+:\d+", address):
        fail(
            "on", "must name a scheduler as dask:tcp://HOST:PORT", repr(address), "The scheduler says its address."
        )
    _need("distributed", DASK)


def _need(module: str, extra: str) -> None:
    if find_spec(module) is None:
        fail("on", f"must find {module}", "none", f"pip install 'dashtheory[{extra}]'")


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Any]:
    """An executor of a Dask cluster that is there; what is not done is cancelled with the call."""
    import distributed

    connect: Any = distributed.Client  # partly typed, and not there for every type checker
    try:
        client = connect(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        fail(
            "on", "must reach the scheduler", f"'{address}' ({type(error).__name__})", "Start it, or wait for it."
        )
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:
            fail("on", "must have workers", f"none at '{address}'", _START)
        threads = max(worker["nthreads"] for worker in workers)
        if threads > 1:
            fail("on", "must have workers of one thread each", threads, _START)
        yield client.get_executor(pure=False)
