"""What a job ends with, as one file: whoever asked for it may be gone, and may come back.

A file holds the table, the time, and what the process that computed it says of itself; or the error of a job that
failed. It takes its place as a whole (`dashtheory.record.atomic`). Numbers read back to the same bits.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from dashtheory._check import fail, told
from dashtheory._door import DATA
from dashtheory.errors import memory_ran_out
from dashtheory.parallel.job import Done, Job
from dashtheory.record.atomic import write_text
from dashtheory.record.provenance import machine, plain, versions
from dashtheory.record.results import DEVICE, identity_of
from dashtheory.record.table import COLUMNS, check_table

FORMAT = "dashtheory ended 1"
_PARTS = ("code", "own", "versions")  # of an identity, that depend on where a run is computed


def write_table(path: Path, job: Job, table: pd.DataFrame, seconds: float) -> None:
    """Write what a job has returned.

    Args:
        path: of the file; its folder is made.
        job: that has ended.
        table: tidy, or without rows.
        seconds: wall time.

    Raises:
        ValueError: if the table is not tidy.
        OSError: if the file cannot be written.
    """
    rows = table if table.empty else check_table(table, f"table of {job.name}")
    identity = identity_of(job, {})
    _write(
        path,
        {
            "name": job.name,
            "seconds": seconds,
            "table": {str(name): rows[name].tolist() for name in rows.columns},
            "attrs": plain(dict(table.attrs)),
            "made": {
                "machine": machine(str(table.attrs.get(DEVICE, "cpu"))),
                "versions": versions(),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "identity": {part: identity[part] for part in _PARTS},
            },
        },
    )


def write_error(path: Path, job: Job, error: Exception) -> None:
    """Write why a job has failed: a line, nothing of its code.

    Args:
        path: of the file; its folder is made.
        job: that has failed.
        error: that ended it.

    Raises:
        OSError: if the file cannot be written.
    """
    if told(error):
        parts = list(vars(error)["parts"])
    elif isinstance(error, OSError):
        parts = [f"run {job.name}", "must be able to use its files", error.strerror or "an error", DATA]
        if error.filename:
            parts[2] = f"'{error.filename}' ({parts[2]})"
    else:
        first = (str(error).split("\n", 1) or [""])[0]
        fix = "Try smaller sizes." if memory_ran_out(error) else DATA
        parts = [f"run {job.name}", "must end without an error", f"{type(error).__name__}: {first}", fix]
    _write(path, {"name": job.name, "error": parts})


def _write(path: Path, facts: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(facts)
    write_text(path, json.dumps({"format": FORMAT, "sha256": _sha256(text), "content": text}) + "\n")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path, name: str) -> Done:
    """What a job has ended with.

    Args:
        path: of its file.
        name: of the job.

    Raises:
        ValueError: the error of a job that failed, or if the file is damaged or another's.
        OSError: if it cannot be read.
    """
    facts = _content(path, name)
    if "error" in facts:
        _again(facts["error"])
    table = pd.DataFrame(facts["table"])
    table = pd.DataFrame(columns=list(COLUMNS)) if table.empty else check_table(table, f"table of {name}")
    table.attrs |= facts["attrs"]
    return Done(name=name, table=table, seconds=float(facts["seconds"]), made=facts["made"])


def _again(parts: list[str]) -> NoReturn:
    argument, rule, value, fix = parts
    fail(argument, rule, value, fix)


def _content(path: Path, name: str) -> dict[str, Any]:
    raw = path.read_bytes()
    facts: dict[str, Any] = {}
    with contextlib.suppress(ValueError, KeyError, TypeError):
        whole = json.loads(raw)
        if whole["format"] == FORMAT and whole["sha256"] == _sha256(whole["content"]):
            facts = json.loads(whole["content"])
    if facts.get("name") != name:
        fail("result", f"must be what {name} has left", f"'{path}' (damaged or foreign)", "Remove the file.")
    return facts


def failed(path: Path, name: str) -> bool:
    """Whether a file holds no table: it tells of an error, or is damaged."""
    try:
        return "error" in _content(path, name)
    except ValueError:
        return True


def there(paths: Iterable[Path]) -> set[Path]:
    """Which files are there; each folder is read once."""
    wanted = set(paths)
    names = {folder: _names(folder) for folder in {path.parent for path in wanted}}
    return {path for path in wanted if path.name in names[path.parent]}


def _names(folder: Path) -> Collection[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except FileNotFoundError:
        return ()


def taken(jobs: Iterable[Job]) -> list[Done]:
    """What jobs have ended with while nobody was there to take it; files of failed ones are removed.

    Args:
        jobs: those that say in which file they leave it.
    """
    named = {job.ended: job.name for job in jobs if job.ended is not None}
    found = []
    for path in sorted(there(named)):
        if failed(path, named[path]):
            print(f"{named[path]}: failed in an earlier call, and is run again", file=sys.stderr)  # noqa: T201
            path.unlink(missing_ok=True)
        else:
            found.append(read(path, named[path]))
    return found


__all__ = ["FORMAT", "failed", "read", "taken", "there", "write_error", "write_table"]
