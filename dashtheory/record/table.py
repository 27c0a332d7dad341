"""The tidy table of every level: one row per number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dashtheory._check import fail
from dashtheory.record.coordinates import SUMMARIES, check_name, number_text, read_coordinate

COLUMNS = {
    "level": "str",  # discrete | twolayer | deep
    "experiment": "str",  # name of the experiment, and of its figure
    "rule": "str",  # what happens to the weights between stages
    "seed": "int64",  # root seed of the run
    "stage": "int64",  # 1, 2, ...: training on all chunks so far
    "metric": "str",  # what the value is, such as test_accuracy (a fraction, not a percentage)
    "value": "float64",
}
"""Columns of the tidy table that are always there, in order, with their kinds.

Any other column is a coordinate: the point at which a number was taken, where an experiment has more than rules,
seeds and stages (lam, epoch, map, ...). Coordinates are floats or words, stand before `metric` in the order of
their names, and are NaN in rows that have none.
"""

_RUN = ("level", "experiment", "rule", "seed", "stage")
_NUMBER = ("metric", "value")

PREDICTED = "predicted_"
"""What the names of predicted metrics start with."""


def make_table(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Build a checked table from rows that have the keys of `COLUMNS`, and coordinates.

    Raises:
        ValueError: if a column is missing, or a value does not fit its column.
    """
    return check_table(pd.DataFrame(list(rows)), "rows")


def stage_rows(
    *,
    level: str,
    experiment: str,
    rule: str,
    seed: int,
    stage: int,
    metrics: Mapping[str, float],
    coordinates: Mapping[str, float | str] | None = None,
) -> list[dict[str, object]]:
    """Rows of the tidy table for the metrics of one stage, in their order, at one point.

    Raises:
        ValueError: if a coordinate has the name of a column of `COLUMNS`.
    """
    run = {"level": level, "experiment": experiment, "rule": rule, "seed": seed, "stage": stage}
    point = dict(coordinates or {})
    if taken := sorted(point.keys() & COLUMNS.keys()):
        fail("coordinates", f"must have other names than {', '.join(COLUMNS)}", ", ".join(taken), "Rename them.")
    return [{**run, **point, "metric": metric, "value": float(value)} for metric, value in metrics.items()]


def coordinate_names(table: pd.DataFrame) -> list[str]:
    """Coordinates that at least one row has, by name, of a tidy table or a summary of one."""
    further = sorted(map(str, set(table.columns) - {*COLUMNS, *SUMMARIES}))
    return [name for name in further if table[name].notna().any()]


def check_table(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return `table` with the order of columns and the kinds that `COLUMNS` tells; `source` names it in errors.

    A column in which no row has a coordinate is left out.

    Raises:
        ValueError: if a column is missing, duplicated or no coordinate by its name, a value does not fit, there is
            no row, or two rows claim the same metric of one (experiment, rule, seed, stage) at the same point.
    """
    names = list(table.columns)
    if not set(COLUMNS) <= set(names) or len(set(names)) < len(names):
        fail(
            source,
            f"must have the columns {', '.join(COLUMNS)}, and may have coordinates",
            ", ".join(map(str, names)) or "none",
            "This is not a table of dashtheory.record; choose one that it saved.",
        )
    if table.empty:
        fail(source, "must have at least one row", "none", "Run the experiment that makes it.")
    fixed = {name: _column(table[name], kind, source) for name, kind in COLUMNS.items()}
    further = [check_name(name, source) for name in names if name not in COLUMNS]
    points = {name: read_coordinate(table[name], source) for name in further}
    checked = _in_order(pd.DataFrame({**fixed, **points}))
    keys = [name for name in checked.columns if name != "value"]
    twice = checked[checked.duplicated(keys)]
    if len(twice):
        row = twice.iloc[0]
        point = {name: row[name] for name in coordinate_names(checked)}
        got = (
            f"{row['metric']} of {row['rule']}, seed {row['seed']}, stage {row['stage']}{point_text(point)} twice"
        )
        fail(source, "must have one value per rule, seed, stage and metric", got, "Do not mix two runs.")
    return checked


def concatenate(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Stack checked tables and sort them, so that the result does not depend on which run finished first.

    A table without a coordinate that others have gets empty cells there. Rows go by experiment, coordinates (none
    first), rule, seed and stage; within that, metrics keep their order.

    Raises:
        ValueError: if a coordinate is a number in one table and a word in another.
    """
    return stacked(tables)[0]


def stacked(tables: Iterable[pd.DataFrame]) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """As `concatenate`, and for every row of it which one it was of the tables put one under another."""
    parts = list(tables)
    same = len({tuple(zip(one.columns, one.dtypes, strict=True)) for one in parts}) == 1
    whole: pd.DataFrame = pd.concat(parts if same else [_as_objects(one) for one in parts], ignore_index=True)
    objects = _as_objects(whole)
    points = {str(name): read_coordinate(objects[name], "tables") for name in _further(whole)}
    checked = _in_order(whole.assign(**points))
    by = ["level", "experiment", *_further(checked), "rule", "seed", "stage"]
    found = checked.sort_values(by, kind="stable", na_position="first")
    return found.reset_index(drop=True), found.index.to_numpy()


def _as_objects(table: pd.DataFrame) -> pd.DataFrame:
    """The table with coordinates as they are: stacking makes no number of a word, and no fraction of a number."""
    further = _further(table)
    return table.astype(dict.fromkeys(further, "object")) if further else table


def one_per(rows: pd.DataFrame, keys: Sequence[str], what: str) -> None:
    """Refuse rows of a table or summary if two of them share `keys`: a mean over them would mix points.

    Raises:
        ValueError: in one line that names the columns in which they differ.
    """
    twice = rows[rows.duplicated(list(keys), keep=False)]
    if twice.empty:
        return
    first = next(iter(twice.groupby(list(keys), dropna=False)))[1]
    others = ["level", "experiment", "rule", "stage", *coordinate_names(rows)]
    mixed = [name for name in others if name in first and first[name].nunique(dropna=False) > 1]
    got = "; ".join(f"{name} {_some(first[name])}" for name in mixed) or "the same twice"
    fix = f"Keep the rows of one {mixed[0]}." if mixed else "Do not mix two runs."
    fail("table", f"must have one {what}", f"several ({got})", fix)


def _some(values: pd.Series) -> str:
    texts = ["none" if pd.isna(value) else number_text(value) for value in values.unique()]
    return ", ".join([*texts[:3], *(["..."] if len(texts) > 3 else [])])


def point_text(point: Mapping[str, Any]) -> str:
    """Words for a point, " at alpha 0.3, lam 0.05"; coordinates that it does not have are left out."""
    known = [f"{name} {number_text(value)}" for name, value in point.items() if not pd.isna(value)]
    return f" at {', '.join(known)}" if known else ""


def _column(values: pd.Series, kind: str, source: str) -> pd.Series:
    try:
        if kind == "int64":
            return pd.Series([_whole(value) for value in values], dtype="int64")
        if kind == "float64":  # Python's own reading of a number is exact
            return pd.Series([_number(value) for value in values], dtype="float64")
    except (ValueError, TypeError, OverflowError) as error:
        fail(source, f"must have {kind} in column {values.name}", str(error), "The file is damaged or foreign.")
    if values.isna().any():
        fail(source, f"must have text in column {values.name}", "an empty cell", "The file is damaged or foreign.")
    return values.astype(str).reset_index(drop=True)


def _number(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if math.isinf(number) and isinstance(value, str) and any(letter.isdigit() for letter in value):
        raise ValueError(f"a number of {len(value)} characters beyond all floats")
    return number


def _whole(value: object) -> int:
    number = int(value)  # type: ignore[call-overload]
    if not isinstance(value, str) and number != value:
        raise ValueError(f"a fraction, {value}")
    return int(number)


def _further(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name not in COLUMNS]


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its coordinates by name before `metric`, without those that no row has."""
    return table[[*_RUN, *coordinate_names(table), *_NUMBER]]
