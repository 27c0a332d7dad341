"""Jobs carried out by an executor, wherever its workers are: what they end with is taken from their files.

The executor only says when there is no more to wait for. A job whose worker was killed ends no other: it is told
after all others have ended, and the same call runs it again. The error of a job itself ends the wait at once, as
it does for processes of this machine. Jobs that an executor `keeps` (in the queue of a cluster) outlive this
process; all others are cancelled with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from dashtheory._check import fail
from dashtheory.parallel.carry import Carry
from dashtheory.parallel.ended import read, taken, there
from dashtheory.parallel.held import interrupts_held
from dashtheory.parallel.job import Done, Job
from dashtheory.parallel.show import Display

PAUSE = 0.2
"""Least seconds between two looks."""
_SHARE = 20  # a look takes at most one part in so many of the time
GRACE = 2.0
"""Seconds that a file may come later than the word of its end, on a file system that machines share."""


def run_by(executor: Any, jobs: Sequence[Job], total: int | None = None) -> Iterator[Done]:
    """Let an executor carry out jobs, and yield each as its file appears.

    Args:
        executor: as in `dashtheory.parallel.run_jobs`. One with `submit_all(function, jobs)` gets them at once.
        jobs: independent of each other.
        total: jobs of the whole experiment, if some had finished before this call.

    Raises:
        ValueError: the error of a job; in the end, if some came to none.
    """
    with contextlib.ExitStack() as stack:
        display = stack.enter_context(Display(total or len(jobs), (total or len(jobs)) - len(jobs)))
        named = [job for job in jobs if job.ended]
        if len(named) < len(jobs):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dashtheory-")))
            named = [_with_file(job, folder / f"{place}.json") for place, job in enumerate(jobs)]
        waiting = _Waiting(named)
        for done in taken(named):
            waiting.left.pop(done.name)
            yield done
            display.finish(done)
        stack.callback(waiting.cancel, executor)
        waiting.submit(executor)
        while waiting.left:
            began = time.monotonic()
            for done in waiting.look():
                yield done  # the caller saves it; only then is it announced
                display.finish(done)
            if waiting.left:
                time.sleep(max(PAUSE, _SHARE * (time.monotonic() - began)))
        waiting.tell()


def _with_file(job: Job, path: Path) -> Job:
    return job if job.ended else dataclasses.replace(job, ended=path)


class _Waiting:
    """Jobs that an executor has, and that have not come to an end.

    Args:
        jobs: each with a file for what it ends with.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.left = {job.name: job for job in jobs}
        self._futures: dict[str, Any] = {}
        self._silent: dict[str, float] = {}  # since when it is said to have ended, and there is no file
        self._lost: dict[str, str] = {}

    def submit(self, executor: Any) -> None:
        """Hand all of them to the executor."""
        jobs = list(self.left.values())
        with interrupts_held():
            if hasattr(executor, "submit_all"):
                futures = executor.submit_all(Carry(), jobs)
            else:
                futures = [executor.submit(Carry(), job) for job in jobs]
        self._futures = dict(zip(self.left, futures, strict=True))

    def look(self) -> Iterator[Done]:
        """What has ended since the last look; the first error comes last."""
        files = {job.ended: job for job in self.left.values() if job.ended}
        come = there(files)
        errors: list[ValueError] = []
        for path in sorted(come):
            name = files[path].name
            try:
                done = read(path, name)
            except ValueError as error:
                path.unlink(missing_ok=True)  # told now; another call tries again
                errors.append(error)
                continue
            del self.left[name]
            yield done
        for name in [name for name, job in self.left.items() if job.ended not in come]:
            self._look_at(name)
        if errors:
            raise errors[0]

    def _look_at(self, name: str) -> None:
        """Give up a job that is said to have ended and has left no file."""
        if not self._futures[name].done():
            self._silent.pop(name, None)  # begun again
        elif time.monotonic() - self._silent.setdefault(name, time.monotonic()) > GRACE:
            self._lost[name] = _why(self._futures[name])
            del self.left[name]

    def tell(self) -> None:
        """Refuse to go on without the jobs that left nothing.

        Raises:
            ValueError: if there are some.
        """
        for name, why in self._lost.items():
            more = f" (and {len(self._lost) - 1} more)" if len(self._lost) > 1 else ""
            fail(f"run {name}", "must not be killed", f"{why}{more}", "Its finished stages are kept: call again.")

    def cancel(self, executor: Any) -> None:
        """Let go of what has not ended, unless the executor keeps it."""
        going = [name for name in self.left if name in self._futures and not self._futures[name].done()]
        if not getattr(executor, "keeps", False):
            for name in going:
                self._futures[name].cancel()
        elif going:
            words = "1 run goes" if len(going) == 1 else f"{len(going)} runs go"
            print(f"{words} on without this call; {executor.keeps}", file=sys.stderr)  # noqa: T201


def _why(future: Any) -> str:
    """In a few words, how a job came to no end."""
    state = getattr(future, "state", "")
    if isinstance(state, str) and state:
        return f"a dead process ({state})"
    with contextlib.suppress(Exception, CancelledError):
        error = future.exception(timeout=0)
        if error is not None:
            return f"a dead process ({type(error).__name__})"
    return "a dead process"
