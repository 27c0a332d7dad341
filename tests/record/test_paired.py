"""Paired differences and their drawing."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import stats

from dashtheory.plot import draw_amounts, draw_differences, rule_style, style
from dashtheory.record import holm, make_table, paired_differences, stage_rows


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


def by_hand(differences: list[float], confidence: float) -> tuple[float, float, float]:
    """Mean, low and high of Student's interval, from its formula."""
    count = len(differences)
    mean = math.fsum(differences) / count
    variance = math.fsum((value - mean) ** 2 for value in differences) / (count - 1)
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * math.sqrt(variance / count)
    return mean, mean - half, mean + half


def test_the_interval_is_that_of_the_formula_up_to_rounding() -> None:
    """Sums of six numbers of size 1 in another order differ by a few times 1e-16; quantiles by as much: 1e-14."""
    draws = np.random.default_rng(0).normal(size=(3, 6))
    made = table({"cold": draws[0].tolist(), "warm": draws[1].tolist(), "dash": draws[2].tolist()})
    for confidence in (0.95, 0.6):
        found = paired_differences(made, "accuracy", "cold", confidence=confidence).set_index("rule")
        assert list(found.index) == ["dash", "warm"]
        for rule, row in (("warm", 1), ("dash", 2)):
            differences = (draws[row] - draws[0]).tolist()
            oracle = by_hand(differences, confidence)
            assert list(found.loc[rule, ["mean", "low", "high"]]) == pytest.approx(oracle, rel=0, abs=1e-14)
            assert found.loc[rule, "differences"] == tuple(differences)
            assert found.loc[rule, "positive"] == (draws[row] > draws[0]).sum()
            assert found.loc[rule, "n"] == 6


def test_the_p_value_is_that_of_the_statistic() -> None:
    draws = np.random.default_rng(1).normal(size=(2, 5))
    found = paired_differences(table({"cold": draws[0].tolist(), "warm": draws[1].tolist()}), "accuracy", "cold")
    mean, low, _ = by_hand((draws[1] - draws[0]).tolist(), 0.95)
    t = mean / ((mean - low) / float(stats.t.ppf(0.975, 4)))
    assert found.iloc[0]["p"] == pytest.approx(2 * float(stats.t.sf(abs(t), 4)), rel=1e-10)


def test_holm_s_correction_against_its_definition() -> None:
    """Reject in ascending order while p_i <= level / (m - i + 1): the corrected value is the least such level."""
    values = np.random.default_rng(0).uniform(size=7) ** 3
    found = holm(values.tolist())
    for level in np.linspace(0.001, 0.999, 400):
        rejected = set()
        for rank, place in enumerate(np.argsort(values)):
            if values[place] > level / (len(values) - rank):
                break
            rejected.add(int(place))
        assert rejected == {place for place, value in enumerate(found) if value <= level}


def test_what_was_not_tested_does_not_count_among_the_tests() -> None:
    found = holm([0.01, math.nan, 0.02])
    assert found[::2] == [0.02, 0.02]
    assert math.isnan(found[1])
    assert holm([]) == []


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


@pytest.mark.parametrize("difference", [0.0, 0.25])
def test_differences_without_spread_have_an_interval_without_width(difference: float) -> None:
    made = table({"cold": [0.0, 0.5, 0.25], "warm": [difference, 0.5 + difference, 0.25 + difference]})
    found = paired_differences(made, "accuracy", "cold").iloc[0]
    assert found[["mean", "low", "high"]].tolist() == [difference] * 3


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
        lines, seeds = ax.collections
        assert np.sort(np.asarray(seeds.get_offsets())[:, 0]) == pytest.approx([10, 20, 30])
        assert (np.asarray(seeds.get_offsets())[:, 1] > 1).all()  # below their row
        mean = round(100 * found["mean"][0], 6)
        assert np.asarray(points[(mean,)]).tolist() == [1]
        (segment,) = lines.get_segments()  # type: ignore[attr-defined]
        assert segment[:, 0].tolist() == pytest.approx([100 * found["low"][0], 100 * found["high"][0]])
        assert np.asarray(points[0,]).tolist() == [0]  # the reference: no difference, a mark at zero
        assert np.asarray(points[0, 0]).tolist() == [0, 1]  # the line at zero, over the whole height
        assert segment[:, 1].tolist() == [1, 1]
        marks = [line for line in ax.lines if np.size(line.get_xdata()) == 1]
        assert marks[-1].get_color() == rule_style("warm").color
        assert {to_hex(color) for color in np.asarray(seeds.get_facecolor())} == {rule_style("warm").color.lower()}
        (mark,) = [
            line
            for line in draw_differences(plt.figure().gca(), found, ["warm", "cold"]).lines
            if line.get_marker() == "|"
        ]
        assert (np.asarray(mark.get_xdata()).tolist(), np.asarray(mark.get_ydata()).tolist()) == ([0], [1])
        draw_differences(ax, found, ["warm"], names=False)
        assert [label.get_text() for label in ax.get_yticklabels()] == [""]
        plt.close("all")


def test_seeds_of_equal_difference_do_not_hide_each_other() -> None:
    made = table({"cold": [0.0] * 4, "warm": [0.5, 0.5, 0.5, 0.9]})
    with style():
        figure, ax = plt.subplots(figsize=(4, 1.2))
        draw_differences(ax, paired_differences(made, "accuracy", "cold"), ["cold", "warm"])
        figure.canvas.draw()
        seeds = ax.collections[-1]
        places = ax.transData.transform(np.asarray(seeds.get_offsets()))
    distances = [math.dist(a, b) for i, a in enumerate(places) for b in places[:i]]
    diameter = np.sqrt(seeds.get_sizes()[0]) * figure.dpi / 72  # type: ignore[attr-defined]
    assert min(distances) >= diameter
    plt.close(figure)


def test_one_rule_alone_and_many_equal_seeds_are_drawn() -> None:
    made = table({"cold": [0.0] * 40, "warm": [0.5] * 40})
    found = paired_differences(made, "accuracy", "cold")
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(4, 1))
        draw_differences(left, found, ["cold", "warm"])  # more seeds than a row has room for: no warning
        draw_differences(right, found, ["cold"])
        figure.canvas.draw()
    assert len(np.asarray(left.collections[-1].get_offsets())) == 40
    assert not right.collections
    plt.close(figure)


def test_bars_are_means_with_their_standard_deviation() -> None:
    steps = pd.Series([1.0, 3.0, 10.0, 20.0], index=["warm", "warm", "cold", "cold"])
    with style():
        figure, ax = plt.subplots()
        assert draw_amounts(ax, steps, ["cold", "warm"]) is ax
    assert [(bar.get_width(), to_hex(bar.get_facecolor())) for bar in ax.patches] == [  # type: ignore[attr-defined]
        (15, rule_style("cold").color.lower()),
        (2, rule_style("warm").color.lower()),
    ]
    for line, mean, sd in zip(ax.lines, (15, 2), (np.std([10, 20], ddof=1), np.std([1, 3], ddof=1)), strict=True):
        assert np.asarray(line.get_xdata()) == pytest.approx([mean - sd, mean + sd])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cold", "warm"]
    plt.close(figure)


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
