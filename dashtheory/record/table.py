"""The tidy table of every level: one row per number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from dashtheory._check import fail

COLUMNS = {
    "level": "str",  # discrete | twolayer | deep
    "experiment": "str",  # name of the experiment, and of its figure
    "rule": "str",  # what happens to the weights between stages
    "seed": "int64",  # root seed of the run
    "stage": "int64",  # 1, 2, ...: training on all chunks so far
    "metric": "str",  # what the value is, such as test_accuracy (a fraction, not a percentage)
    "value": "float64",
}
"""Columns of the tidy table, in order, with their kinds."""


def make_table(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Build a checked table from rows that have exactly the keys of `COLUMNS`.

    Raises: ValueError if a column is missing or foreign, or a value does not fit its column.
    """
    return check_table(pd.DataFrame(list(rows)), "rows")


def stage_rows(
    *, level: str, experiment: str, rule: str, seed: int, stage: int, metrics: Mapping[str, float]
) -> list[dict[str, object]]:
    """Rows of the tidy table for the metrics of one stage, in their order."""
    run = {"level": level, "experiment": experiment, "rule": rule, "seed": seed, "stage": stage}
    return [{**run, "metric": metric, "value": float(value)} for metric, value in metrics.items()]


def check_table(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return `table` with the column order and kinds of `COLUMNS`; `source` names it in errors.

    Raises: ValueError if a column is missing, foreign or duplicated, a value does not fit, there is no row, or
        two rows claim the same (experiment, rule, seed, stage, metric).
    """
    if sorted(map(str, table.columns)) != sorted(COLUMNS):
        fail(
            source,
            f"must have the columns {', '.join(COLUMNS)}",
            ", ".join(map(str, table.columns)) or "none",
            "This is not a table of dashtheory.record; choose one that it saved.",
        )
    if table.empty:
        fail(source, "must have at least one row", "none", "Run the experiment that makes it.")
    checked = pd.DataFrame({name: _column(table[name], kind, source) for name, kind in COLUMNS.items()})
    twice = checked.duplicated(["level", "experiment", "rule", "seed", "stage", "metric"])
    if twice.any():
        row = checked[twice].iloc[0]
        got = f"{row['metric']} of {row['rule']}, seed {row['seed']}, stage {row['stage']} twice"
        fail(source, "must have one value per rule, seed, stage and metric", got, "Do not mix two runs.")
    return checked


def concatenate(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Stack checked tables and sort them, so that the result does not depend on which run finished first."""
    stacked = pd.concat(list(tables), ignore_index=True)
    by = ["level", "experiment", "rule", "seed", "stage"]  # within a stage, metrics keep their order
    return stacked.sort_values(by, kind="stable", ignore_index=True)


def _column(values: pd.Series, kind: str, source: str) -> pd.Series:
    try:
        if kind == "int64":
            return pd.Series([_whole(value) for value in values], dtype="int64")
        if kind == "float64":  # Python's own reading of a number is exact
            return pd.Series([float(value) for value in values], dtype="float64")
    except (ValueError, TypeError) as error:
        fail(source, f"must have {kind} in column {values.name}", str(error), "The file is damaged or foreign.")
    if values.isna().any():
        fail(source, f"must have text in column {values.name}", "an empty cell", "The file is damaged or foreign.")
    return values.astype(str).reset_index(drop=True)


def _whole(value: object) -> int:
    number = int(value)  # type: ignore[call-overload]
    if not isinstance(value, str) and number != value:
        raise ValueError(f"a fraction, {value}")
    return int(number)


def name_setting(experiment: str, **coordinates: float | str) -> str:
    """Name of one point of a map: `experiment[gamma=20,tau=3]`, numbers in the shortest form that reads back.

    Raises: ValueError if a name or value holds one of the characters [ ] , =.
    """
    parts = [f"{name}={_text(value)}" for name, value in coordinates.items()]
    for text in (experiment, *(str(value) for value in coordinates.values())):
        if re.search(r"[\[\],=]", text):
            fail("experiment", "must hold none of [ ] , = in names and values", repr(text), "Choose another name.")
    return f"{experiment}[{','.join(parts)}]"


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else repr(float(value)).removesuffix(".0")


def split_settings(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column for each coordinate; values that are numbers become floats.

    Rows without a coordinate have NaN there; the experiment column keeps the bare name.
    """
    names = {text: _coordinates(text) for text in table["experiment"].unique()}
    found = pd.DataFrame([names[text][1] for text in table["experiment"]], index=table.index)
    return pd.concat([table.assign(experiment=[names[text][0] for text in table["experiment"]]), found], axis=1)


def _coordinates(text: str) -> tuple[str, dict[str, float | str]]:
    experiment, _, rest = text.partition("[")
    pairs = (part.split("=", 1) for part in rest.removesuffix("]").split(",") if part)
    return experiment, {name: _number(value) for name, value in pairs}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


PREDICTED = "predicted_"
"""What the names of predicted metrics start with."""
