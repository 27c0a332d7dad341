"""Interquartile means: the middle half of all runs, and an interval whose seeds are drawn anew task by task."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashtheory.record import concatenate, interquartile_means, make_table


def task(name: str, values: dict[str, list[float]], stages: int = 2) -> pd.DataFrame:
    """Values at the last stage by rule, a seed each; others before it."""
    return make_table(
        {
            "level": "rl",
            "experiment": name,
            "rule": rule,
            "seed": seed,
            "stage": stage,
            "metric": "return",
            "value": value if stage == stages else -1000.0,
        }
        for rule, runs in values.items()
        for seed, value in enumerate(runs)
        for stage in range(1, stages + 1)
    )


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=17))
def test_it_is_the_mean_of_what_is_left_without_a_quarter_at_either_end(values: list[float]) -> None:
    (line,) = interquartile_means(task("a", {"warm": values}), "return", generator()).to_dict("records")
    cut = len(values) // 4
    assert line["mean"] == pytest.approx(np.mean(sorted(values)[cut : len(values) - cut]), abs=1e-9)
    assert line["n"] == len(values)


def test_runs_of_all_tasks_are_pooled_and_one_wild_run_does_not_count() -> None:
    both = concatenate([task("a", {"warm": [1, 2, 3, 1e9]}), task("b", {"warm": [4, 5, 6, -1e9]}, stages=3)])
    (line,) = interquartile_means(both, "return", generator()).to_dict("records")
    assert (line["mean"], line["n"], line["tasks"]) == (3.5, 8, 2)


def test_points_of_an_experiment_are_tasks() -> None:
    both = concatenate([task("a", {"warm": [1.0, 2.0]}).assign(game=game) for game in ("x", "y")])
    assert interquartile_means(both, "return", generator())["tasks"].item() == 2


def test_seeds_are_drawn_within_their_task() -> None:
    """Tasks far apart, without spread inside: drawing over tasks would make the interval wide."""
    both = concatenate([task("a", {"warm": [0.0] * 4}), task("b", {"warm": [100.0] * 4})])
    (line,) = interquartile_means(both, "return", generator()).to_dict("records")
    assert line["low"] == line["mean"] == line["high"] == 50


def test_the_interval_covers_about_as_often_as_it_says() -> None:
    """Of 400 normal tables 95%, within four standard errors of 1.1 points, and a point less for few runs."""
    draws = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        values = draws.normal(size=(2, 20))
        both = concatenate([task(name, {"warm": list(runs)}, 1) for name, runs in zip("ab", values, strict=True)])
        (line,) = interquartile_means(both, "return", draws, resamples=300).to_dict("records")
        covered += line["low"] <= 0 <= line["high"]
    assert 0.95 - 0.054 < covered / 400 < 0.95 + 0.044


def test_the_same_generator_gives_the_same_interval() -> None:
    runs = task("a", {"warm": [1.0, 2, 5, 9, 4], "dash": [2.0, 3, 4, 4, 4]})
    first, again = (interquartile_means(runs, "return", generator()) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert first["rule"].tolist() == ["dash", "warm"]


def test_what_cannot_be_compared_is_refused() -> None:
    whole = task("a", {"warm": [1.0, 2.0], "dash": [1.0, 2.0]})
    for changed, words in (
        (
            concatenate([whole, task("b", {"warm": [1.0]})]),
            "must have every rule in every task, got dash not in b",
        ),
        (
            whole.drop(index=whole.index[-1]),
            "must have the last stage of every run, got .*seed 1, without it in a",
        ),
        (whole.assign(value=np.inf), "must have finite return"),
        (concatenate([whole, whole]), "one return per task"),
    ):
        with pytest.raises(ValueError, match=words):
            interquartile_means(changed, "return", generator())
    for options, words in (
        ({"confidence": 0.0}, "confidence"),
        ({"resamples": 0}, "resamples"),
    ):
        with pytest.raises(ValueError, match=words):
            interquartile_means(whole, "return", generator(), **options)
    with pytest.raises(ValueError, match="metric must be one of return, got 'gain'"):
        interquartile_means(whole, "gain", generator())


def test_the_page_has_an_example_that_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).parents[2]
    (code,) = re.findall(r"```python\n(.*?)```", (root / "docs" / "more_seeds.md").read_text(), re.S)
    monkeypatch.chdir(root)
    exec(code, {})
    shown = capsys.readouterr().out
    assert "here six of a frozen lake" in (root / "docs" / "more_seeds.md").read_text()
    assert {line.split()[-1] for line in shown.splitlines()[1:]} == {"6"}
