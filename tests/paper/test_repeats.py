"""DASH minus each rule: paired by seed, of the seeds that both have, with an interval from three seeds on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dashtheory.paper.repeats import dash_minus, draw_repeats, render_repeats
from dashtheory.plot import style
from tests.paper.toys import made_table

ENDS = {"cold": 0.3, "warm": 0.25, "dash": 0.4}


def value(rule: str, seed: int, stage: int, metric: str) -> float:
    """Seeds differ by far more than rules do, and DASH's lead by a point a seed."""
    return ENDS[rule] + 0.2 * seed + stage / 100 + (seed / 100 if rule == "dash" else 0)


def table(seeds: int = 3, stages: int = 3) -> pd.DataFrame:
    return made_table(value, tuple(ENDS), tuple(range(seeds)), stages, ("test_accuracy", "steps"))


def test_differences_are_paired_and_the_interval_is_that_of_the_t_test() -> None:
    found = dash_minus(table()).set_index(["stage", "rule"])
    assert found.index.tolist() == [(stage, rule) for stage in (2, 3) for rule in ("cold", "warm")]
    assert found["differences"].loc[2, "cold"] == pytest.approx((0.10, 0.11, 0.12))
    half = stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    values = [found[name].loc[3, "cold"] for name in ("mean", "low", "high", "p")]
    p = 2 * stats.t.sf(0.11 / (0.01 / np.sqrt(3)), 2)
    assert values == pytest.approx([0.11, 0.11 - half, 0.11 + half, p])


def test_seeds_that_one_of_both_lacks_are_left_out() -> None:
    whole = table()
    part = whole[~((whole["rule"] == "cold") & (whole["seed"] == 1))]
    part = part[~((part["rule"] == "dash") & (part["stage"] == 3) & (part["seed"] > 0))]
    found = dash_minus(part).set_index(["stage", "rule"])
    assert found.index.tolist() == [(2, "cold"), (2, "warm")]  # at stage 3 DASH has one seed
    assert found["differences"].loc[2, "cold"] == pytest.approx((0.10, 0.12))
    assert found["n"].tolist() == [2, 3]
    assert found["low"].isna().tolist() == found["p"].isna().tolist() == [True, False]


@pytest.mark.parametrize("left", [["dash"], ["cold", "warm"]])
def test_without_dash_or_others_or_a_second_seed_there_is_nothing(left: list[str]) -> None:
    whole = table()
    assert dash_minus(whole[whole["rule"].isin(left)]).empty
    assert dash_minus(whole[whole["seed"] == 0]).empty
    assert dash_minus(table(stages=1)).empty
    assert render_repeats(dash_minus(whole[whole["seed"] == 0])) == ""


def test_the_page_gives_each_seed_and_no_interval_of_two() -> None:
    two, three = (render_repeats(dash_minus(table(seeds))) for seeds in (2, 3))
    assert "| cold | +10.5 (+10.0, +11.0) | +10.5 (+10.0, +11.0) |" in two
    assert "| cold | +11.0 (+10.0, +11.0, +12.0) [+8.5, +13.5] |" in three
    assert two.count("\n") == 3


@pytest.mark.parametrize(("stages", "shown"), [(2, [2]), (5, [2, 3, 4, 5]), (9, [2, 4, 7, 9])])
def test_four_panels_at_most_from_the_first_to_the_last(stages: int, shown: list[int]) -> None:
    with style():
        figure = draw_repeats(dash_minus(table(3, stages)), {"title": "t", "setting": "s", "foot": "f"})
    assert [ax.get_title() or ax.get_title("left") for ax in figure.axes] == [
        f"after stage {one}" for one in shown
    ]
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == ["cold", "warm"]
    (mark,) = (line for line in figure.axes[-1].lines if line.get_marker() == "o")
    assert np.asarray(mark.get_xdata()).tolist() == pytest.approx([11])
