"""Let results grow: use the runs that are there and fit, compute the others, keep each as it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dashtheory._check import fail
from dashtheory.parallel import Done, Job, interrupts_held, run_jobs
from dashtheory.record import PROBLEM, Results, load_results
from dashtheory.record.results import identity_of


def reused(empty: Results, jobs: Sequence[Job], paths: Sequence[Path], trusted: Sequence[str] = ()) -> Results:
    """The runs of some jobs that are saved and fit; why others do not is said on stderr.

    Args: empty: results without runs. jobs: that are wanted. paths: of saved results, the most trusted first.
        trusted: parts of an identity that need not fit (`dashtheory.record.results`).
    """
    found = empty
    refused: dict[str, list[str]] = {}
    for path in paths:
        saved = _loaded(path)
        for job in jobs:
            if saved is None or job.name not in saved.runs or found.reached(job.name, job.num_stages):
                continue
            reason = saved.misfit(job.name, identity_of(job, empty.data), trusted)
            if reason:
                refused.setdefault(reason, []).append(job.name)
                continue
            found = found.joined(saved.only([job.name]))
    _say(refused, found)
    return found


def others(empty: Results, jobs: Sequence[Job], paths: Sequence[Path]) -> Results:
    """Saved runs that are none of the jobs: more seeds or rules of an earlier call. Args: as `reused`."""
    found, wanted = empty, {job.name for job in jobs}
    for path in paths:
        saved = _loaded(path)
        for name in [] if saved is None else saved.runs:
            if saved is not None and name not in wanted and name not in found.runs:
                found = found.joined(saved.only([name]))
    return found


def _say(refused: Mapping[str, Sequence[str]], found: Results) -> None:
    for reason, names in refused.items():
        again = [name for name in dict.fromkeys(names) if name not in found.runs]
        if again:
            more = f" and {len(again) - 1} more" if len(again) > 1 else ""
            print(f"not used again, made with {reason}: {again[0]}{more}", file=sys.stderr)  # noqa: T201


def _loaded(path: Path) -> Results | None:
    """Saved results, or None if there are none that can be read; what is wrong is said on stderr."""
    if not path.exists():
        return None
    try:
        return load_results(path)
    except ValueError as error:
        print(f"not used again: {error}", file=sys.stderr)  # noqa: T201
        return None


def grow(
    jobs: Sequence[Job],
    results: Results,
    *,
    num_workers: int,
    folder: Path,
    save: Callable[[Results], object],
    device: str = "cpu",
    go_on: bool = False,
) -> tuple[Results, dict[str, str]]:
    """Compute the jobs that `results` do not hold, and keep each as it ends.

    Args: jobs: that are wanted. results: of earlier calls. num_workers: processes. folder: of checkpoints of jobs
        that keep some; those of a job go when it is complete. save: called with the results after each job.
        device: what computes, in words. go_on: whether a run whose loss is not finite is only told on stderr.
    Returns: the results with all that was computed; and why runs did not go on, by name.
    Raises: ValueError if a run came to no good end, after all others have ended.
    """
    missing = [job for job in jobs if not results.reached(job.name, job.num_stages)]
    by_name = {job.name: job for job in missing}
    problems: dict[str, str] = {}
    started = [_with_folder(job, _checkpoints(folder, job, results.data)) for job in missing]
    for done in run_jobs(started, num_workers=num_workers, total=len(jobs)) if started else ():
        job = by_name[done.name]
        with interrupts_held():
            results = _with(results, job, done, device)
            save(results)
            if results.reached(job.name):
                shutil.rmtree(_checkpoints(folder, job, results.data), ignore_errors=True)
            if problem := done.table.attrs.get(PROBLEM):
                print(f"{job.name}: {problem}", file=sys.stderr)  # noqa: T201
                problems[job.name] = str(problem)
    with contextlib.suppress(OSError):  # not empty: stages of runs that are not complete; or never made
        (folder / "checkpoints").rmdir()
    if problems and not go_on:
        name, problem = next(iter(problems.items()))
        fail(f"run {name}", "must end with a finite loss", problem, "The other runs are kept.")
    return results, problems


def _with(results: Results, job: Job, done: Done, device: str) -> Results:
    return results.with_run(
        job.name,
        done.table,
        identity=identity_of(job, results.data),
        seconds=done.seconds,
        complete=not done.table.empty and (job.whole is None or int(done.table["stage"].max()) >= job.whole),
        device=device,
    )


def _checkpoints(folder: Path, job: Job, data: Mapping[str, object]) -> Path:
    """Where a job keeps its stages: another setting has another folder."""
    return folder / "checkpoints" / f"{job.name}-{identity_of(job, data)['setting'][:12]}"


def _with_folder(job: Job, checkpoints: Path) -> Job:
    """The job, told where its checkpoints go if it keeps any."""
    if not job.resumable:
        return job
    return dataclasses.replace(job, arguments={**job.arguments, "folder": checkpoints})
