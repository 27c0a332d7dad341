"""Independent runs in processes of this machine; what has finished is handed over at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from dashtheory._check import fail
from dashtheory._door import DATA
from dashtheory.errors import memory_ran_out
from dashtheory.parallel.held import interrupts_held
from dashtheory.parallel.job import Done, Heard, Job, moved
from dashtheory.parallel.room import Rooms, must_have_room
from dashtheory.parallel.show import Display

if TYPE_CHECKING:
    import pandas as pd

_outbox: Any = None  # in a worker process: where its reports go
_device = ""  # in a worker process: the device that is its own; empty: each job's
_rooms: Rooms | None = None  # in a worker process: where each job finds a device that can hold it


def run_jobs(
    jobs: list[Job],
    *,
    num_workers: int = 1,
    total: int | None = None,
    devices: Sequence[str] | Mapping[str, float] = (),
    executor: Any = None,
    heard: Heard | None = None,
) -> Iterator[Done]:
    """Run `jobs` and yield each as it finishes: in processes of one thread each, or by an executor.

    On a terminal, progress is a bar per running job; elsewhere, a line per finished job and lasting report, with
    the time. Both go to stderr.
    The first error of a job is raised here, after the jobs that had finished, and ends the others. If this process
    is killed, the workers end. An executor's are not this process's: `dashtheory.parallel.engine` says what
    becomes of them.

    Args:
        jobs: independent of each other.
        num_workers: processes, >= 1.
        total: jobs of the whole experiment, if some had finished before this call.
        devices: the workers take these in turn and keep them; a job that names a device gets its worker's. With
            the gigabytes that are free on each, every job waits for a device that has its `Job.gigabytes` left.
        executor: with `submit`, which returns what has `done`, `exception` and `cancel`, as those of
            `concurrent.futures`, submitit and Dask. What jobs end with is left in their `Job.ended`, for later
            calls too; where they name none, in a folder of this machine that goes with this call.
        heard: is told of every report: job, share, text. An executor's jobs report in their own logs.
    """
    if executor is None:
        return _in_processes(jobs, num_workers, total, devices, heard)
    from dashtheory.parallel.engine import run_by  # here: it writes files, and files know nothing of jobs

    return run_by(executor, jobs, total)


def _in_processes(
    jobs: list[Job],
    num_workers: int,
    total: int | None,
    devices: Sequence[str] | Mapping[str, float],
    heard: Heard | None,
) -> Iterator[Done]:
    context = multiprocessing.get_context("spawn")
    outbox = context.Queue()
    most = 61 if os.name == "nt" else num_workers  # what Windows can wait for
    started = min(num_workers, len(jobs), most) or 1
    if isinstance(devices, Mapping):
        must_have_room(jobs, devices)
    executor = ProcessPoolExecutor(
        started,
        mp_context=context,
        initializer=_start_worker,
        initargs=(outbox, _shared(devices, started, context) if devices else None),
    )
    finished_before = (total or len(jobs)) - len(jobs)
    try:
        with Display(total or len(jobs), finished_before, heard) as display:
            with interrupts_held(), _one_thread_each():
                pending = {executor.submit(_call, job): job for job in jobs}
            order = {future: place for place, future in enumerate(pending)}
            while pending:
                done, _ = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                display.update(outbox)
                for future in sorted(done, key=lambda one: (one.exception() is not None, order[one])):
                    run = _finished(future, pending.pop(future))
                    yield run  # the caller saves it; only then is it announced
                    display.finish(run)
    finally:
        _stop(executor)


def _shared(devices: Sequence[str] | Mapping[str, float], started: int, context: Any) -> Any:
    """What tells workers of their devices: a queue of one for each of them, or rooms for each job."""
    if isinstance(devices, Mapping):
        return Rooms(devices, context)
    free = context.Queue()
    free.cancel_join_thread()
    for place in range(started):
        free.put(devices[place % len(devices)])
    return free


def _finished(future: Future[tuple[pd.DataFrame, float]], job: Job) -> Done:
    try:
        table, seconds = future.result()
    except BrokenProcessPool:
        fail(f"run {job.name}", "must not be killed", "a dead process", "If memory ran out, lower jobs=.")
    except RuntimeError as error:  # torch's word for what it cannot allocate or compute
        fix = "Try smaller sizes." if memory_ran_out(error) else DATA
        fail(f"run {job.name}", "must end without an error", str(error).split("\n", 1)[0], fix)
    return Done(name=job.name, table=table, seconds=seconds)


def _call(job: Job) -> tuple[pd.DataFrame, float]:
    """In a worker: run one job."""
    if "torch" in sys.modules:  # the job's function has just been imported, and torch with it if it needs it
        sys.modules["torch"].set_num_threads(1)

    def report(share: float, text: str) -> None:
        _outbox.put((job.name, share, text))

    with contextlib.nullcontext(_device) if _rooms is None else _rooms.taken(job.gigabytes) as device:
        started = time.perf_counter()
        if device:
            job = moved(job, device)
        return job.function(**job.arguments, report=report), time.perf_counter() - started


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes started inside use one thread for matrix products, whatever library computes them."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _start_worker(outbox: Any, shared: Any) -> None:
    """In a worker, once: Ctrl-C is for the parent alone, which it must not outlive; a device is taken for good."""
    global _outbox, _device, _rooms
    _outbox = outbox
    if isinstance(shared, Rooms):
        _rooms = shared
    elif shared is not None:
        _device = shared.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    outbox.cancel_join_thread()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _stop(executor: ProcessPoolExecutor) -> None:
    """End the workers, busy ones too."""
    workers = list((executor._processes or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        with contextlib.suppress(OSError, ValueError):
            worker.terminate()
