"""Results of the paper's experiments: one table per setting and kind of device, which grows run by run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from dashtheory._check import fail
from dashtheory._spec import slug_of
from dashtheory.record.provenance import code_fingerprint, machine, plain, versions
from dashtheory.record.store import load_table, save_table
from dashtheory.record.table import concatenate

_NOT_SETTING = ("rules",)  # runs of other rules belong to the same setting
_FACTS = {"rule", "seed", "stages", "complete", "seconds", "machine"}  # that are read of a run


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """What is known of a setting on a kind of device.

    Attributes:
        name: of the setting, the experiment of the table. config: the setting, as JSON holds it, without rules.
        table: tidy table of all finished stages; None if there is none yet.
        runs: by name, what is known of each run: rule, seed, stages, complete, seconds of wall time (over all
            calls that ended by themselves), and of the last call machine, versions, code, finished; user_code,
            the fingerprint of code of the user's, where there is some.
        data: facts about the data.
    """

    name: str
    config: Mapping[str, object]
    table: pd.DataFrame | None = None
    runs: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)

    @property
    def complete(self) -> set[Run]:
        """Runs whose stages are all there."""
        return {_run(facts) for facts in self.runs.values() if facts["complete"]}

    def reached(self, num_stages: int) -> set[Run]:
        """Runs whose first `num_stages` stages are there."""
        return {_run(facts) for facts in self.runs.values() if int(str(facts["stages"])) >= num_stages}

    def made_with(self, run: Run, own: str) -> bool:
        """Whether what is known of a run was made with this code of the user's. Args: own: its fingerprint."""
        return str(self.runs.get(run.name, {}).get("user_code", "")) == own

    def with_run(self, run: Run, table: pd.DataFrame, *, seconds: float, device: str, own: str = "") -> Results:
        """With the finished stages of a run in place of what was known of it; one without any changes nothing.

        Args: table: of the run. seconds: wall time of the call. device: its name. own: fingerprint of the user's
            code that it ran, if any.
        """
        if table.empty:
            return self
        old = self.table
        kept = [] if old is None else [old[(old["rule"] != run.rule) | (old["seed"] != run.seed)]]
        stages = int(table["stage"].max())
        known = self.runs.get(run.name, {}) if self.made_with(run, own) else {}
        before = 0.0 if known.get("complete", True) else float(str(known["seconds"]))
        facts = {
            "rule": run.rule,
            "seed": run.seed,
            "stages": stages,
            "complete": stages == self.config["num_chunks"],
            "seconds": round(before + seconds, 1),
            "machine": machine(device),
            "versions": versions(),
            "code": code_fingerprint(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **({"user_code": own} if own else {}),
        }
        return dataclasses.replace(self, table=concatenate([*kept, table]), runs={**self.runs, run.name: facts})

    def save(self, path: Path) -> None:
        """Write PATH.csv and PATH.json, each atomically.

        Raises: OSError if a file cannot be written.
        """
        if self.table is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {"experiment": self.name, "config": self.config, "data": plain(dict(self.data))}
        runs = {name: dict(self.runs[name]) for name in sorted(self.runs)}
        save_table(self.table, path.with_suffix(".csv"), {**facts, "runs": runs})


def setting_of(config: object) -> dict[str, object]:
    """A configuration as JSON holds it, without what may differ between runs of one setting."""
    found = plain(config)
    assert isinstance(found, dict)
    return {name: value for name, value in found.items() if name not in _NOT_SETTING}


def load_results(path: Path) -> Results:
    """Read the results that were saved at `path` (.csv, and .json beside it).

    Raises: ValueError in one line if a file is missing, damaged or of another kind.
    """
    table, facts = load_table(path)
    name, runs, config, data = (facts.get(part) for part in ("experiment", "runs", "config", "data"))
    if not (
        isinstance(name, str) and isinstance(runs, dict) and isinstance(config, dict) and isinstance(data, dict)
    ):
        fail("results", "must be of a preset", f"'{path}'", "Run it again.")
    if name != path.stem:
        fail("results", f"must be in a file called {name}", f"'{path}'", "Give it its name back.")
    if not all(isinstance(run, dict) and run.keys() >= _FACTS for run in runs.values()):
        fail("results", f"must tell {', '.join(sorted(_FACTS))} of every run", f"'{path}'", "Run it again.")
    return Results(name=name, config=config, table=table, runs=runs, data=data)


def results_for(path: Path, name: str, config: object, data: Mapping[str, object]) -> Results:
    """What is saved at `path`, or nothing yet, for this setting.

    Raises: ValueError if what is saved is of another setting or other data.
    """
    ours = Results(name=name, config=setting_of(config), data=json.loads(json.dumps(plain(dict(data)))))
    if not path.exists():
        return ours
    saved = load_results(path)
    if saved.config != ours.config or _hashes(saved.data) != _hashes(ours.data):
        fail("--out", "must hold results of the same setting and data", f"'{path}' of another", "Choose another.")
    return saved


def _hashes(data: Mapping[str, object]) -> object:
    inner = data.get("data")
    return inner.get("sha256") if isinstance(inner, dict) else None


def _run(facts: Mapping[str, object]) -> Run:
    return Run(rule=str(facts["rule"]), seed=int(str(facts["seed"])))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One rule on one seed's stream.

    Attributes: rule: with its options, as in `RunConfig.rules`. seed: root seed.
    """

    rule: str
    seed: int

    @property
    def name(self) -> str:
        """Fit for a file name."""
        return f"{slug_of(self.rule)}-seed{self.seed}"


def missing_runs(rules: Sequence[str], seeds: Sequence[int], complete: set[Run]) -> list[Run]:
    """Runs that are still to do, seed by seed. Args: complete: those that are done."""
    wanted = [Run(rule=rule, seed=seed) for seed in seeds for rule in rules]
    return [run for run in wanted if run not in complete]
