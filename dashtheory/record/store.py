"""Tables on disk: NAME.csv with NAME.json beside it, written atomically and checked when read."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pandas as pd

from dashtheory._check import fail
from dashtheory._door import door
from dashtheory.record.atomic import replace_together, sweep, unplaced
from dashtheory.record.coordinates import write_coordinate
from dashtheory.record.table import check_table, coordinate_names

FORMAT = "dashtheory table 1"
_FIX = "Make it again with the command that wrote it."


def save_table(table: pd.DataFrame, path: Path | str, facts: Mapping[str, object]) -> None:
    """Write `table` to `path` (.csv) and `facts` beside it (.json), together.

    The table taking its place decides: a process that is killed before leaves the old pair, and one that is killed
    after leaves the new pair, its facts under the name that they were written with. The JSON file holds the
    sha256 of the CSV file, by which `load_table` finds them. Numbers are written so that they read back to the
    same bits; a row without a coordinate has an empty cell.

    Raises:
        ValueError: if the table is not tidy.
        OSError: if a file cannot be written.
    """
    path = Path(path)
    checked = check_table(table, "table")
    texts = {name: write_coordinate(checked[name]) for name in coordinate_names(checked)}
    text = checked.assign(**texts).to_csv(index=False, lineterminator="\n", na_rep="nan")
    header = {"format": FORMAT, "table_sha256": hashlib.sha256(text.encode()).hexdigest()}
    described = json.dumps({**header, **facts}, indent=2, allow_nan=False) + "\n"
    # The table goes first: new facts never stand beside a table that has not come.
    replace_together({path: text.encode(), path.with_suffix(".json"): described.encode()})


@door()
def load_table(path: Path | str) -> tuple[pd.DataFrame, dict[str, object]]:
    """Read a table and its facts.

    A process that was killed when the table was in its place, and its facts not yet, loses neither: they are found
    under the name that they were written with.

    Raises:
        ValueError: in one line if a file is missing, truncated, foreign, or not the pair that was saved.
    """
    path = Path(path)
    raw = _read(path)
    waiting = _waiting(path, raw)
    facts = _load_facts(path.with_suffix(".json") if waiting is None else waiting)
    if hashlib.sha256(raw).hexdigest() != facts["table_sha256"]:
        fail("table", "must be the one its .json describes", f"another content in '{path}'", _FIX)
    try:
        table = pd.read_csv(io.BytesIO(raw), dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' own parser errors are ValueErrors too
        fail("table", "must be a CSV file", f"'{path}' ({error})", _FIX)
    checked = check_table(table, f"table '{path}'")
    if (packed := checked["experiment"].str.endswith("]")).any():  # as of 0.4.0 and before
        got = repr(checked.loc[packed, "experiment"].iloc[0])
        fail(f"table '{path}'", "must have coordinates as columns, not in the experiment's name", got, _FIX)
    return checked, facts


def mend_table(path: Path | str) -> None:
    """Finish what a process that was killed has left of a pair, and remove its temporary files.

    Args:
        path: of the table; no other process may be writing it.
    """
    path = Path(path)
    with suppress(OSError):
        waiting = _waiting(path, path.read_bytes())
        if waiting is not None:
            waiting.replace(path.with_suffix(".json"))
    sweep(path, path.with_suffix(".json"))


def is_ours(path: Path | str) -> bool:
    """Whether a JSON file holds facts of a table (which may be another's, or gone)."""
    try:
        return bool(_load_facts(Path(path)))
    except ValueError:
        return False


def _waiting(path: Path, raw: bytes) -> Path | None:
    """Facts of the table with this content that did not take their place; None if they did, or are not there."""
    sha256 = hashlib.sha256(raw).hexdigest()
    for file in (path.with_suffix(".json"), *unplaced(path.with_suffix(".json"))):
        with suppress(ValueError):
            if _load_facts(file)["table_sha256"] == sha256:
                return None if file == path.with_suffix(".json") else file
    return None


def _load_facts(path: Path) -> dict[str, object]:
    raw = _read(path)
    try:
        facts = json.loads(raw)
    except ValueError:
        fail("provenance", "must be a JSON file", f"'{path}' (truncated or foreign)", _FIX)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT or "table_sha256" not in facts:
        got = f"'{path}' with format {facts.get('format')!r}" if isinstance(facts, dict) else f"'{path}'"
        fail("provenance", f"must be of format '{FORMAT}'", got, _FIX)
    return facts


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(
            "provenance" if path.suffix == ".json" else "table",
            "must be readable",
            f"'{path}' ({error.strerror})",
            _FIX,
        )
