"""The interquartile mean over runs of several tasks, which reports of reinforcement learning use.

Returns of few runs have long tails: one lucky run moves a mean, and a median wastes half of them. The
interquartile mean is that of the middle half. Agarwal, Schwarzer, Castro, Courville & Bellemare, *Deep
Reinforcement Learning at the Edge of the Statistical Precipice* (NeurIPS 2021, arXiv:2108.13264).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from dashtheory._check import fail, integer, numpy_generator, real
from dashtheory.record.table import coordinate_names, one_per

_CUT = 0.25  # of the runs, on either side


def interquartile_means(
    table: pd.DataFrame,
    metric: str,
    generator: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> pd.DataFrame:
    """The mean of the middle half of a rule's runs of all tasks, with a bootstrap interval stratified by task.

    A task is an experiment of the table, at each of its points. Runs of all tasks are pooled: bring returns to one
    scale first. Of the N runs the floor(N / 4) lowest and highest are left out (`scipy.stats.trim_mean`). For the
    interval the seeds of each task are drawn anew with replacement; it is that of percentiles, which is too narrow
    for few runs.

    Args:
        table: tidy.
        metric: its name there; of each run, the value at the last stage of its task counts.
        generator: of the resamples.
        confidence: of the interval, in (0, 1].
        resamples: how often seeds are drawn anew.

    Returns:
        rule, mean (interquartile), low, high, n (runs) and tasks, sorted by rule.

    Raises:
        ValueError: if the metric is not in the table, a value is not finite, a rule lacks a task, or a run lacks
            the last stage of its task.
    """
    real("confidence", confidence, low=0, high=1, open_low=True, fix="0.95, say.")
    numpy_generator("generator", generator)
    integer("resamples", resamples, minimum=1, fix="2000, say.")
    tasks = _tasks(table, metric)
    found = []
    for rule in sorted({rule for runs in tasks.values() for rule in runs}):
        if lacking := [name for name, runs in tasks.items() if rule not in runs]:
            fail(
                "table",
                "must have every rule in every task",
                f"{rule} not in {lacking[0]}",
                "Run what is missing.",
            )
        values = [runs[rule] for runs in tasks.values()]
        drawn = np.concatenate([generator.choice(one, (resamples, one.size)) for one in values], axis=1)
        ends = [(1 - confidence) / 2, (1 + confidence) / 2]
        low, high = np.quantile(stats.trim_mean(drawn, _CUT, axis=1), ends)
        every = np.concatenate(values)
        found.append((rule, float(stats.trim_mean(every, _CUT)), float(low), float(high), every.size, len(values)))
    return pd.DataFrame(found, columns=["rule", "mean", "low", "high", "n", "tasks"])


def _tasks(table: pd.DataFrame, metric: str) -> dict[str, dict[str, np.ndarray]]:
    """By task, the values of each rule's seeds at the last stage."""
    rows = table[table["metric"] == metric]
    if rows.empty:
        known = ", ".join(sorted(set(table["metric"])))
        fail("metric", f"must be one of {known}", repr(metric), "Choose a metric of the table.")
    if not np.isfinite(rows["value"]).all():
        fail("table", f"must have finite {metric}", "NaN or infinite ones", "Leave out the runs that have them.")
    places = ["experiment", *coordinate_names(rows)]
    one_per(rows, [*places, "rule", "seed", "stage"], f"{metric} per task, rule, seed and stage")
    found: dict[str, dict[str, np.ndarray]] = {}
    for values, here in rows.groupby(places, dropna=False):
        name = ", ".join(str(value) for value in values)
        last = here[here["stage"] == here["stage"].max()]
        found[name] = {str(rule): runs["value"].to_numpy() for rule, runs in last.groupby("rule")}
        for rule, runs in here.groupby("rule"):
            if short := sorted(set(runs["seed"]) - set(last.loc[last["rule"] == rule, "seed"])):
                got = f"{rule}, seed {short[0]}, without it in {name}"
                fail("table", "must have the last stage of every run", got, "Run what is missing.")
    return found
