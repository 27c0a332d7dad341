"""Compare tables on disk: of one figure, or of all of a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dashtheory._check import fail
from dashtheory.command.keep import apart
from dashtheory.command.verdicts import verdict_lines
from dashtheory.record import agreement, load_table
from dashtheory.record.provenance import plain_config
from dashtheory.record.results import same_data

_HASH = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")
"""The beginning of it is enough to tell two apart."""


def refuse_other_values(committed: Path, config: Any) -> None:
    """Refuse to compare a setting with the committed table of another one.

    Lists may differ, such as rules and points: what both have is compared.

    Args:
        committed: the table.
        config: of the setting.

    Raises:
        ValueError: if there is no such table, or it is of another setting.
    """
    if not committed.exists():
        fix = "Name the folder that has it: --against FOLDER."
        fail("--check", "must find the committed table of this setting", f"no '{committed}'", fix)
    if words := _other_values(_config(load_table(committed)[1]), plain_config(config)):
        fix = "Leave the option out, or name the folder of such a table: --against FOLDER."
        fail("--check", "must be of the setting of the committed table", words, fix)


def compared(name: str, committed: Path, new: Path) -> tuple[list[str], bool]:
    """The verdict on a figure in words, and whether it is different, or cannot be told.

    Args:
        name: of the figure.
        committed: table.
        new: table.

    Raises:
        ValueError: if a table is missing, damaged, or cannot be compared.
    """
    (old_table, old), (new_table, facts) = load_table(committed), load_table(new)
    if words := _other_values(_config(old), _config(facts)):
        return [f"{name}: not compared, it is of another setting: {words}"], True
    found = agreement(old_table, new_table, whole=_whole(old, facts))
    lines = list(verdict_lines(name, found))
    if words := _other_values(_data(old), _data(facts)):
        lines.append("    of other data: " + _HASH.sub(r"\1", words))
    return lines, found.verdict == "different"


def report(names: Sequence[str], committed: Path, new: Path, words: str) -> tuple[list[str], bool]:
    """Lines for several figures, and whether one is different, or cannot be told.

    Args:
        names: of the figures.
        committed: folder of tables.
        new: folder of tables.
        words: what the committed ones are.
    """
    lines, any_different = [f"Tables of {new}, compared with {words}:"], False
    for name in names:
        pair = committed / f"{name}.csv", new / f"{name}.csv"
        if _same_run(*pair):
            lines.append(f"{name}: not drawn again")
            continue
        try:
            told, different = compared(name, *pair)
        except ValueError as error:
            told, different = [f"{name}: not compared: {error}"], True
        lines += told
        any_different |= different
    return lines, any_different


def _same_run(committed: Path, new: Path) -> bool:
    """Whether both are the table of the same call: facts say when it ended."""
    facts = [path.with_suffix(".json") for path in (committed, new)]
    return all(path.exists() for path in facts) and facts[0].read_bytes() == facts[1].read_bytes()


def _config(facts: Mapping[str, Any]) -> dict[str, Any]:
    config = facts.get("config")
    return config if isinstance(config, dict) else {}


def _data(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the data."""
    data: Any = facts.get("data")
    known: Any = same_data(data) if isinstance(data, dict) else {}
    return dict(known)


def _other_values(committed: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """In words, values that are no lists and differ; empty if none does."""
    single, _ = apart(committed, new)
    return ", ".join(f"{name} {mine} where it has {theirs}" for name, (theirs, mine) in single.items())


def _whole(committed: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the tables must have the same means: the lists of the setting are the same, and all stages there."""
    _, lists = apart(_config(committed), _config(new))
    runs = [run for facts in (committed, new) for run in facts.get("runs", {}).values()]
    return not lists and all(run.get("complete", True) for run in runs)
