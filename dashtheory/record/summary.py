"""Means and bands over seeds, apart from any drawing."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from dashtheory._check import choice, fail
from dashtheory.record.table import coordinate_names, one_per

Band = Literal["sd", "range"]
BANDS = {"sd": "± 1 standard deviation", "range": "smallest to largest"}
"""Kinds of band, with the words that name them in a figure."""


def summarize(table: pd.DataFrame, metric: str, band: Band = "sd") -> pd.DataFrame:
    """Mean and band of one metric over seeds, for each rule and stage, and at each point if there are several.

    Args:
        table: tidy table.
        metric: name of a metric in it.
        band: "sd" (mean ± sample standard deviation, n - 1 in its denominator; 0 for one seed) or "range".

    Returns:
        the coordinates of the metric (a column each; none if its rows have none), rule, stage, mean, low, high, n;
        sorted by coordinates, rule and stage. Nothing but seeds is averaged over.

    Raises:
        ValueError: if metric or band is unknown, a value is NaN or infinite, or the table mixes experiments.
    """
    choice("band", band, BANDS)
    rows = table[table["metric"] == metric]
    if rows.empty:
        known = ", ".join(sorted(set(table["metric"])))
        fail("metric", f"must be one of {known}", repr(metric), "Choose a metric of the table.")
    if not np.isfinite(rows["value"]).all():
        missing = int(rows["value"].isna().sum())
        got = f"{missing} NaN" if missing else f"{int(np.isinf(rows['value']).sum())} infinite"
        fail(
            "table",
            f"must have a number in every row of {metric}",
            got,
            "Leave rows out where nothing was measured.",
        )
    points = coordinate_names(rows)
    one_per(rows, [*points, "rule", "stage", "seed"], f"{metric} per rule, stage, seed and point")
    groups = rows.groupby([*points, "rule", "stage"], dropna=False)["value"]
    summary = groups.agg(mean="mean", low="min", high="max", sd="std", n="count").reset_index()
    if band == "sd":
        spread = summary["sd"].fillna(0.0)
        summary["low"], summary["high"] = summary["mean"] - spread, summary["mean"] + spread
    return summary.drop(columns="sd")
