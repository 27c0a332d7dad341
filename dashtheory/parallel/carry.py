"""What a process of an executor does with a job: carry it out, and leave a file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

from dashtheory.parallel.ended import failed, write_error, write_table
from dashtheory.parallel.job import Job, Lasting


class Carry:
    """Carries out a job; picklable, and known to submitit as something that can be stopped and begun again."""

    def __call__(self, job: Job) -> str:
        """Run `job` and leave what it ends with in `job.ended`, an error too, unless an earlier start did.

        Args:
            job: with a file to leave it in.

        Returns:
            its name: what it ends with comes in no other way than by the file.
        """
        assert job.ended is not None
        if job.ended.exists() and not failed(job.ended, job.name):
            return job.name
        started = time.perf_counter()
        try:
            with _one_thread():
                table = job.function(**job.arguments, report=_Log(job.name))
            write_table(job.ended, job, table, time.perf_counter() - started)
        except Exception as error:
            write_error(job.ended, job, error)
        return job.name

    def checkpoint(self, job: Job) -> object:
        """What submitit puts back into the queue when it must stop: the same, whose stages are in its folder.

        Args:
            job: that was being carried out.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


class _Log:
    """Writes what is worth a line into the log of whoever carries a job out.

    Args:
        name: of the job.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, share: float, text: str) -> None:
        if isinstance(text, Lasting):
            print(f"{time.strftime('%H:%M')} {self.name}: {text}", file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for matrix products, as in the processes of `run_jobs`: sums then have one order."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with threadpool_limits(1):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)
