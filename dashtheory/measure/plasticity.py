"""Plasticity as a number, from scores by task alone: a network that goes on beside one that begins anew.

    plasticity at task j = score_j(continued) - score_j(fresh),    both with the same data and budget    (1)

The word means several things; equation (1) is the one that needs no model of the task, because the fresh twin has
the difficulty of task j in it. What is published without a twin (the mean over tasks, the last tasks, the slope)
is here too, by name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from dashtheory._check import choice, fail, integer, real
from dashtheory.record import one_per
from dashtheory.record.table import coordinate_names

QUANTITIES = ("mean_score", "last_tasks", "slope", "continued_minus_fresh", "last_minus_fresh", "forward_transfer")
"""What `plasticity` tells of a rule."""
BETTER = ("higher", "lower")


def plasticity(
    table: pd.DataFrame,
    *,
    metric: str = "online_accuracy",
    fresh: str = "",
    better: str = "higher",
    last: int = 5,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """The published numbers for plasticity, by rule, from scores by task alone.

    Computed seed by seed, with a_j the score of the rule at task j of J and b_j that of the fresh twin:

        mean_score               mean_j a_j                    the whole stream; Dohare, UPGD, Kumar
        last_tasks               mean of the last `last` a_j   Dohare (50 tasks), Kumar
        slope                    least squares of a_j on j, per task; "loss of plasticity" where < 0
        continued_minus_fresh    mean_j (a_j - b_j)            equation (1) of the module; Dohare (classes arrive)
        last_minus_fresh         the same over the last tasks
        forward_transfer         mean_j (a_j - b_j) / (1 - b_j)     Wolczyk et al. (NeurIPS 2021, Continual World)

    Forward transfer is over the tasks at which the twin is not perfect (b_j < 1); a seed without any has none.
    "Forward transfer" of Lopez-Paz & Ranzato (GEM) is another thing: the score before training on the task. An
    interval is that of the mean over seeds, of Student's t. Range: that of the score; forward transfer at most 1.
    What would fool them: tasks that get easier or harder move mean, last tasks and slope (a twin's too:
    subtract it); tasks that share something make continued minus fresh a sum of transfer and plasticity, so it can
    be positive in a network that learns worse and worse: look at it task by task; online scores reward fast
    starts, scores at the end good ends: never compare one with the other; forward transfer blows up where the
    twin is nearly perfect; a twin with another step size than is best for it flatters the rule.

    Args:
        table: tidy table; its stages are the tasks. Coordinates (a stream, say) are kept apart.
        metric: of the score.
        fresh: metric of the twin's; empty: "fresh_" and the name of the other. Without it in the table what needs
            it is left out.
        better: "higher", or "lower" (an error): signs are turned so that positive is good throughout, and forward
            transfer, which needs a score of at most 1, is left out.
        last: tasks that count as the last ones; fewer if there are fewer.
        confidence: of the interval, in (0, 1).

    Returns:
        the coordinates (a column each), rule, quantity, mean, low, high, n (seeds that have a number) and values
        (tuple, by seed); with one seed low and high are NaN.

    Raises:
        ValueError: if the metric is not there, or there are gaps.
    """
    choice("better", better, BETTER)
    integer("last", last, minimum=1, fix="It counts tasks; 5, say.")
    scores, twins = _wide(table, metric, better), _wide(table, fresh or f"fresh_{metric}", better, needed=False)
    makers: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
        "mean_score": lambda a: a.mean(axis=1),
        "last_tasks": lambda a: a.iloc[:, -last:].mean(axis=1),
        "slope": _slopes,
    }
    found = {name: _per_run(scores, maker) for name, maker in makers.items()}
    if twins is not None:
        gaps = _subtracted(scores, twins)
        found["continued_minus_fresh"] = _per_run(gaps, makers["mean_score"])
        found["last_minus_fresh"] = _per_run(gaps, makers["last_tasks"])
        if better == "higher":
            room = _lined_up(twins, scores).rsub(1)
            found["forward_transfer"] = (gaps / room).where(room > 0).mean(axis=1)
    rows = [
        {**point, "quantity": name, **_interval(values.dropna(), confidence)}
        for name, runs in found.items()
        for point, values in _groups(runs, [*_points(scores), "rule"])
    ]
    return pd.DataFrame(rows)


def continued_minus_fresh(
    table: pd.DataFrame,
    *,
    metric: str = "online_accuracy",
    fresh: str = "",
    better: str = "higher",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Equation (1) task by task: mean over seeds, paired within each, with its interval of Student's t.

    Args:
        table: as `plasticity`.
        metric: as `plasticity`.
        fresh: as `plasticity`.
        better: as `plasticity`.
        confidence: of the interval, each task by itself, in (0, 1).

    Returns:
        the coordinates (a column each), rule, stage (the task), mean, low, high, n and values (tuple, by seed).

    Raises:
        ValueError: if one of the metrics is not there, or there are gaps.
    """
    choice("better", better, BETTER)
    scores, twins = _wide(table, metric, better), _wide(table, fresh or f"fresh_{metric}", better)
    assert twins is not None
    gaps = _subtracted(scores, twins)
    rows = [
        {**point, "stage": int(stage), **_interval(values.dropna(), confidence)}
        for stage in gaps.columns
        for point, values in _groups(gaps[stage].dropna(), [*_points(scores), "rule"])
    ]
    by = [*_points(scores), "rule", "stage"]
    return pd.DataFrame(rows).sort_values(by, kind="stable", ignore_index=True)


def _wide(table: pd.DataFrame, metric: str, better: str, *, needed: bool = True) -> pd.DataFrame | None:
    """A row per run (coordinates, rule, seed), a column per task."""
    rows = table[table["metric"] == metric]
    if rows.empty:
        if not needed:
            return None
        known = ", ".join(sorted(set(table["metric"])))
        fail("metric", f"must be one of {known}", repr(metric), "Choose a metric of the table.")
    index = [*coordinate_names(rows), "rule", "seed"]
    one_per(rows, [*index, "stage"], f"{metric} per rule, seed, task and point")
    wide: pd.DataFrame = rows.pivot(index=index, columns="stage", values="value").sort_index(axis=1)
    holes = wide.apply(lambda run: bool(run.loc[: run.last_valid_index()].isna().any()), axis=1)
    if bool(holes.any()):
        fail("table", f"must have {metric} of every task up to a run's last", "gaps", "Run what is missing.")
    return wide if better == "higher" else -wide


def _lined_up(twins: pd.DataFrame, scores: pd.DataFrame | None) -> pd.DataFrame:
    assert scores is not None
    found: pd.DataFrame = twins.reindex(index=scores.index, columns=scores.columns)
    if bool((found.isna() & scores.notna()).any(axis=None)):
        fail("table", "must have the fresh twin of every run and task", "gaps", "Run what is missing.")
    return found


def _subtracted(scores: pd.DataFrame | None, twins: pd.DataFrame) -> pd.DataFrame:
    assert scores is not None
    return scores - _lined_up(twins, scores)


def _per_run(wide: pd.DataFrame | None, maker: Callable[[pd.DataFrame], pd.Series]) -> pd.Series:
    """A number per run, over its own tasks: streams may have different lengths."""
    assert wide is not None
    lengths = wide.apply(lambda run: run.index.get_loc(run.last_valid_index()) + 1, axis=1)
    parts = [maker(wide[lengths == length].iloc[:, :length]) for length in sorted(set(lengths))]
    found: pd.Series = pd.concat(parts).reindex(wide.index)
    return found


def _slopes(scores: pd.DataFrame) -> pd.Series:
    tasks = scores.columns.to_numpy(dtype=float)
    centred = tasks - tasks.mean()
    if len(tasks) < 2:
        return pd.Series(np.nan, index=scores.index)
    return pd.Series(scores.to_numpy() @ centred / (centred @ centred), index=scores.index)


def _points(wide: pd.DataFrame | None) -> list[str]:
    assert wide is not None
    return [str(name) for name in wide.index.names if name not in ("rule", "seed")]


def _groups(runs: pd.Series, names: list[str]) -> list[tuple[dict[str, object], pd.Series]]:
    found = runs.groupby(level=names, dropna=False)
    return [(dict(zip(names, key if isinstance(key, tuple) else (key,), strict=True)), one) for key, one in found]


def _interval(values: pd.Series, confidence: float) -> dict[str, object]:
    """Mean over seeds with its interval of Student's t."""
    real("confidence", confidence, low=0, high=1, open_low=True, fix="0.95, say.")
    mean, count = float(values.mean()), len(values)
    half = np.nan
    if count > 1:
        half = float(stats.t.ppf((1 + confidence) / 2, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": count, "values": tuple(values.tolist())}
