"""Independent runs on all cores, with progress; what has finished is handed over at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dashtheory._check import fail
from dashtheory._door import DATA
from dashtheory.errors import memory_ran_out

if TYPE_CHECKING:
    import pandas as pd

Report = Callable[[float, str], None]
"""`report(share_done, text)`: how far a run is (0 to 1), and a few words on where it is."""


class Lasting(str):
    """Words of a report that are worth a line of a log (a finished stage), not only a look."""

    __slots__ = ()


_outbox: Any = None  # in a worker process: where its reports go


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
    """

    name: str
    function: Callable[..., pd.DataFrame]
    arguments: Mapping[str, object] = field(default_factory=dict)
    resumable: bool = False
    num_stages: int | None = None
    at: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Done:
    """A finished job: its name, its table and its time in seconds."""

    name: str
    table: pd.DataFrame
    seconds: float


def run_jobs(jobs: list[Job], *, num_workers: int, total: int | None = None) -> Iterator[Done]:
    """Run `jobs` in `num_workers` processes of one thread each and yield each as it finishes.

    On a terminal, progress is a bar per running job; elsewhere, a line per finished job and lasting report, with
    the time. Both go to stderr.
    The first error of a job is raised here, after the jobs that had finished, and ends the others. If this process
    is killed, the workers end.

    Args:
        jobs: independent of each other.
        num_workers: >= 1.
        total: jobs of the whole experiment, if some had finished before this call.
    """
    context = multiprocessing.get_context("spawn")
    outbox = context.Queue()
    most = 61 if os.name == "nt" else num_workers  # what Windows can wait for
    executor = ProcessPoolExecutor(
        min(num_workers, len(jobs), most) or 1, mp_context=context, initializer=_start_worker, initargs=(outbox,)
    )
    finished_before = (total or len(jobs)) - len(jobs)
    try:
        with _Display(total or len(jobs), finished_before) as display:
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
    started = time.perf_counter()
    if "torch" in sys.modules:  # the job's function has just been imported, and torch with it if it needs it
        sys.modules["torch"].set_num_threads(1)

    def report(share: float, text: str) -> None:
        _outbox.put((job.name, share, text))

    return job.function(**job.arguments, report=report), time.perf_counter() - started


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the end of the block; then they act.

    Processes started inside never get Ctrl-C: ending them is left to this one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda got, frame: received.append(got)) for number in signals}
    masks = hasattr(signal, "pthread_sigmask")  # Windows has none; `_start_worker` makes workers deaf there
    if masks:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what a new process inherits
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number, handler in before.items():
            signal.signal(number, handler)
        for held in received:
            signal.raise_signal(held)


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


def _start_worker(outbox: Any) -> None:
    """In a worker, once: Ctrl-C is for the parent alone, which it must not outlive."""
    global _outbox
    _outbox = outbox
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


class _Display:
    """Progress of the jobs on stderr."""

    def __init__(self, total: int, finished: int) -> None:
        self.console = Console(stderr=True)
        self.total, self.finished = total, finished
        self.bars: dict[str, TaskID] = {}
        self.shares: dict[str, float] = {}
        self.progress = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> _Display:
        if not self.console.is_terminal:
            self.console.print(f"  {self.total} runs ...")
        self.progress.start()
        self.whole = self.progress.add_task("all runs", total=self.total, completed=self.finished, text="")
        if self.finished:
            self.console.print(f"  {self.finished} of {self.total} runs were finished by an earlier call")
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def update(self, outbox: Any) -> None:
        """Show all reports that have arrived."""
        while True:
            try:
                name, share, text = outbox.get_nowait()
            except queue.Empty:
                return
            if name not in self.bars:
                self.bars[name] = self.progress.add_task(name, total=1.0, text="")
            self.shares[name] = share
            self.progress.update(self.bars[name], completed=share, text=text)
            self.progress.update(self.whole, completed=self.finished + sum(self.shares.values()))
            if isinstance(text, Lasting) and not self.console.is_terminal:
                line = f"  {time.strftime('%H:%M')} {name}: {text}"
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def finish(self, run: Done) -> None:
        """Replace the job's bar by a line."""
        self.finished += 1
        self.shares.pop(run.name, None)
        if run.name in self.bars:
            self.progress.remove_task(self.bars.pop(run.name))
        self.progress.update(self.whole, completed=self.finished + sum(self.shares.values()))
        line = f"  [{self.finished}/{self.total}] {run.name}  {run.seconds:.1f} s"
        self.console.print(line, highlight=False, markup=False)
