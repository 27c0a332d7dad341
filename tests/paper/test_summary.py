"""Summaries are as by hand."""

from __future__ import annotations

import math
import statistics

import pandas as pd
import pytest

from dashtheory.paper import QUANTITIES, per_run, summarize_runs
from tests.paper.toys import made_table


def number(rule: str, seed: int, stage: int, metric: str) -> float:
    """Any number, different everywhere."""
    return (1 + seed + 10 * stage + len(rule) ** 2) / (1000 if metric == "test_accuracy" else 1)


def naive(table: pd.DataFrame, rule: str, seeds: list[int], stages: int) -> dict[str, float]:
    """Means and standard deviations with nothing but loops."""
    rows = [tuple(row) for row in table[["rule", "seed", "stage", "metric", "value"]].itertuples(index=False)]
    values: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    for seed in seeds:
        for metric, word in (("test_accuracy", "accuracy"), ("steps", "steps")):
            course = {row[2]: row[4] for row in rows if row[:2] == (rule, seed) and row[3] == metric}
            values[f"last_{word}"].append(course[stages])
            values[f"mean_{word}"].append(sum(course.values()) / len(course))
    found: dict[str, float] = {"n": len(seeds)}
    for name, several in values.items():
        found[name] = sum(several) / len(several)
        found[f"{name}_sd"] = statistics.stdev(several) if len(several) > 1 else math.nan
    return found


def test_a_summary_is_the_naive_one() -> None:
    table = pd.concat(
        [
            made_table(lambda rule, seed, stage, metric: number(rule, seed**2, stage**2, metric), ("warm",)),
            made_table(number, ("dash:lam=0.05",), (4,)),
            made_table(number, ("cold",), (0, 1)),
            made_table(number, ("cold",), (2,), stages=2),  # not finished
            made_table(number, ("sp",), (0,), stages=1),
        ]
    ).iloc[::-1]
    found = summarize_runs(table, 3)
    assert list(found.index) == ["cold", "dash:lam=0.05", "warm"]  # as they appear
    assert list(found.columns) == ["n", *(part for name in QUANTITIES for part in (name, f"{name}_sd"))]
    for rule, seeds in (("warm", [0, 1, 2]), ("cold", [0, 1]), ("dash:lam=0.05", [4])):
        assert found.loc[rule].to_dict() == pytest.approx(naive(table, rule, seeds, 3), nan_ok=True)
    runs = per_run(table, 3)
    assert set(runs.index) == {
        ("warm", 0),
        ("warm", 1),
        ("warm", 2),
        ("cold", 0),
        ("cold", 1),
        ("dash:lam=0.05", 4),
    }
    for rule, seed in runs.index:
        one = naive(table, rule, [seed], 3)
        assert runs.loc[(rule, seed)].to_dict() == pytest.approx({name: one[name] for name in QUANTITIES})


def test_one_seed_has_no_spread() -> None:
    found = summarize_runs(made_table(number, ("cold",), (0,)), 3)
    assert found[[f"{name}_sd" for name in QUANTITIES]].isna().all(axis=None)
    assert not found[list(QUANTITIES)].isna().any(axis=None)


def test_without_a_whole_run_there_is_no_row() -> None:
    for table in (made_table(number, stages=2), made_table(number).iloc[:0]):
        found = summarize_runs(table, 3)
        assert found.empty
        assert list(found.columns)[:3] == ["n", "last_accuracy", "last_accuracy_sd"]
        assert per_run(table, 3).empty


def test_gaps_and_bad_numbers_are_refused() -> None:
    table = made_table(number)
    with pytest.raises(ValueError, match="num_stages must be >= 1, got 0"):
        summarize_runs(table, 0)
    gap = table[(table["stage"] != 2) | (table["metric"] != "steps") | (table["seed"] != 1)]
    with pytest.raises(ValueError, match="table must have steps for each of 3 stages, got 2"):
        summarize_runs(gap, 3)
    with pytest.raises(ValueError, match="table must have test_accuracy for each of 2 stages, got 3"):
        summarize_runs(table, 2)
