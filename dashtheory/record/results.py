"""The one store of results that grows: adding a seed, a rule or a stage computes what is missing.

A table NAME.csv and what is known of it (NAME.json) hold finished runs. A run is known by five things, and is used
again only where all of them fit; otherwise it is said which did not:

    setting    the function that computes it and its arguments
    data       the facts about the data, their hash among them, but for means that are computed from them
    code       a fingerprint of every module of the package that the function needs (`dashtheory.record.code`)
    own        a fingerprint of the user's own code that the setting names (`dashtheory.user_code`); empty without
    versions   of Python and of the libraries that produce numbers
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dashtheory._check import fail
from dashtheory._door import door
from dashtheory._spec import is_own, slug_of
from dashtheory.parallel import Job
from dashtheory.record.code import code_of
from dashtheory.record.provenance import library_versions, machine, plain, versions
from dashtheory.record.store import load_table, save_table
from dashtheory.record.table import COLUMNS, concatenate, coordinate_names, stacked
from dashtheory.user_code import fingerprint

PROBLEM, COMPLETE, DEVICE, ORIGIN = "problem", "complete", "device", "origin"
"""Where the table of a run says, in its `attrs`, why the run did not go on; whether it has all of its stages; what
computed it; and hashes of what it began with, by name. A table that says nothing is complete, and of the CPU."""
_NOT_SETTING = ("experiment", "num_stages", "at", "deadline", "device")  # on which the numbers do not depend
_DERIVED = ("mean", "std", "user_code")  # facts about data that are computed from them
_FACTS = {"stages", "complete", "seconds", "machine", "identity", "rows"}  # that are read of a run
_WORDS = {
    "setting": "another setting",
    "data": "other data",
    "code": "another version of the code",
    "own": "another version of your own code",
    "versions": "other versions of the libraries",
}


def identity_of(job: Job, data: Mapping[str, object]) -> dict[str, str]:
    """What a run is known by: a hash for each part.

    Args:
        job: the run.
        data: facts about its data.
    """
    function = f"{job.function.__module__}.{job.function.__qualname__}"
    arguments = {name: plain(value) for name, value in job.arguments.items() if name not in _NOT_SETTING}
    return {
        "setting": _hash({"function": function, "arguments": arguments}),
        "data": _hash(same_data(data)),
        "code": code_of(job.function.__module__),
        "own": fingerprint(*_own(arguments)),
        "versions": _hash(library_versions()),
    }


def same_data(data: Mapping[str, object]) -> object:
    """The facts about data that must be the same, as JSON holds them."""
    return plain({name: value for name, value in data.items() if name not in _DERIVED})


def _own(value: object) -> Iterator[str]:
    """Texts in arguments that name code of the user's."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _own(entry)
    elif is_own(value):
        yield str(value)


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Finished runs of an experiment.

    Attributes:
        name: of the experiment.
        config: its configuration, as JSON holds it.
        tables: by name of the run, its tidy table.
        runs: by name, what is known of each run: stages (the last one in its table), complete, seconds of wall
            time (over all calls that ended by themselves), identity, and of the last call machine, versions, end.
        data: facts about the data.
    """

    name: str
    config: Mapping[str, object]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)

    @property
    def table(self) -> pd.DataFrame | None:
        """Tidy table of all runs; None if there is none."""
        return concatenate(self.tables.values()) if self.tables else None

    @property
    def num_stages(self) -> int:
        """Finished stages of all runs."""
        return sum(table["stage"].nunique() for table in self.tables.values())

    def reached(self, name: str, num_stages: int | None = None, at: Collection[int] = ()) -> bool:
        """Whether a run is complete, or has so many stages, or those of `at` if some are named."""
        facts = self.runs.get(name)
        if facts is None or facts["complete"]:
            return facts is not None
        if num_stages is None and not at:
            return False
        return {*(at or range(1, int(num_stages or 0) + 1))} <= {*self.tables[name]["stage"]}

    def misfit(self, name: str, identity: Mapping[str, str], trusted: Sequence[str] = ()) -> str:
        """In words, why a run that is there cannot stand for one with this identity; empty if it can.

        Args:
            name: of the run.
            identity: of `identity_of`.
            trusted: parts that need not fit.
        """
        known = self.runs[name]["identity"]
        parts = [part for part in _WORDS if known.get(part, "") != identity[part] and part not in trusted]
        return " and ".join(_WORDS[part] for part in parts)

    def joined(self, more: Results) -> Results:
        """With the runs of others of the same experiment; where both have one, theirs."""
        return dataclasses.replace(self, tables={**self.tables, **more.tables}, runs={**self.runs, **more.runs})

    def only(self, names: Sequence[str]) -> Results:
        """With these runs alone, in this order; those that are not there are left out."""
        there = [name for name in names if name in self.runs]
        return dataclasses.replace(
            self,
            tables={name: self.tables[name] for name in there},
            runs={name: self.runs[name] for name in there},
        )

    def with_run(
        self,
        name: str,
        table: pd.DataFrame,
        *,
        identity: Mapping[str, str],
        seconds: float,
    ) -> Results:
        """With the finished stages of a run in place of what was known of it; one without any changes nothing.

        Args:
            name: of the run.
            table: its rows; its `attrs` may say `COMPLETE` and `DEVICE`.
            identity: of `identity_of`.
            seconds: wall time of the call.
        """
        if table.empty:
            return self
        known = self.runs.get(name, {})
        before = float(known["seconds"]) if known and not known["complete"] else 0.0
        facts = {
            "stages": int(table["stage"].max()),
            "complete": bool(table.attrs.get(COMPLETE, True)),
            "seconds": round(before + seconds, 3),
            "identity": dict(identity),
            "machine": machine(str(table.attrs.get(DEVICE, "cpu"))),
            "versions": versions(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if origin := table.attrs.get(ORIGIN) or known.get(ORIGIN):
            facts[ORIGIN] = dict(origin)
        return dataclasses.replace(self, tables={**self.tables, name: table}, runs={**self.runs, name: facts})

    def stranger(self, name: str) -> tuple[str, str]:
        """A run of the same seeds as `name` that began with other bits, and which; empty texts if none.

        Runs at other points (of an experiment that compares settings) may begin otherwise.
        """
        mine, place = self.runs[name].get(ORIGIN, {}), _place(self.tables[name])
        for other, facts in self.runs.items():
            theirs = facts.get(ORIGIN, {})
            differs = [part for part in mine if theirs.get(part, mine[part]) != mine[part]]
            if differs and _place(self.tables[other]) == place:
                return other, " and ".join(differs)
        return "", ""

    def save(self, path: Path, facts: Mapping[str, object] | None = None) -> None:
        """Write PATH.csv and PATH.json, each atomically.

        Args:
            path: of either.
            facts: more for PATH.json.

        Raises:
            OSError: if a file cannot be written.
        """
        if not self.tables:
            return
        table, places = stacked(self.tables.values())
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {"experiment": self.name, "config": self.config, "data": plain(dict(self.data)), **(facts or {})}
        rows = _rows_of(self.tables, places)
        runs = {name: {**self.runs[name], "rows": rows[name]} for name in self.tables}
        save_table(table, path.with_suffix(".csv"), {**known, "runs": runs})


def _place(table: pd.DataFrame) -> set[tuple[object, ...]]:
    """The seeds of a run, with the coordinates that are the same in all of its rows: its setting's."""
    fixed = [name for name in coordinate_names(table) if table[name].nunique(dropna=False) == 1]
    return set(table[["seed", *fixed]].astype(str).itertuples(index=False, name=None))


def _rows_of(tables: Mapping[str, pd.DataFrame], places: npt.NDArray[np.int64]) -> dict[str, list[list[int]]]:
    """Which rows of the table of all are those of each run: ranges [first, after the last].

    Args:
        tables: by name of the run.
        places: for every row of the table of all, which one it is of the tables put one under another.
    """
    names = list(tables)
    owners = np.repeat(np.arange(len(names)), [len(table) for table in tables.values()])[places]
    starts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]]).tolist()
    found: dict[str, list[list[int]]] = {name: [] for name in names}
    for start, end in zip(starts, [*starts[1:], len(owners)], strict=True):
        found[names[owners[start]]].append([start, end])
    return found


@door()
def load_results(path: Path, name: str = "") -> Results:
    """Read the results that were saved at `path` (.csv, and .json beside it).

    Args:
        path: of either file.
        name: that they must have, if any.

    Raises:
        ValueError: in one line if a file is missing, damaged or of another kind or name.
    """
    table, facts = load_table(path)
    found, runs, config, data = (facts.get(part) for part in ("experiment", "runs", "config", "data"))
    if not (
        isinstance(found, str) and isinstance(runs, dict) and isinstance(config, dict) and isinstance(data, dict)
    ):
        fail("results", "must hold runs", f"'{path}'", "Run it again.")
    if name and found != name:
        fail("results", f"must be in a file called {found}", f"'{path}'", "Give it its name back.")
    if not all(isinstance(run, dict) and run.keys() >= _FACTS for run in runs.values()):
        fail("results", f"must tell {', '.join(sorted(_FACTS))} of every run", f"'{path}'", "Run it again.")
    if not all(isinstance(run["identity"], dict) and isinstance(run["stages"], int) for run in runs.values()):
        fail("results", "must tell what every run is known by, and its stages", f"'{path}'", "Run it again.")
    rows = {run: _ranges(known["rows"]) for run, known in runs.items()}
    if not all(rows.values()) or sorted(row for ranges in rows.values() for one in ranges for row in one) != list(
        range(len(table))
    ):
        fail("results", "must say of every row whose it is", f"'{path}'", "Run it again.")
    tables = {run: _part(table, ranges) for run, ranges in rows.items()}
    known = {run: {key: value for key, value in facts.items() if key != "rows"} for run, facts in runs.items()}
    return Results(name=found, config=config, tables=tables, runs=known, data=data)


def _part(table: pd.DataFrame, ranges: Sequence[range]) -> pd.DataFrame:
    """These rows of a sorted table, without coordinates that they do not have."""
    parts = [table.iloc[one.start : one.stop] for one in ranges]
    alone = len(parts) == 1 and set(table.columns) == set(COLUMNS)
    return parts[0].reset_index(drop=True) if alone else concatenate(parts)


def _ranges(rows: object) -> list[range]:
    """Ranges of rows from what JSON holds of them; none for what cannot be read."""
    pairs = rows if isinstance(rows, list) else []
    fit = all(isinstance(pair, list) and [type(row) for row in pair] == [int, int] for pair in pairs)
    return [range(*pair) for pair in pairs] if fit else []


def run_name(rule: str, seed: int) -> str:
    """Name of the run of one rule on one seed's stream, fit for a file name."""
    return f"{slug_of(rule)}-seed{seed}"


def group_name(seeds: Sequence[int]) -> str:
    """Name of seeds that are computed together, fit for a file name: seeds0-4, seeds0+2."""
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds{seeds[0]}-{seeds[-1]}"
    return "seeds" + "+".join(map(str, seeds))
