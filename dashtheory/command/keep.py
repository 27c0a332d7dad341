"""Results that are there are not lost to a call of another setting, nor are files of another program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from dashtheory._check import fail
from dashtheory.command.grow import Identities
from dashtheory.record import Results, load_results
from dashtheory.record.store import is_ours

_TITLE = "title"  # the only value on which nothing but words in a picture depends


def saved_or_refused(path: Path, empty: Results, *, fresh: bool) -> Results:
    """The saved results of this experiment, or `empty` if there are none.

    Args:
        path: of the table.
        empty: results without runs.
        fresh: whether whatever is there may be replaced.

    Raises:
        ValueError: if there is something else, or it is damaged, and it may not be replaced.
    """
    described = path.with_suffix(".json")
    try:
        if path.exists():
            return load_results(path, empty.name)
        if described.exists() and not is_ours(described):
            fail("--out", "must not hold a file of another program", f"'{described}'", "Choose another folder.")
    except ValueError as error:
        if not fresh:
            text = (
                str(error)
                .removesuffix("Run it again.")
                .removesuffix("Make it again with the command that wrote it.")
            )
            raise ValueError(
                f"{text.rstrip()} It is left as it is: choose another --out, or replace it: --fresh."
            ) from error
    return empty


def refuse_other_setting(saved: Results, empty: Results, identities: Identities, path: Path) -> None:
    """Refuse results of another setting, which this call would take the place of.

    Args:
        saved: what is there.
        empty: results of this setting, without runs.
        identities: of the wanted runs.
        path: of what is there.

    Raises:
        ValueError: if they are of another setting.
    """
    if differs := other_setting(saved, empty, identities):
        fix = "Choose another --out, give the same options, or replace them: --fresh."
        fail("--out", "must hold results of the same setting", f"'{path}', where {differs}", fix)


def other_setting(saved: Results, empty: Results, identities: Identities) -> str:
    """In words, what differs in the setting of saved results; empty if nothing does.

    Lists may: a rule or a point more is a run more, and a run of the same name says itself if it is another.

    Args:
        saved: what is there.
        empty: results of this setting, without runs.
        identities: of the wanted runs.
    """
    if not saved.runs:
        return ""
    single, lists = apart(saved.config, empty.config)
    names = {**single, **lists}
    runs = [
        name
        for name, known in identities.items()
        if name in saved.runs and _setting(saved, name) != known["setting"]
    ]
    if not names or not (single or runs):  # the same values, by whatever code: what does not fit is done again
        return ""
    return ", ".join(f"{name} is {theirs}" for name, (theirs, _) in sorted(names.items()))


def apart(
    theirs: Mapping[str, object], ours: Mapping[str, object]
) -> tuple[dict[str, tuple[object, object]], dict[str, tuple[object, object]]]:
    """Values in which two settings differ, by dotted name: single ones, and lists.

    Args:
        theirs: a configuration as JSON holds it.
        ours: another.

    Returns:
        for each name, their value and ours; None where there is none.
    """
    old, new = dict(_values(theirs)), dict(_values(ours))
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    found = {name: (old.get(name), new.get(name)) for name in names}
    lists = {name: pair for name, pair in found.items() if isinstance(new.get(name, old.get(name)), list)}
    return {name: pair for name, pair in found.items() if name not in lists}, lists


def setting_hash(results: Results) -> str:
    """Of what two settings differ in, but lists: calls of one setting wait in one place."""
    values = {name: value for name, value in _values(results.config) if not isinstance(value, list)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _setting(saved: Results, name: str) -> object:
    return saved.runs[name]["identity"].get("setting")


def _values(config: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    """Values of a configuration as JSON holds it, by dotted name."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _values(value, f"{above}{name}.")
        elif name != _TITLE:
            yield f"{above}{name}", value
