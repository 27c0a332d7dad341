"""Differences between rules, paired by seed: seeds share data, so that what they share cancels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from dashtheory._check import fail, real
from dashtheory.record.table import coordinate_names, one_per, point_text

PAIRED = "Student's t interval of the paired difference"
"""The kind of interval, in words for a figure; its confidence comes before."""


def paired_differences(
    table: pd.DataFrame, metric: str, reference: str, *, confidence: float = 0.95
) -> pd.DataFrame:
    """Each rule minus the reference rule at the last stage, seed by seed, with the mean and its interval.

    Where the metric has coordinates, rules are compared at each point by itself, at the last stage there.

    The interval is that of the paired t-test (`scipy.stats.ttest_rel`): mean ± t s / sqrt(n), with s the sample
    standard deviation of the n differences and t the quantile of Student's distribution with n - 1 degrees of
    freedom. It covers the mean of a normal population of differences with the given confidence, each rule by
    itself: with many rules some intervals miss by chance.

    Args:
        table: tidy table of one experiment.
        metric: its name there.
        reference: rule that is subtracted.
        confidence: of the interval, in (0, 1).

    Returns:
        the coordinates of the metric (a column each; none if its rows have none), rule, mean, low, high, p (of
        the test, two-sided, each rule by itself), n, positive (seeds in which the difference is above 0) and
        differences (tuple, in the order of the seeds), sorted by coordinates and rule; with one seed low, high
        and p are NaN; without any spread low and high are the mean, and p is 0, or NaN if that is 0. The reference
        has no row.

    Raises:
        ValueError: if the metric or the reference is not in the table, or not at every point, a rule lacks a seed
            or the last stage, or the table holds more than one experiment.
    """
    real("confidence", confidence, low=0, high=1, open_low=True, fix="0.95, say.")
    if confidence == 1:
        fail("confidence", "must be below 1", str(confidence), "0.95, say.")
    rows = table[table["metric"] == metric]
    if rows.empty:
        known = ", ".join(sorted(set(table["metric"])))
        fail("metric", f"must be one of {known}", repr(metric), "Choose a metric of the table.")
    points = coordinate_names(rows)
    groups = rows.groupby(points, dropna=False) if points else [((), rows)]
    found: list[dict[str, object]] = []
    for values, here in groups:
        point = dict(zip(points, values, strict=True))
        wide = _at_point(here, metric, reference, point_text(point))
        found += [
            {**point, "rule": rule, **_summary(wide[rule], wide[reference], confidence)}
            for rule in wide.columns.drop(reference)
        ]
    columns = [*points, "rule", "mean", "low", "high", "p", "n", "positive", "differences"]
    return pd.DataFrame(found, columns=columns)


def _at_point(rows: pd.DataFrame, metric: str, reference: str, where: str) -> pd.DataFrame:
    """Values of one metric at one point, a row per seed, a column per rule."""
    last = rows[rows["stage"] == rows["stage"].max()]
    one_per(last, ["rule", "seed"], f"{metric} per rule and seed{where}")
    rules = sorted(set(rows["rule"]))
    wide: pd.DataFrame = last.pivot(index="seed", columns="rule", values="value").reindex(columns=rules)
    if reference not in rules:
        known = f"must be one of {', '.join(rules)}{where}"
        fail("reference", known, repr(reference), "Choose a rule of the table.")
    if wide.isna().any(axis=None):
        fail("table", f"must have {metric} for every rule and seed{where}", "gaps", "Run what is missing.")
    if np.isinf(wide.to_numpy()).any():
        fail("table", f"must have finite {metric}{where}", "infinite ones", "Leave out the runs that have them.")
    return wide


def _summary(values: pd.Series, reference: pd.Series, confidence: float) -> dict[str, object]:
    with warnings.catch_warnings():
        # No test is done: one seed, or differences that are all equal, leave t undefined, not what is taken here.
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_rel(values, reference)
        interval = test.confidence_interval(confidence)
    differences = values - reference
    return {
        "mean": float(differences.mean()),
        "low": float(interval.low),
        "high": float(interval.high),
        "p": float(test.pvalue),
        "n": len(differences),
        "positive": int((differences > 0).sum()),
        "differences": tuple(differences.tolist()),
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for looking at all of them, by Holm's step-down method.

    In ascending order p_i becomes the largest of (m - j + 1) p_j over j <= i, at most 1. Where all of these are
    compared with a level, the chance of one false finding or more is at most that level, however they depend.

    Args:
        p_values: in [0, 1]; NaN is no test and stays NaN.

    Returns:
        in the same order.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    order = sorted((value, place) for place, value in enumerate(p_values) if not np.isnan(value))
    found, largest = [float("nan")] * len(p_values), 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min((len(order) - rank) * value, 1.0))
        found[place] = largest
    return found
