"""The explorer of effective steps shows the runs of the committed figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dashtheory.experiments.effective_step import rank_agreement
from dashtheory.explore import explore_steps
from dashtheory.explore.steps import ALL, StepState, compute, describe, limits, rank_correlation
from dashtheory.explore.stored import read
from dashtheory.record import load_table

TABLE = Path(__file__).parents[2] / "figures" / "effective_step.csv"


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9))
def test_the_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, dtype=float).T
    found = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found == 0
    else:
        assert found == pytest.approx(stats.spearmanr(first, second).statistic)


def test_the_correlation_at_the_last_stage_is_that_of_the_figure() -> None:
    agreement = rank_agreement(load_table(TABLE)[0])
    assert compute(StepState()).correlation == pytest.approx(agreement.mean)
    for seed in (0, 7):
        assert compute(StepState(seed=seed)).correlation == pytest.approx(agreement.by_seed[seed])


def test_one_seed_is_shown_as_it_is_and_all_as_their_means() -> None:
    arrays = read("steps")
    one, every = compute(StepState(seed=3)), compute(StepState())
    np.testing.assert_allclose(one.step, arrays["effective_step_at_start"][:, 3])
    np.testing.assert_allclose(every.step, stats.gmean(arrays["effective_step_at_start"], axis=1))
    np.testing.assert_allclose(every.norm, arrays["weight_norm_at_start"].mean(axis=1))
    assert one.points.shape == (len(one.rules), 1, 2)
    assert every.points.shape == (len(one.rules), 10, 2)


def test_all_points_lie_inside_the_axes() -> None:
    ends, arrays = limits(), read("steps")
    for name, values in (
        ("norm", arrays["weight_norm"]),
        ("norm", arrays["weight_norm_at_start"]),
        ("step", arrays["effective_step_at_start"]),
        ("accuracy", 100 * arrays["test_accuracy"]),
        ("later accuracy", 100 * arrays["test_accuracy"][..., 1:]),
    ):
        low, high = ends[name]
        assert low < values.min() < values.max() < high


def test_words_name_the_chosen_rule_alone_or_all() -> None:
    state = StepState(rule="dash", stage=2)
    words = describe(state, compute(state))
    assert "DASH: norm" in words
    assert "S&P" not in words
    assert "S&P" in describe(StepState(), compute(StepState()))
    explorer = explore_steps(rule="dash")
    faded = explorer.png
    explorer.set(rule=ALL)
    assert explorer.png != faded
