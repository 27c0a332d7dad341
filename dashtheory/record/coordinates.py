"""Coordinates: columns of a tidy table beside the fixed ones, which say at which point a number was taken."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Hashable

import pandas as pd

from dashtheory._check import fail

SUMMARIES = ("mean", "low", "high", "n", "positive", "differences", "sd")
"""What `summarize` and `paired_differences` call their columns; no coordinate has such a name."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def check_name(name: Hashable, source: str) -> str:
    """Return the name of a coordinate; `source` names the table in errors.

    Raises:
        ValueError: if it is no word of small letters, digits and _, or one of `SUMMARIES`.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in SUMMARIES:
        rule = "must call its further columns, the coordinates, by words such as lam or init_scale"
        fail(source, rule, repr(name), f"No capitals, spaces or signs, and none of {', '.join(SUMMARIES)}.")
    return name


def read_coordinate(values: pd.Series, source: str) -> pd.Series:
    """One coordinate: floats, or words; NaN in rows without it (they hold None, NaN or an empty text).

    A text that reads as a number is that number. A column of nothing but empty cells is one of NaN.

    Raises:
        ValueError: if a cell is neither number nor word, or some are numbers and some words.
    """
    cells = [_cell(value, values.name, source) for value in values]
    words = [cell for cell in cells if isinstance(cell, str)]
    found = [cell for cell in cells if isinstance(cell, float)]
    if words and found:
        got = f"{words[0]!r} and {found[0]:g}"
        fail(source, f"must have numbers or words in column {values.name}, not both", got, "Use two columns.")
    return pd.Series(cells, dtype="str" if words else "float64", name=values.name)


def write_coordinate(values: pd.Series) -> list[str]:
    """Cells of a CSV file; numbers in the shortest form that reads back to the same bits."""
    return ["" if pd.isna(value) else number_text(value) for value in values]


def number_text(value: object) -> str:
    """A number in the shortest form that reads back (20, 0.3), or a word as it is."""
    return repr(float(value)).removesuffix(".0") if isinstance(value, numbers.Real) else str(value)


def _cell(value: object, name: Hashable, source: str) -> float | str | None:
    if value is None or value is pd.NA or (isinstance(value, str) and not value):
        return None
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return None if math.isnan(value) else float(value)
    number = _number(value) if isinstance(value, str) else math.nan
    if number is None and str(value).isprintable():
        return str(value)
    if number is None or math.isnan(number):
        fix = "Printable words but nan; an empty cell where a row has no such coordinate."
        fail(source, f"must have numbers or words in column {name}", repr(value), fix)
    return number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
