"""Plasticity from scores by task: arithmetic at hand size."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
import pytest
from scipy import stats

from dashtheory.measure import continued_minus_fresh, plasticity
from dashtheory.record import make_table

Scores = Mapping[int, list[float]]


def table(metric: str, runs: Scores, *, rule: str = "warm", stream: str = "") -> list[dict[str, object]]:
    return [
        {
            **{"level": "deep", "experiment": "toy", "rule": rule, "seed": seed, "stage": stage, "metric": metric},
            **({"stream": stream} if stream else {}),
            "value": value,
        }
        for seed, values in runs.items()
        for stage, value in enumerate(values, start=1)
    ]


CONTINUED = {0: [0.5, 0.6, 0.1], 1: [0.7, 0.4, 0.3]}
FRESH = {0: [0.5, 0.5, 0.5], 1: [0.5, 0.5, 0.75]}


def found(rows: list[dict[str, object]], **options: object) -> pd.DataFrame:
    return plasticity(make_table(rows), **options).set_index("quantity")  # type: ignore[arg-type]


def test_every_quantity_by_hand() -> None:
    rows = [*table("online_accuracy", CONTINUED), *table("fresh_online_accuracy", FRESH)]
    one = found(rows, last=2)
    expected = {
        "mean_score": (0.4, 1.4 / 3),
        "last_tasks": (0.35, 0.35),
        "slope": (-0.2, -0.2),
        "continued_minus_fresh": (-0.1, -0.35 / 3),
        "last_minus_fresh": (-0.15, (-0.1 - 0.45) / 2),
        "forward_transfer": ((0 + 0.2 - 0.8) / 3, (0.4 - 0.2 - 1.8) / 3),
    }
    assert list(one.index) == list(expected)
    for name, values in expected.items():
        assert one.loc[name, "values"] == pytest.approx(values)
        assert one.loc[name, "mean"] == pytest.approx(sum(values) / 2)
        assert one.loc[name, "n"] == 2
    gap = one.loc["last_minus_fresh"]
    half = stats.t.ppf(0.975, 1) * abs(gap["values"][0] - gap["values"][1]) / 2
    assert (gap["low"], gap["high"]) == pytest.approx((gap["mean"] - half, gap["mean"] + half))


def test_a_perfect_twin_leaves_no_room_for_forward_transfer() -> None:
    rows = table("online_accuracy", CONTINUED)
    fresh = {0: [1.0, 1.0, 1.0], 1: [0.5, 0.5, 1.0]}
    one = found([*rows, *table("fresh_online_accuracy", fresh)]).loc["forward_transfer"]
    assert (one["n"], one["values"]) == (1, pytest.approx(((0.4 - 0.2) / 2,)))
    assert pd.isna(one["low"])
    perfect = found([*rows, *table("fresh_online_accuracy", dict.fromkeys(CONTINUED, [1.0] * 3))])
    assert (perfect.loc["forward_transfer", "n"], perfect.loc["mean_score", "n"]) == (0, 2)
    assert pd.isna(perfect.loc["forward_transfer", "mean"])


def test_by_task_the_twin_is_subtracted_within_each_seed() -> None:
    rows = [*table("online_accuracy", CONTINUED), *table("fresh_online_accuracy", FRESH)]
    one = continued_minus_fresh(make_table(rows))
    assert one["stage"].tolist() == [1, 2, 3]
    assert one["mean"].tolist() == pytest.approx([0.1, 0, -0.425])
    assert one["values"][2] == pytest.approx((-0.4, -0.45))


def test_without_twins_what_needs_them_is_left_out() -> None:
    assert list(found(table("online_accuracy", CONTINUED)).index) == ["mean_score", "last_tasks", "slope"]
    with pytest.raises(ValueError, match=r"^metric must be one of"):
        continued_minus_fresh(make_table(table("online_accuracy", CONTINUED)))


def test_errors_are_turned_so_that_up_is_good() -> None:
    rows = [*table("online_error", CONTINUED), *table("fresh_online_error", FRESH)]
    down, up = (found(rows, metric="online_error", better=better) for better in ("lower", "higher"))
    assert "forward_transfer" not in down.index
    for name in down.index:
        assert down.loc[name, "mean"] == pytest.approx(-up.loc[name, "mean"])


def test_streams_of_other_lengths_and_a_perfect_twin() -> None:
    rows = [
        *table("online_accuracy", CONTINUED, stream="a"),
        *table("online_accuracy", {0: [0.2, 0.4]}, stream="b"),
        *table("fresh_online_accuracy", FRESH, stream="a"),
        *table("fresh_online_accuracy", {0: [1.0, 0.5]}, stream="b"),
    ]
    one = plasticity(make_table(rows)).set_index(["stream", "quantity"])["mean"]
    assert one["b", "mean_score"] == pytest.approx(0.3)
    assert one["b", "slope"] == pytest.approx(0.2)
    assert one["b", "forward_transfer"] == pytest.approx(-0.2)  # where the twin is perfect nothing is left to gain
    assert one["a", "slope"] == pytest.approx(-0.2)
    by_task = continued_minus_fresh(make_table(rows))
    assert by_task.groupby("stream")["stage"].max().to_dict() == {"a": 3, "b": 2}
    assert math.isnan(by_task[by_task["stream"] == "b"]["low"].iloc[0])


def test_gaps_are_refused() -> None:
    rows = [*table("online_accuracy", CONTINUED), *table("fresh_online_accuracy", {0: [0.5] * 3, 1: [0.5] * 2})]
    with pytest.raises(ValueError, match=r"^table must have the fresh twin"):
        plasticity(make_table(rows))
    hole = [row for row in table("online_accuracy", CONTINUED) if (row["seed"], row["stage"]) != (1, 2)]
    with pytest.raises(ValueError, match=r"^table must have online_accuracy of every task"):
        plasticity(make_table(hole))
