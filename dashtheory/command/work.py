"""What the command line of a script does once its options are checked: compute what is missing, save, draw."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from dashtheory._check import fail
from dashtheory._nested import restore
from dashtheory.command.grow import grow, identities_of, loaded, others, reused, seed_groups
from dashtheory.command.keep import other_setting, refuse_other_setting, saved_or_refused, setting_hash
from dashtheory.command.script import Script
from dashtheory.command.ways import Way, planned
from dashtheory.parallel import Job
from dashtheory.plot import save_figure, style
from dashtheory.plot.style import PICTURES
from dashtheory.record import Results, load_table, only_one, provenance, writable_folder
from dashtheory.record.atomic import sweep
from dashtheory.record.provenance import plain_config
from dashtheory.record.store import mend_table


def carry_out(
    script: Script[Any],
    config: Any,
    seeds: list[int],
    options: argparse.Namespace,
    limits: Mapping[str, object],
    way: Way,
) -> None:
    """Compute what is missing, save the table with its provenance, and draw it.

    Args:
        script: of the figure.
        config: of this call.
        seeds: of this call.
        options: --out, --jobs, --fresh, ...
        limits: what --stages and --budget say to the plan.
        way: where the runs are computed, and who follows them.
    """
    mpl.use("Agg")
    path = Path(options.out) / f"{script.name}.csv"
    writable_folder("--out", options.out)
    with only_one(path.parent / ".partial" / f"{script.name}.lock", "--out"):
        if _compute(script, config, seeds, options, path, limits, way):
            _draw(script, config, path)


def redraw(script: Script[Any], out: Path) -> None:
    """Draw the saved table again.

    Args:
        script: of the figure.
        out: folder of the table.
    """
    mpl.use("Agg")
    path = Path(out) / f"{script.name}.csv"
    _draw(script, _saved_configuration(script, path), path)


def _draw(script: Script[Any], config: Any, path: Path) -> None:
    """Draw the saved table."""
    table, _ = load_table(path)
    with style():
        figure = script.draw(table, config)
        pictures = save_figure(figure, path.with_suffix(""))
        plt.close(figure)
    names = ", ".join(str(written) for written in (*pictures, path, path.with_suffix(".json")))
    print(f"wrote {names}")  # noqa: T201


def _compute(
    script: Script[Any],
    config: Any,
    seeds: list[int],
    options: argparse.Namespace,
    path: Path,
    limits: Mapping[str, object],
    way: Way,
) -> bool:
    """Run what neither the saved table nor a call that was stopped holds, and save the table.

    Returns:
        whether there is something to draw; else the saved table stays as it is, and runs that have ended are kept.
    """
    started = time.perf_counter()
    facts = script.facts() if script.facts_of is None else script.facts_of(config)
    empty = Results(name=script.name, config=plain_config(config), data=facts)
    partial = path.parent / ".partial" / f"{script.name}-{setting_hash(empty)}"
    if options.fresh:
        shutil.rmtree(partial, ignore_errors=True)
    kept, waiting = partial / "runs.csv", partial / "others.csv"
    for table in (kept, waiting, path):
        mend_table(table)
    sweep(*(path.with_suffix(suffix) for suffix in PICTURES))
    stopped, further = loaded(kept, empty), loaded(waiting, empty)
    saved = saved_or_refused(path, empty, fresh=options.fresh)
    ours = _newer(path, options.since)
    again = options.fresh or (options.recompute and not ours)
    usable = [stopped, further] if again else [stopped, further, saved]
    groups = seed_groups(seeds, usable) if script.grouped else [seeds]
    jobs = [job for group in groups for job in _plan(script, config, group, limits, way)]
    identities, names = identities_of(jobs, facts), [job.name for job in jobs]
    if options.fresh and other_setting(saved, empty, identities):
        saved = empty
    refuse_other_setting(saved, empty, identities, path)
    known = reused(empty, jobs, usable, identities)
    if ours and not again and set(saved.runs) == set(names) and _whole(jobs, known):
        print(f"{path} is whole and newer than '{options.since}'")  # noqa: T201
        return not all(_newer(path.with_suffix(suffix), path) for suffix in PICTURES)
    more = others(empty, jobs, [stopped, further, saved])
    _put(others(empty, [], [more, stopped, further]), waiting)  # whatever becomes of this call
    results, _ = grow(
        jobs,
        known,
        identities,
        num_workers=options.jobs,
        folder=partial,
        save=lambda results: results.save(kept),
        way=way.called(Path(options.out), script.name),
    )
    if not _whole(jobs, results):
        left = [job.name for job in jobs if not results.reached(job.name, job.num_stages, job.at)]
        done = f"{len(jobs) - len(left)} of {len(jobs)} runs"
        print(f"out of time with {done}, nothing drawn; the same command goes on")  # noqa: T201
        return False
    made = provenance(
        experiment=script.name,
        config=config,
        seeds=seeds,
        wall_seconds=time.perf_counter() - started,
        data=facts,
        device=", ".join(sorted({results.runs[name]["machine"]["device"] for name in names})),
    )
    results.only(names).save(path, {"quick": options.quick, **made})
    _put(more, waiting)
    _put(empty, kept)
    for folder in (partial, partial.parent):
        with contextlib.suppress(OSError):  # not empty: runs that wait, or stages of theirs
            folder.rmdir()
    return True


def _whole(jobs: list[Job], results: Results) -> bool:
    return all(results.reached(job.name, job.num_stages, job.at) for job in jobs)


def _newer(path: Path, than: Path | None) -> bool:
    """Whether there is a file that was written after another."""
    return than is not None and path.exists() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns


def _plan(script: Script[Any], config: Any, seeds: list[int], limits: Mapping[str, object], way: Way) -> list[Job]:
    if not script.staged:
        return script.plan(config, seeds, **limits)
    return planned(way, config, lambda config: script.plan(config, seeds, **limits))


def _put(results: Results, path: Path) -> None:
    """Save results at `path`, or leave nothing there if they hold no run."""
    results.save(path)
    if not results.runs:
        for file in (path, path.with_suffix(".json")):
            file.unlink(missing_ok=True)


def _saved_configuration(script: Script[Any], path: Path) -> Any:
    """The configuration that the saved table was made with; every field must be there, and nothing else."""
    if not path.exists():
        fail("--redraw", f"must find a table of {script.name}", f"no '{path}'", "Run without --redraw first.")
    _, facts = load_table(path)
    saved = facts.get("config")
    if facts.get("experiment") != script.name or not isinstance(saved, dict):
        fail("--redraw", f"must find a table of {script.name}", f"'{path}'", "Run without --redraw first.")
    try:
        return restore(script.config, saved)
    except (TypeError, ValueError) as error:
        fail("--redraw", "must find this version's configuration", f"'{path}' ({error})", "Run it again.")
