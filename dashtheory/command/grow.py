"""Let results grow: use the runs that are there and fit, compute the others, keep each as it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from dashtheory._check import fail
from dashtheory.command.ways import HERE, Way
from dashtheory.parallel import Done, Job, interrupts_held, run_jobs
from dashtheory.parallel.ended import taken
from dashtheory.record import PROBLEM, Results, load_results
from dashtheory.record.results import identity_of

PAUSE = 30.0
"""Least seconds between two times that a table of runs elsewhere is written: their files keep them meanwhile."""
_SHARE = 10
Identities = Mapping[str, Mapping[str, str]]
"""What each job is known by, by its name; taken once in a call: files that change meanwhile do not count."""
ENDED = "ended"
"""Folder of what jobs have ended with, until it is saved."""


def identities_of(jobs: Sequence[Job], data: Mapping[str, object]) -> Identities:
    """As `dashtheory.record.results.identity_of`.

    Args:
        jobs: that are wanted.
        data: facts about their data.
    """
    return {job.name: identity_of(job, data) for job in jobs}


def loaded(path: Path, empty: Results) -> Results:
    """Saved results, or `empty` if there are none that can be read; what is wrong is said on stderr."""
    if not path.exists():
        return empty
    try:
        return load_results(path)
    except ValueError as error:
        print(f"not used again: {error}", file=sys.stderr)  # noqa: T201
        return empty


def seed_groups(seeds: Sequence[int], saved: Sequence[Results]) -> list[list[int]]:
    """Seeds in the groups in which they have been computed together; those that are new make one more group.

    Args:
        seeds: that are wanted.
        saved: results of earlier calls.
    """
    held = Counter(
        tuple(sorted(set(table["seed"].tolist())))
        for table in {name: table for one in saved for name, table in one.tables.items()}.values()
    )
    groups, left = list[list[int]](), set(seeds)
    for together in sorted(held, key=lambda group: (-held[group] * len(group), group)):  # the most runs first
        if left.issuperset(together):
            groups.append(list(together))
            left.difference_update(together)
    return sorted([*groups, sorted(left)] if left else groups)


def reused(
    empty: Results,
    jobs: Sequence[Job],
    saved: Sequence[Results],
    identities: Identities,
    trusted: Sequence[str] = (),
) -> Results:
    """The runs of some jobs that are saved and fit; why others do not is said on stderr.

    Args:
        empty: results without runs.
        jobs: that are wanted.
        saved: what there is; of several that fit, the run with most stages is used, and the first of equals.
        identities: of the jobs.
        trusted: parts of an identity that need not fit (`dashtheory.record.results`).
    """
    found = empty
    refused: dict[str, list[str]] = {}
    for one in saved:
        for job in jobs:
            if job.name not in one.runs:
                continue
            if reason := one.misfit(job.name, identities[job.name], trusted):
                refused.setdefault(reason, []).append(job.name)
            elif job.name not in found.runs or _stages(one, job.name) > _stages(found, job.name):
                found = found.joined(one.only([job.name]))
    _say(refused, found)
    return found


def _stages(results: Results, name: str) -> int:
    return int(results.runs[name]["stages"])


def others(empty: Results, jobs: Sequence[Job], saved: Sequence[Results]) -> Results:
    """Saved runs that are none of the jobs: more seeds or rules of an earlier call.

    Of runs that hold the same stages (a group of seeds and a larger one), the longest is taken.

    Args:
        empty: results without runs.
        jobs: that are wanted.
        saved: what there is.
    """
    found, wanted = empty, {job.name for job in jobs}
    runs = [(_held(table), one, name) for one in saved for name, table in one.tables.items() if name not in wanted]
    taken: set[tuple[object, ...]] = set()
    for held, one, name in sorted(runs, key=lambda run: -len(run[0])):
        if not held & taken:
            found = found.joined(one.only([name]))
            taken |= held
    return found


def _held(table: pd.DataFrame) -> set[tuple[object, ...]]:
    """What there are rows of: stages of seeds and rules, at their points."""
    points = table[sorted(set(table.columns) - {"metric", "value"})].astype(str)  # where NaN is like NaN
    return set(points.itertuples(index=False, name=None))


def _say(refused: Mapping[str, Sequence[str]], found: Results) -> None:
    for reason, names in refused.items():
        again = [name for name in dict.fromkeys(names) if name not in found.runs]
        if again:
            print(f"not used again, made with {reason}: {named(again, most=1)}", file=sys.stderr)  # noqa: T201


def named(names: Sequence[str], most: int = 3) -> str:
    """Names in a line, the first `most` where there are more than one beyond them."""
    rest = f" and {len(names) - most:,} more" if len(names) > most + 1 else ""
    return ", ".join(names[:most] if rest else names) + rest


def grow(
    jobs: Sequence[Job],
    results: Results,
    identities: Identities,
    *,
    num_workers: int,
    folder: Path,
    save: Callable[[Results], object],
    trusted: Sequence[str] = (),
    go_on: bool = False,
    pause: float = 0.0,
    way: Way = HERE,
) -> tuple[Results, dict[str, str]]:
    """Compute the jobs that `results` do not hold, and keep each as it ends.

    With a `pause` a job that has ended may be known by its checkpoints alone for so long; a later call takes it
    from there. What jobs have ended with elsewhere while no call was there is taken first.

    Args:
        jobs: that are wanted.
        results: of earlier calls.
        identities: of the jobs.
        num_workers: processes.
        folder: of checkpoints of jobs that keep some; those of a job go when it is complete.
        save: called with the results after each job.
        trusted: parts of an identity that need not fit for a job to go on from its checkpoints.
        go_on: whether a run whose loss is not finite is only told on stderr.
        pause: least seconds between two calls of `save`, for tables of many short runs.
        way: where the jobs are computed, and who follows them.

    Returns:
        the results with all that was computed; and why runs did not go on, by name.

    Raises:
        ValueError: if a run came to no good end, after all others have ended.
    """
    kept = {job.name: _Kept(folder / "checkpoints", job.name, identities[job.name], trusted) for job in jobs}
    for job in jobs:
        if results.reached(job.name):  # by a call that may have been killed before it could forget
            kept[job.name].forget()
    missing = [job for job in jobs if not results.reached(job.name, job.num_stages, job.at)]
    problems: dict[str, str] = {}
    started = [kept[job.name].told(job) for job in missing]
    saving = _Saving(save, kept, pause if way.place.here else max(pause, PAUSE))
    try:
        for done in _ends(started, num_workers, len(jobs), folder, way, _Fit(identities, kept, trusted)):
            with interrupts_held():
                grown = _with(results, done, identities)
                _refuse_stranger(grown, done.name)
                results = grown
                saving.add(done.name, results)
                if problem := done.table.attrs.get(PROBLEM):
                    print(f"{done.name}: {problem}", file=sys.stderr)  # noqa: T201
                    problems[done.name] = str(problem)
    finally:
        with interrupts_held():
            saving.flush()
    _clear(folder, [kept[job.name] for job in jobs if results.reached(job.name)])
    if problems and not go_on:
        name, problem = next(iter(problems.items()))
        fail(f"run {name}", "must end with a finite loss", problem, "The other runs are kept.")
    return results, problems


def _ends(
    started: Sequence[Job], num_workers: int, total: int, folder: Path, way: Way, fit: _Fit
) -> Iterator[Done]:
    """What jobs end with: first of those that have ended while no call was there."""
    found = {done.name: done for done in taken(started) if not fit.refuses(done)}
    yield from found.values()
    left = [way.sized(job) for job in started if job.name not in found]
    if not left:
        return
    with way.opened(folder) as options, way.followed(left) as follow:
        for done in run_jobs(left, num_workers=num_workers, total=total, **options, **follow.options):
            fit.must(done)
            follow.finish(done)
            yield done


class _Fit:
    """What was computed elsewhere must be computed by what this call has.

    Args:
        identities: of the jobs, here.
        kept: what each has left.
        trusted: parts that need not fit.
    """

    def __init__(self, identities: Identities, kept: Mapping[str, _Kept], trusted: Sequence[str]) -> None:
        self._identities, self._kept, self._trusted = identities, kept, trusted

    def refuses(self, done: Done) -> bool:
        """Whether it is another's; then it is removed, and said."""
        if reason := self._reason(done):
            print(f"not used again, made with {reason}: {done.name}", file=sys.stderr)  # noqa: T201
        return bool(reason)

    def must(self, done: Done) -> None:
        """Refuse to go on with what is another's.

        Raises:
            ValueError: if it is.
        """
        if reason := self._reason(done):
            fix = "Install there what is installed here, and call again."
            fail(f"run {done.name}", "must be computed by what this call has", reason, fix)

    def _reason(self, done: Done) -> str:
        ours = self._identities[done.name]
        run = {"identity": {**ours, **done.made.get("identity", {})}}
        reason = Results(name="", config={}, runs={done.name: run}).misfit(done.name, ours, self._trusted)
        if reason:
            self._kept[done.name].take()
        return reason


def _clear(folder: Path, complete: Sequence[_Kept]) -> None:
    """Remove what is left of runs that are complete, and empty folders."""
    names = {kept.mine for kept in complete}
    ended = folder / ENDED
    for path in ended.iterdir() if ended.is_dir() else ():
        if path.name.lstrip(".").rsplit("--", 1)[0] in names:
            path.unlink(missing_ok=True)
    for left in (ended, folder / "checkpoints"):
        with contextlib.suppress(OSError):  # not empty: runs that are not complete; or never made
            left.rmdir()


def _with(results: Results, done: Done, identities: Identities) -> Results:
    made = dict(done.made)
    identity = {**identities[done.name], **made.pop("identity", {})}
    grown = results.with_run(done.name, done.table, identity=identity, seconds=done.seconds)
    if not made or done.name not in grown.runs:
        return grown
    return dataclasses.replace(grown, runs={**grown.runs, done.name: {**grown.runs[done.name], **made}})


def _refuse_stranger(results: Results, name: str) -> None:
    """Refuse a run that did not begin with the bits of the other rules of its seed."""
    other, what = results.stranger(name) if name in results.runs else ("", "")
    if other:
        fix = "What the code or data depend on has changed: run all again with --fresh."
        fail(f"run {name}", f"must begin with the same bits as {other}", f"another {what}", fix)


class _Kept:
    """Where a job keeps its stages: another setting has another folder, and so has whatever else must fit.

    Args:
        root: folder of all.
        name: of the job.
        identity: of the job.
        trusted: parts that need not fit.
    """

    def __init__(self, root: Path, name: str, identity: Mapping[str, str], trusted: Sequence[str]) -> None:
        self.root = root
        self.ended: Path | None = None
        self.mine = f"{name}-{identity['setting'][:12]}"
        rest = [value[:8] for part, value in identity.items() if value and part not in ("setting", *trusted)]
        self.folder = root / "-".join([self.mine, *rest])
        self._rest = rest

    def told(self, job: Job) -> Job:
        """The job, told in which file it leaves what it ends with, and where its stages go if it keeps any."""
        wanted = hashlib.sha256(repr((self._rest, job.num_stages, job.at)).encode()).hexdigest()[:8]
        self.ended = (self.root.parent / ENDED / f"{self.mine}--{wanted}.json").resolve()
        more = {"folder": self.folder.resolve()} if job.resumable else {}
        return dataclasses.replace(job, ended=self.ended, arguments={**job.arguments, **more})

    def take(self) -> None:
        """Remove the file of what the job has ended with: it is saved elsewhere."""
        if self.ended is not None:
            self.ended.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove the job's stages, those of its setting that no longer fit among them."""
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if folder.name == self.mine or folder.name.startswith(f"{self.mine}-"):
                shutil.rmtree(folder, ignore_errors=True)


class _Saving:
    """Saves results at most every so often, and forgets checkpoints only of runs that are saved.

    Args:
        save: as in `grow`.
        kept: checkpoints, by job.
        pause: as in `grow`.
    """

    def __init__(self, save: Callable[[Results], object], kept: Mapping[str, _Kept], pause: float) -> None:
        self._save, self._kept, self._pause = save, kept, pause
        self._waiting: list[str] = []
        self._results: Results | None = None
        self._last = time.monotonic()

    def add(self, name: str, results: Results) -> None:
        """Take the results with one more job, and save them if it is time."""
        self._waiting.append(name)
        self._results = results
        if time.monotonic() - self._last >= self._pause:
            self.flush()  # large tables less often: writing them takes a tenth of the time at most

    def flush(self) -> None:
        """Save what waits."""
        if self._results is None:
            return
        results, self._results = self._results, None
        began = time.monotonic()
        self._save(results)
        self._last = time.monotonic()
        if self._pause:
            self._pause = max(self._pause, _SHARE * (self._last - began))
        for name in self._waiting:
            self._kept[name].take()
            if results.reached(name):
                self._kept[name].forget()
        self._waiting.clear()
