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
from dashtheory.record.atomic import replacing, unplaced
from dashtheory.record.coordinates import write_coordinate
from dashtheory.record.table import check_table, coordinate_names

FORMAT = "dashtheory table 1"
_FIX = "Make it again with the command that wrote it."


def save_table(table: pd.DataFrame, path: Path | str, facts: Mapping[str, object]) -> None:
    """Write `table` to `path` (.csv) and `facts` beside it (.json), each atomically.

    The JSON file holds the sha256 of the CSV file, so that a pair torn apart by a crash is noticed by
    `load_table`. Numbers are written so that they read back to the same bits; a row without a coordinate has an
    empty cell.

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
    # Both are written out before either takes its place: a disk that is full keeps the old pair. The table
    # goes first: new facts never stand beside a table that has not come.
    with replacing(path.with_suffix(".json")) as facts_file, replacing(path) as table_file:
        table_file.write_bytes(text.encode())
        facts_file.write_bytes(described.encode())


@door()
def load_table(path: Path | str) -> tuple[pd.DataFrame, dict[str, object]]:
    """Read a table and its facts.

    A process that was killed when the table was in its place, and its facts not yet, loses neither: they are found
    under the name that they were written with.

    Raises:
        ValueError: in one line if a file is missing, truncated, foreign, or not the pair that was saved.
    """
    path = Path(path)
    facts = _load_facts(path.with_suffix(".json"))
    raw = _read(path)
    sha256 = hashlib.sha256(raw).hexdigest()
    if sha256 != facts["table_sha256"]:
        facts = _waiting(path.with_suffix(".json"), sha256)
    if sha256 != facts.get("table_sha256"):
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


def _waiting(path: Path, table_sha256: str) -> dict[str, object]:
    """Facts of a table that were written but not put in their place at `path`; {} if there are none."""
    for file in unplaced(path):
        with suppress(ValueError):
            facts = _load_facts(file)
            if facts["table_sha256"] == table_sha256:
                return facts
    return {}


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
