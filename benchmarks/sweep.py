"""What a sweep of 10,000 jobs asks of the process that waits for it, and of the folder of its results.

    python -m benchmarks.sweep [--quick] [--out benchmarks/results]

The jobs compute nothing: what is measured is the store. An executor in this process carries each out, as a worker
of a cluster would, and leaves its file; the rest is what the waiting process does: identities, looking for files,
taking them, saving the table. What grows with the number of jobs (a look at the folder, the table) is measured at
10,000 of them. TMPDIR says on which disk. Writes OUT/sweep.json.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.discrete import circumstances
from benchmarks.script import write_record
from dashtheory.command.grow import grow, identities_of
from dashtheory.command.ways import Way
from dashtheory.parallel import Job, Report
from dashtheory.parallel.ended import there
from dashtheory.record import Results, load_results, only_one, stage_rows
from dashtheory.record.table import make_table

SIZES = (100, 1000, 10_000)
LARGEST = SIZES[-1]
NUM_STAGES = 4


def trivial(seed: int, report: Report) -> pd.DataFrame:
    """Four stages of nothing.

    Args:
        seed: root seed.
        report: told of nothing.
    """
    table = _table()
    return table.assign(seed=seed, value=table["value"] / (seed + 3))


@cache
def _table() -> pd.DataFrame:
    return make_table(
        row
        for stage in range(1, NUM_STAGES + 1)
        for row in stage_rows(
            level="deep",
            experiment="sweep",
            rule="warm",
            seed=0,
            stage=stage,
            metrics={"test_accuracy": 1.0, "steps": 1.0},
        )
    )


class Here:
    """An executor whose workers are this process; their time is told apart.

    Attributes:
        cpu: seconds of CPU time of the workers.
        clock: seconds.
        files: that they left.
        bytes: of these.
    """

    keeps = False

    def __init__(self) -> None:
        self.cpu = self.clock = 0.0
        self.files = self.bytes = 0

    def submit(self, function: Any, job: Job) -> Future[str]:
        """Carry out a job at once.

        Args:
            function: that does it.
            job: with a file.
        """
        cpu, clock = time.process_time(), time.perf_counter()
        future: Future[str] = Future()
        future.set_result(function(job))
        self.cpu += time.process_time() - cpu
        self.clock += time.perf_counter() - clock
        assert job.ended is not None
        self.files += 1
        self.bytes += job.ended.stat().st_size
        return future


class InProcess(Way):
    """The way to `Here`."""

    executor: Here

    @contextmanager
    def opened(self, folder: Path) -> Any:
        """The executor.

        Args:
            folder: not used.
        """
        yield {"executor": self.executor}


def sweep(num_jobs: int) -> dict[str, Any]:
    """Seconds of a sweep of so many jobs, per job and in all."""
    way = InProcess()
    executor = Here()
    object.__setattr__(way, "executor", executor)
    jobs = [Job(name=f"warm-seed{seed}", function=trivial, arguments={"seed": seed}) for seed in range(num_jobs)]
    with tempfile.TemporaryDirectory() as name:
        folder, saves = Path(name), list[float]()
        table = folder / "sweep.csv"

        def save(results: Results) -> None:
            began = time.process_time()
            results.save(table)
            saves.append(time.process_time() - began)

        cpu, clock = time.process_time(), time.perf_counter()
        identities = identities_of(jobs, {})
        known = time.process_time() - cpu
        results, _ = grow(
            jobs,
            Results(name="sweep", config={}),
            identities,
            num_workers=1,
            folder=folder / ".partial",
            save=save,
            pause=30.0,
            way=way,
        )
        cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
        began = time.process_time()
        assert len(load_results(table).runs) == len(results.runs) == num_jobs
        loaded = time.process_time() - began
        sizes = {path.suffix: path.stat().st_size for path in (table, table.with_suffix(".json"))}
    found = {
        "jobs": num_jobs,
        "worker_cpu_ms_per_job": round(1000 * executor.cpu / num_jobs, 2),
        "worker_ms_per_job": round(1000 * executor.clock / num_jobs, 2),
        "bytes_per_file": round(executor.bytes / executor.files),
        "identities_cpu_seconds": round(known, 2),
        "waiting_cpu_seconds": round(cpu - executor.cpu - known, 2),
        "waiting_seconds": round(clock - executor.clock - known, 2),
        "saves": len(saves),
        "last_save_cpu_seconds": round(saves[-1], 2),
        "load_cpu_seconds": round(loaded, 2),
        "table_bytes": sizes[".csv"],
        "facts_bytes": sizes[".json"],
    }
    print(", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    return found


def folder_of(num_files: int, content: bytes) -> dict[str, Any]:
    """Seconds to write so many files of runs by their names, and of one look at them."""
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"warm-seed{number}-0123456789ab--01234567.json" for number in range(num_files)]
        began = time.perf_counter()
        for path in paths:
            path.write_bytes(content)
        written, began, cpu = time.perf_counter() - began, time.perf_counter(), time.process_time()
        assert len(there(paths)) == num_files
        return {
            "files": num_files,
            "write_seconds": round(written, 2),
            "look_seconds": round(time.perf_counter() - began, 3),
            "look_cpu_seconds": round(time.process_time() - cpu, 3),
        }


def table_of(num_jobs: int) -> dict[str, Any]:
    """Seconds of a table of so many runs: to take them one by one, to save it, and to read it."""
    identity = dict.fromkeys(("setting", "data", "code", "own", "versions"), "0" * 32)
    results, cpu = Results(name="sweep", config={}), time.process_time()
    for seed in range(num_jobs):
        run = trivial(seed, lambda share, text: None)
        results = results.with_run(f"warm-seed{seed}", run, identity=identity, seconds=1.0)
    taken, cpu = time.process_time() - cpu, time.process_time()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "sweep.csv"
        results.save(path)
        saved, cpu = time.process_time() - cpu, time.process_time()
        assert len(load_results(path).runs) == num_jobs
        loaded = time.process_time() - cpu
        sizes = {one.suffix: one.stat().st_size for one in (path, path.with_suffix(".json"))}
    return {
        "jobs": num_jobs,
        "take_cpu_seconds": round(taken, 2),
        "save_cpu_seconds": round(saved, 2),
        "load_cpu_seconds": round(loaded, 2),
        "table_bytes": sizes[".csv"],
        "facts_bytes": sizes[".json"],
    }


def locks(repetitions: int) -> float:
    """Milliseconds to take and give back the lock of a folder."""
    with tempfile.TemporaryDirectory() as name:
        began = time.perf_counter()
        for _ in range(repetitions):
            with only_one(Path(name) / "locks" / "one.lock", "--out"):
                pass
        return round(1000 * (time.perf_counter() - began) / repetitions, 3)


def measure(*, quick: bool) -> dict[str, Any]:
    """Sweeps of several sizes; printed and returned."""
    sizes, largest = ((20, 40), 60) if quick else (SIZES, LARGEST)
    found = {"folder": folder_of(largest, b"x" * 1400), "table": table_of(largest)}
    print(found, flush=True)
    return {
        "quick": quick,
        **circumstances(),
        "stages_per_job": NUM_STAGES,
        "lock_ms": locks(10 if quick else 200),
        **found,
        "sweeps": [sweep(size) for size in sizes],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/sweep.json."""
    write_record("sweep", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
