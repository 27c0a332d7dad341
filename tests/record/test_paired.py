"""Paired differences and their drawing."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dashtheory.plot import draw_differences, rule_style, style
from dashtheory.record import make_table, paired_differences, stage_rows


def table(values: dict[str, list[float]], stages: int = 2) -> pd.DataFrame:
    """Accuracy of each rule, a value per seed at the last stage, and others before it."""
    return make_table(
        row
        for rule, accuracies in values.items()
        for seed, accuracy in enumerate(accuracies)
        for stage in range(1, stages + 1)
        for row in stage_rows(
            level="deep",
            experiment="x",
            rule=rule,
            seed=seed,
            stage=stage,
            metrics={"accuracy": accuracy if stage == stages else 100.0 * seed, "steps": 1.0},
        )
    )


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    draws = np.random.default_rng(0).normal(size=(3, 6))
    made = table({"cold": draws[0].tolist(), "warm": draws[1].tolist(), "dash": draws[2].tolist()})
    for confidence in (0.95, 0.6):
        found = paired_differences(made, "accuracy", "cold", confidence=confidence).set_index("rule")
        assert list(found.index) == ["dash", "warm"]
        for rule, row in (("warm", 1), ("dash", 2)):
            oracle = stats.ttest_rel(draws[row], draws[0]).confidence_interval(confidence)
            assert found.loc[rule, "low"] == pytest.approx(oracle.low, abs=1e-12)
            assert found.loc[rule, "high"] == pytest.approx(oracle.high, abs=1e-12)
            assert found.loc[rule, "differences"] == pytest.approx((draws[row] - draws[0]).tolist())
            assert found.loc[rule, "positive"] == (draws[row] > draws[0]).sum()
            assert found.loc[rule, "n"] == 6


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        noise = generator.normal(size=4)
        found = paired_differences(
            table({"cold": [0.0] * 4, "warm": (0.3 + noise).tolist()}, stages=1),
            "accuracy",
            "cold",
            confidence=0.8,
        ).iloc[0]
        hits += found["low"] <= 0.3 <= found["high"]
    assert 0.72 < hits / 300 < 0.88  # 80% within 3.5 standard errors


def test_what_seeds_share_cancels() -> None:
    found = paired_differences(table({"cold": [0.1, 0.5, 0.9], "warm": [0.2, 0.6, 1.0]}), "accuracy", "cold")
    assert found["mean"].tolist() == pytest.approx([0.1])
    assert found["high"].tolist() == pytest.approx(found["low"].tolist())


def test_one_seed_has_no_interval() -> None:
    found = paired_differences(table({"cold": [0.1], "warm": [0.3]}), "accuracy", "cold").iloc[0]
    assert found["mean"] == pytest.approx(0.2)
    assert math.isnan(found["low"])
    assert math.isnan(found["high"])


def test_a_seed_without_a_difference_is_not_positive() -> None:
    found = paired_differences(table({"cold": [0.5, 0.5, 0.5], "warm": [0.5, 0.75, 0.25]}), "accuracy", "cold")
    assert found["positive"].tolist() == [1]


def test_what_cannot_be_paired_is_refused() -> None:
    made = table({"cold": [0.1, 0.2], "warm": [0.3]})
    with pytest.raises(ValueError, match="table must have accuracy for every rule and seed"):
        paired_differences(made, "accuracy", "cold")
    with pytest.raises(ValueError, match="reference must be one of cold, warm, got 'dash'"):
        paired_differences(made, "accuracy", "dash")
    with pytest.raises(ValueError, match="metric must be one of accuracy, steps"):
        paired_differences(made, "loss", "cold")
    with pytest.raises(ValueError, match="confidence must be a number"):
        paired_differences(made, "accuracy", "cold", confidence=0)


def test_every_rule_has_a_row_with_its_mean_interval_and_seeds() -> None:
    made = table({"cold": [0.1, 0.2, 0.3], "warm": [0.3, 0.5, 0.4]})
    found = paired_differences(made, "accuracy", "cold")
    with style():
        _, ax = plt.subplots()
        draw_differences(ax, found, ["cold", "warm"], scale=100)
        assert [label.get_text() for label in ax.get_yticklabels()] == ["cold", "warm"]
        assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first rule on top
        points = {tuple(np.round(line.get_xdata(), 6)): line.get_ydata() for line in ax.lines}  # type: ignore[arg-type]
        assert (20.0, 30.0, 10.0) in points
        mean = round(100 * found["mean"][0], 6)
        assert np.asarray(points[(mean,)]).tolist() == [1]
        segment = ax.collections[0].get_segments()[0]  # type: ignore[attr-defined]
        assert segment[:, 0].tolist() == pytest.approx([100 * found["low"][0], 100 * found["high"][0]])
        rows = np.asarray(points[20.0, 30.0, 10.0]).tolist()
        assert rows == pytest.approx([1.24] * 3)  # below their row, apart from the next
        assert np.asarray(points[0,]).tolist() == [0]  # the reference: no difference, a mark at zero
        assert np.asarray(points[0, 0]).tolist() == [0, 1]  # the line at zero, over the whole height
        assert segment[:, 1].tolist() == [1, 1]
        colors = {line.get_color() for line in ax.lines if line.get_xdata()[0] in (20.0, mean)}  # type: ignore[index]
        assert colors <= {rule_style("warm").color}
        (mark,) = [
            line
            for line in draw_differences(plt.figure().gca(), found, ["warm", "cold"]).lines
            if line.get_marker() == "|"
        ]
        assert (np.asarray(mark.get_xdata()).tolist(), np.asarray(mark.get_ydata()).tolist()) == ([0], [1])
        draw_differences(ax, found, ["warm"], names=False)
        assert [label.get_text() for label in ax.get_yticklabels()] == [""]
        plt.close("all")


def test_gaps_and_mixtures_of_experiments_are_refused() -> None:
    made = table({"cold": [0.1, 0.2], "warm": [0.3, 0.4]})
    shorter = made[(made["rule"] != "warm") | (made["stage"] < 2)]
    with pytest.raises(ValueError, match="table must have accuracy for every rule and seed"):
        paired_differences(shorter, "accuracy", "cold")
    twice = pd.concat([made, made.assign(experiment="y")])
    with pytest.raises(ValueError, match=r"one accuracy per rule and seed, got several \(experiment x, y\)"):
        paired_differences(twice, "accuracy", "cold")
    with pytest.raises(ValueError, match="confidence must be below 1"):
        paired_differences(made, "accuracy", "cold", confidence=1)
