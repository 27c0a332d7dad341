"""Slurm, through submitit: one array per thousand jobs, which outlive whoever submitted them.

submitit writes a script, a pickle and logs per job into a folder that all machines see. What it takes to find the
jobs again is kept beside, so that a later call waits for those that still go on, and submits the others anew. A
job that is preempted, or out of time, is put back into the queue and goes on where it was kept last.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dashtheory._check import fail
from dashtheory.parallel.job import Job
from dashtheory.parallel.place import HOURS, Place
from dashtheory.record.atomic import write_text

ARRAY = 1000
"""Most jobs of one array: what Slurm allows unless it is told otherwise (MaxArraySize 1001)."""
_TIMEOUTS = 10_000  # how often a job may run out of its hours: every time it goes on from its stages
_UNKNOWN = 120.0  # seconds
_YOUNG = 5.0  # seconds that a job may take to be seen in the queue
_LAST = 25  # looks
_ONE_THREAD = [f"export {name}_NUM_THREADS=1" for name in ("OMP", "OPENBLAS", "MKL")]


class Slurm:
    """Submits jobs, and finds those that an earlier call has submitted.

    Args:
        folder: for scripts, pickles, logs and what it takes to find jobs again.
        place: what each job asks for.
        cluster: "slurm", or, for tests on one machine, "local".
    """

    keeps = "scancel --name=dashtheory ends them"
    """Jobs go on when the process that has submitted them ends; what is said of them then."""

    def __init__(self, folder: Path, place: Place, cluster: str = "slurm") -> None:
        import submitit

        self._folder = folder
        self._place = place
        self._executor = submitit.AutoExecutor(
            folder=folder / "logs", cluster=cluster, slurm_max_num_timeout=_TIMEOUTS
        )
        self._executor.update_parameters(**parameters(place))
        self._job_class: Any = self._executor._executor.job_class
        self._queue = Queue()

    def submit_all(self, function: Callable[[Job], object], jobs: Sequence[Job]) -> list[Any]:
        """Jobs that go on since an earlier call, and the others, submitted now.

        Args:
            function: that carries one out.
            jobs: with files for what they end with.

        Returns:
            a future for each.

        Raises:
            ValueError: if the cluster does not take them.
        """
        known = self._still_there()
        found = {job.name: known[str(job.ended)] for job in jobs if str(job.ended) in known}
        new = [job for job in jobs if job.name not in found]
        after = ""
        for start in range(0, len(new), ARRAY):
            group = new[start : start + ARRAY]
            futures = self._submitted(function, group, after)
            found |= dict(zip((job.name for job in group), futures, strict=True))
            after = str(futures[0].job_id).partition("_")[0]
        return [found[job.name] for job in jobs]

    def _submitted(self, function: Callable[[Job], object], group: Sequence[Job], after: str) -> list[Any]:
        """One array, which begins when the one before has ended, so that the width of arrays is that of all."""
        if after and self._place.array:
            self._executor.update_parameters(slurm_dependency=f"afterany:{after}")
        try:
            with self._executor.batch():
                futures = [self._executor.submit(function, job) for job in group]
            ids = {str(job.ended): str(future.job_id) for job, future in zip(group, futures, strict=True)}
        except Exception as error:  # submitit's own, with what sbatch has said
            said = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
            fail(
                "--on slurm",
                "must be able to submit",
                said.strip(),
                "Nothing has run; ask for what the cluster has.",
            )
        self._records.mkdir(parents=True, exist_ok=True)
        write_text(self._records / f"{time.time_ns()}.json", json.dumps(ids) + "\n")
        return [_Watched(future, self._queue) for future in futures]

    @property
    def _records(self) -> Path:
        return self._folder / "submitted"

    def _watched(self, number: str) -> Any:
        return _Watched(self._job_class(folder=self._folder / "logs", job_id=number), self._queue, old=True)

    def _still_there(self) -> dict[str, Any]:
        """Futures of jobs that earlier calls have submitted and that go on, by their files."""
        found: dict[str, Any] = {}
        for record in sorted(self._records.glob("[!.]*.json")):
            age = time.time() - record.stat().st_mtime
            ids = json.loads(record.read_text())
            futures = {path: self._watched(number) for path, number in ids.items()}
            alive = {path: future for path, future in futures.items() if _goes_on(future, age)}
            if not alive:
                record.unlink()
            found |= alive
        return found

    def close(self) -> None:
        """With the last job go the logs, whose runs have left their results."""
        for _ in range(_LAST):
            if not self._still_there():
                shutil.rmtree(self._folder, ignore_errors=True)
                return
            time.sleep(0.2)  # a process ends a little later than its job


class Queue:
    """Jobs of this user that Slurm still has, for clusters whose accounting (sacct) is off; asked for rarely.

    Args:
        pause: least seconds between two questions.
    """

    def __init__(self, pause: float = 10.0) -> None:
        self._pause, self._asked = pause, -math.inf
        self._numbers: frozenset[str] | None = None

    def lacks(self, number: str, since: float = -math.inf) -> bool:
        """Whether a job is known not to be there.

        Args:
            number: of the job, as 7_0.
            since: in seconds of `time.monotonic`: an answer of before tells nothing of this job.
        """
        if time.monotonic() - self._asked > self._pause:
            asked = time.monotonic()
            self._numbers, self._asked = self._ask(), asked
        return self._asked >= since and self._numbers is not None and number not in self._numbers

    def _ask(self) -> frozenset[str] | None:
        try:
            command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
            return frozenset(subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).split())
        except (OSError, subprocess.CalledProcessError):
            return None


class _Watched:
    """A job of submitit's, whose end is seen also where its state is not known.

    Args:
        job: of submitit.
        queue: asked then.
        old: whether it was submitted long enough ago to be seen in the queue.
    """

    def __init__(self, job: Any, queue: Queue, *, old: bool = False) -> None:
        self._job, self._queue, self._gone = job, queue, False
        self.job_id = str(job.job_id)
        self._seen_from = -math.inf if old else time.monotonic() + _YOUNG

    @property
    def state(self) -> str:
        """As submitit says, or GONE."""
        return "GONE" if self._gone else str(self._job.state)

    def done(self) -> bool:
        """Whether there is no more to wait for."""
        if self._job.done():
            return True
        unknown = self._job.state.upper() == "UNKNOWN" and time.monotonic() > self._seen_from
        self._gone = unknown and self._queue.lacks(self.job_id, self._seen_from)
        return self._gone

    def _interrupt(self) -> None:
        self._job._interrupt()


def _goes_on(future: Any, age: float) -> bool:
    """Whether a job of an earlier call still has an end to come.

    Args:
        future: of the job.
        age: seconds since it was submitted; Slurm's accounting knows nothing of a job at first, nor after months.
    """
    return not future.done() and not (age > _UNKNOWN and future.state.upper() == "UNKNOWN")


def parameters(place: Place) -> dict[str, Any]:
    """What submitit is told.

    Args:
        place: what each job asks for.
    """
    asked: dict[str, Any] = {
        "name": "dashtheory",
        "timeout_min": max(1, round(60 * (place.hours or HOURS))),
        "nodes": 1,
        "tasks_per_node": 1,
        "cpus_per_task": 1,
        "slurm_setup": _ONE_THREAD,
        "slurm_array_parallelism": place.array or ARRAY,
    }
    if place.gpus:
        asked["gpus_per_node"] = 1
    if place.gigabytes:
        asked["mem_gb"] = place.gigabytes
    if place.partition:
        asked["slurm_partition"] = place.partition
    return asked


@contextlib.contextmanager
def opened(folder: Path, place: Place) -> Iterator[Slurm]:
    """Slurm while a call lasts.

    Args:
        folder: for what is kept of submissions.
        place: what each job asks for.
    """
    engine = Slurm(folder, place)
    yield engine
    engine.close()  # not after an error: its jobs go on, and logs say what was wrong
