"""A table of runs that grows by calls: more rules, seeds or stages add to it, and what is there stays.

OUT/DEVICE/NAME.csv holds the finished stages of all runs, with what is known of each beside it (.json), whatever
was asked for by which call; stages of unfinished runs are in checkpoints under OUT/.partial.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashtheory._check import fail
from dashtheory.command.grow import Identities, grow, identities_of, named, others, reused
from dashtheory.command.keep import saved_or_refused
from dashtheory.command.ways import HERE, Way, planned
from dashtheory.deep.config import RunConfig
from dashtheory.deep.run import rule_jobs
from dashtheory.deep.task import data_facts
from dashtheory.parallel import Job
from dashtheory.record import Results, only_one, writable_folder
from dashtheory.record.provenance import plain_config
from dashtheory.record.results import same_data
from dashtheory.record.store import mend_table

TRUSTED = ("code", "versions")
"""What may differ between runs of one table: each run says its own, and hours of work are not thrown away."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a call is to do.

    Attributes:
        name: of the setting.
        config: the setting, its device found.
        seeds: root seeds.
        num_jobs: runs at once.
        budget: seconds, or None.
        out: folder of the results.
        fresh: whether to forget what earlier calls have kept and found.
        stages: of each run, that are wanted, as `dashtheory.deep.run.rule_jobs` takes it.
        pause: least seconds between two times that the table is written.
        way: where the runs are computed, and who follows them.
    """

    name: str
    config: RunConfig
    seeds: list[int]
    num_jobs: int
    budget: float | None
    out: Path
    fresh: bool
    stages: Mapping[str, Any]
    pause: float = 0.0
    way: Way = HERE

    @property
    def kind(self) -> str:
        """Kind of the device: cpu or cuda."""
        return self.config.device.name.partition(":")[0]

    @property
    def results(self) -> Path:
        """The table of results."""
        return self.out / self.kind / f"{self.name}.csv"

    @property
    def partial(self) -> Path:
        """Where checkpoints are kept."""
        return self.out / ".partial" / self.kind / self.name


def run(call: Call) -> Results:
    """Do what a call is to do, and say how far it came.

    Returns:
        the wanted runs, as far as they came.
    """
    started = time.monotonic()
    deadline = None if call.budget is None else started + call.budget
    facts = data_facts(call.config)  # also proves that the data are there
    jobs = planned(
        call.way,
        call.config,
        lambda config: rule_jobs(config, call.seeds, call.name, **call.stages, deadline=deadline),
    )
    identities = identities_of(jobs, facts)
    config = plain_config(call.config.with_values(device=call.kind))
    del config["rules"]
    empty = Results(name=call.name, config=config, data=facts)
    writable_folder("--out", call.out)
    with only_one(call.out / ".partial" / f"{call.kind}-{call.name}.lock", "--out"):
        if call.fresh:
            _forget(call)
        mend_table(call.results)
        saved = saved_or_refused(call.results, empty, fresh=call.fresh)
        _check_saved(call, saved, empty, identities)
        before = reused(empty, jobs, [saved], identities, TRUSTED)
        _say_older(before, identities)
        more = others(empty, jobs, [saved])
        results, problems = grow(
            jobs,
            before,
            identities,
            num_workers=call.num_jobs,
            folder=call.partial,
            save=lambda results: more.joined(results).save(call.results),
            trusted=TRUSTED,
            go_on=True,
            pause=call.pause,
            way=call.way.called(call.out, call.name),
        )
        for folder in (call.partial, call.partial.parent):
            with contextlib.suppress(OSError):  # not empty, or never made
                folder.rmdir()
    print(_ending(call, jobs, before, results, set(problems), time.monotonic() - started))  # noqa: T201
    return results


def _check_saved(call: Call, saved: Results, empty: Results, identities: Identities) -> None:
    """Refuse what is saved if it is of another setting or other data.

    Args:
        call: that is to be done.
        saved: what an earlier one has left.
        empty: results of this setting, without runs.
        identities: of the wanted runs.

    Raises:
        ValueError: if so.
    """
    ours = [name for name in identities if name in saved.runs]
    differ = saved.config != empty.config or same_data(saved.data) != same_data(empty.data)
    if differ or any(saved.misfit(name, identities[name], (*TRUSTED, "own")) for name in ours):
        got = f"'{call.results}' of another"
        fail("--out", "must hold results of the same setting and data", got, "Choose another.")


def _say_older(used: Results, identities: Identities) -> None:
    """Say which runs are used though made by other code."""
    older = [name for name in used.runs if used.misfit(name, identities[name])]
    if older:
        words = "is used, though made" if len(older) == 1 else "are used, though made"
        print(f"{named(older)} {words} by other code or libraries; --fresh runs again", file=sys.stderr)  # noqa: T201


def _forget(call: Call) -> None:
    """Remove what earlier calls have kept and found; damaged files too."""
    shutil.rmtree(call.partial, ignore_errors=True)
    for suffix in (".csv", ".json"):
        call.results.with_suffix(suffix).unlink(missing_ok=True)


def _ending(
    call: Call, jobs: Sequence[Job], before: Results, results: Results, stopped: set[str], seconds: float
) -> str:
    """What a call says at its end.

    Args:
        jobs: that were wanted.
        before: what earlier calls had found.
        call: what was asked for.
        results: what is known at its end.
        stopped: runs that would end the same way again.
        seconds: wall time of the call.
    """
    left = [job.name for job in jobs if not results.reached(job.name, job.num_stages, job.at)]
    stages = results.num_stages - before.num_stages
    last = call.stages["num_stages"]
    whole = "complete" if last is None else f"at stage {last} or further"
    text = f"{len(jobs) - len(left)} of {len(jobs)} runs {whole}, {stages} new stages in {seconds:.0f} s"
    where = f"; results in {call.results}" if results.tables else ""
    if stopped:
        text += f", {len(stopped)} with a loss that is no longer finite"
    if set(left) <= stopped:
        return text + where
    going = f"; the same command{' without --fresh' if call.fresh else ''} goes on"
    since = time.time() - seconds
    if not stages and any(path.stat().st_mtime > since for path in call.partial.rglob("stage-*.part")):
        going += " within the stage that was under way"
    elif not stages:
        going += ", but no stage was finished: give it a larger --budget"
    return text + where + going
