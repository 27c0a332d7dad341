"""Settings inside the experiment column: how a map over parameters is kept in the tidy table."""

from __future__ import annotations

import re

import pandas as pd

from dashtheory._check import fail


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
