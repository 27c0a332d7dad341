"""Tables of results: last and mean accuracy, last and mean steps, mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from dashtheory._check import fail

QUANTITIES = ("last_accuracy", "mean_accuracy", "last_steps", "mean_steps")


def per_run(table: pd.DataFrame, num_stages: int) -> pd.DataFrame:
    """One row per run that went through all stages.

    Args:
        table: tidy, with test_accuracy (a fraction) and steps.
        num_stages: of a whole run.

    Returns:
        pd.DataFrame: index (rule, seed), in order of appearance; columns `QUANTITIES`. last: after the last stage;
        mean: over stages. Accuracies are fractions. It may have no row.
    """
    if num_stages < 1:
        fail("num_stages", "must be >= 1", str(num_stages), "It counts stages.")
    rows = {}
    for key, run in table.groupby(["rule", "seed"], sort=False):
        if run["stage"].nunique() >= num_stages:
            accuracy, steps = (_by_stage(run, metric, num_stages) for metric in ("test_accuracy", "steps"))
            rows[key] = (accuracy.iloc[-1], accuracy.mean(), steps.iloc[-1], steps.mean())
    index = pd.MultiIndex.from_tuples(list(rows), names=["rule", "seed"]) if rows else _NO_RUN
    return pd.DataFrame(list(rows.values()), index=index, columns=list(QUANTITIES), dtype="float64")


_NO_RUN = pd.MultiIndex.from_arrays([[], []], names=["rule", "seed"])


def summarize_runs(table: pd.DataFrame, num_stages: int) -> pd.DataFrame:
    """One row per rule, of the runs that went through all stages.

    Args:
        table: tidy, with test_accuracy (a fraction) and steps.
        num_stages: of a whole run.

    Returns:
        index rule (in order of appearance); columns n (whole runs) and, for each of `QUANTITIES`, its mean over
        seeds and NAME_sd, the sample standard deviation (NaN for one seed). Rules without a whole run are left
        out.
    """
    groups = per_run(table, num_stages).groupby(level="rule", sort=False)
    found = groups.mean()
    for name, spread in groups.std(ddof=1).items():
        found[f"{name}_sd"] = spread
    found["n"] = groups.size()
    return found[_columns(QUANTITIES)]


def parts_run(runs: Iterable[pd.DataFrame], num_stages: int) -> str:
    """How far runs that are not whole have come: "5 of 50 stages"; "stages 2, 5 of 50" where others were left out.

    Args:
        runs: the tidy table of each.
        num_stages: of a whole run.
    """
    return "; ".join(dict.fromkeys(_part(sorted(set(run["stage"])), num_stages) for run in runs))


def _part(stages: list[int], num_stages: int) -> str:
    if stages == list(range(1, len(stages) + 1)):
        return f"{len(stages)} of {num_stages} stages"
    return f"stage{'s' * (len(stages) > 1)} {', '.join(map(str, stages))} of {num_stages}"


def _columns(quantities: Sequence[str]) -> list[str]:
    return ["n", *(column for name in quantities for column in (name, f"{name}_sd"))]


def _by_stage(run: pd.DataFrame, metric: str, num_stages: int) -> pd.Series:
    """The metric's values in order of stages."""
    found = run[run["metric"] == metric].set_index("stage")["value"].sort_index()
    if list(found.index) != list(range(1, num_stages + 1)):
        fail("table", f"must have {metric} for each of {num_stages} stages", str(len(found)), "Run it again.")
    return found
