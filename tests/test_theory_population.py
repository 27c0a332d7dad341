"""The population limit: exact where it can be enumerated, the limit of the simulator where it cannot."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dashtheory.discrete import (
    RULES,
    expected_accuracy,
    fewer_than_tau,
    paper_probabilities,
    sample_packed,
    simulate,
)
from dashtheory.discrete.experiment import DiscreteConfig, run_discrete
from dashtheory.theory import (
    PREDICTED,
    FeatureTable,
    population,
    predict_discrete,
    prefix_tails,
    run_with_prediction,
)


def stationary_data(table: FeatureTable, copies: NDArray[np.int64], num_stages: int) -> NDArray[np.bool_]:
    """Bool (C, K, n): every chunk shows row r of class c exactly copies[c, r] times."""
    chunks = [np.repeat(rows, number, axis=0) for rows, number in zip(table.combinations, copies, strict=True)]
    return np.stack([np.tile(chunk, (num_stages, 1)).T for chunk in chunks])


@st.composite
def stationary_cases(draw: st.DrawFn) -> tuple[FeatureTable, NDArray[np.int64], int, int, float, int]:
    """Chunks that repeat exactly: a table, copies of its rows, chunk size, stages, gamma, tau."""
    num_classes, num_features = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    num_rows, chunk_size = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    bits = draw(st.lists(st.booleans(), min_size=num_classes * num_rows * num_features, max_size=100))
    rows = np.array(bits[: num_classes * num_rows * num_features]).reshape(num_classes, num_rows, num_features)
    picks = draw(
        st.lists(
            st.integers(0, num_rows - 1), min_size=num_classes * chunk_size, max_size=num_classes * chunk_size
        )
    )
    copies = np.stack([np.bincount(part, minlength=num_rows) for part in np.reshape(picks, (num_classes, -1))])
    table = FeatureTable(combinations=rows, frequencies=copies / chunk_size)
    # gamma lies off the integers, so that rounding in frequencies cannot tip a tie.
    gamma = draw(st.integers(0, 3 * chunk_size)) + 0.5
    return table, copies, chunk_size, draw(st.integers(1, 4)), gamma, draw(st.integers(1, 4))


@settings(max_examples=150)
@given(case=stationary_cases(), rule=st.sampled_from(RULES))
def test_on_exactly_stationary_chunks_the_limit_is_the_simulator(case: Any, rule: str) -> None:
    table, copies, chunk_size, num_stages, gamma, tau = case
    data = stationary_data(table, copies, num_stages)
    run = simulate(data, chunk_size, gamma=gamma, tau=tau, rule=rule)
    limit = population(table, chunk_size, num_stages, gamma=gamma, tau=tau, rule=rule)
    assert np.array_equal(limit.learned, run.learned)
    assert np.allclose(limit.active_at_start, run.active_at_start, rtol=0, atol=1e-9)
    assert np.allclose(limit.memorized, run.num_memorized, rtol=0, atol=1e-9)
    assert np.array_equal(limit.num_learned, run.num_learned)


@settings(max_examples=60)
@given(
    probabilities=st.lists(
        st.lists(st.integers(0, 20).map(lambda i: i / 23), min_size=4, max_size=4), min_size=1, max_size=3
    ),
    rule=st.sampled_from(RULES),
    gamma=st.floats(0.37, 60.0),
    tau=st.integers(1, 6),
)
def test_the_closed_form_is_the_learner_on_all_combinations(
    probabilities: list[list[float]], rule: str, gamma: float, tau: int
) -> None:
    options: dict[str, Any] = {"gamma": gamma, "tau": tau, "rule": rule}
    closed = population(probabilities, 17.3, 5, **options)
    listed = population(FeatureTable.independent(probabilities), 17.3, 5, **options)
    assert np.array_equal(closed.learned, listed.learned)
    for name in ("accuracy", "memorized", "active_at_start"):
        assert np.allclose(getattr(closed, name), getattr(listed, name), rtol=1e-12, atol=1e-12), name
    assert np.allclose(closed.accuracy, expected_accuracy(closed.learned, probabilities, tau), rtol=1e-13)


def test_prefix_tails_are_the_tails_of_prefixes() -> None:
    p = -np.sort(-np.random.default_rng(0).uniform(0, 1, (2, 9)), axis=1)
    for tau in (1, 2, 5, 9, 10, 50):
        tails = prefix_tails(p, tau)
        for k in range(10):
            learned = np.broadcast_to(np.arange(9) < k, (2, 9))
            assert np.allclose(tails[:, k], fewer_than_tau(learned, p, tau), rtol=1e-13)
        assert (np.diff(tails, axis=1) <= 0).all()


@pytest.mark.parametrize("rule", RULES)
def test_the_simulator_approaches_the_limit_about_as_one_over_the_root_of_the_chunk(rule: str) -> None:
    """Mean absolute error of accuracy over 10 stages and 4 seeds, gamma a tenth of the chunk per class.

    Measured over 6 seeds for 500, 5,000 and 50,000 samples per class: cold and ideal 0.0033, 0.0025, 0.0005;
    warm 0.044, 0.018, 0.003. A hundredfold chunk divided the error by 7 (cold) and 15 (warm); a law of one over
    the root says 10. The test asks for a factor of 4 to 40, and for errors within twice the measured ones.
    """
    sizes, errors = (500, 50_000), []
    for per_class in sizes:
        found = []
        for seed in range(4):
            generator = np.random.default_rng([seed, per_class])
            p = paper_probabilities(generator)
            data = sample_packed(p, 10 * per_class, generator)
            run = simulate(data, per_class, gamma=per_class / 10, tau=3, rule=rule)
            limit = population(p, per_class, 10, gamma=per_class / 10, tau=3, rule=rule)
            found.append(np.abs(expected_accuracy(run.learned, p, 3) - limit.accuracy).mean())
        errors.append(float(np.mean(found)))
    assert 4 < errors[0] / errors[1] < 40
    assert errors[1] < (0.006 if rule == "warm" else 0.001)


def test_features_are_learned_in_order_of_probability_and_warm_stops_after_its_first_stage() -> None:
    p = paper_probabilities(np.random.default_rng(1))
    runs = {rule: population(p, 500, 30, rule=rule) for rule in RULES}
    for run in runs.values():
        assert (run.learned[..., :-1] >= run.learned[..., 1:]).all()  # p falls along the last axis
    assert np.array_equal(runs["cold"].learned, runs["ideal"].learned)
    assert (runs["warm"].learned == runs["cold"].learned[0]).all()
    assert (runs["warm"].active_at_start <= runs["ideal"].active_at_start).all()
    assert (runs["ideal"].active_at_start <= runs["cold"].active_at_start).all()
    shuffled = np.random.default_rng(2).permutation(50)
    again = population(p[:, shuffled], 500, 30, rule="cold")
    assert np.array_equal(again.learned, runs["cold"].learned[..., shuffled])


def test_only_gamma_over_chunk_size_counts_up_to_trillions_of_samples() -> None:
    p = paper_probabilities(np.random.default_rng(0), num_features=1000)
    large = population(p, 10**12, 50, gamma=50 * 10**9)
    small = population(p, 10**3, 50, gamma=50)
    assert np.array_equal(large.learned, small.learned)  # only gamma / chunk_size counts
    assert np.allclose(large.memorized, small.memorized * 1e9, rtol=1e-12)


def test_hand_sized_case() -> None:
    # One class, features of 0.5 and 0.25, tau = 1, gamma = 10, chunks of 30: 15 show the first, which is learned;
    # of the 15 left 3.75 show the second. Three chunks bring 11.25: learned at stage 3 by cold, never by warm.
    cold = population([[0.5, 0.25]], 30, 3, gamma=10, tau=1, rule="cold")
    assert cold.learned[:, 0].tolist() == [[True, False], [True, False], [True, True]]
    assert cold.memorized.tolist() == [15, 30, 90 * 0.5 * 0.75]
    assert cold.active_at_start.tolist() == [30, 60, 90]
    ideal = population([[0.5, 0.25]], 30, 3, gamma=10, tau=1, rule="ideal")
    assert ideal.active_at_start.tolist() == [30, 30, 45]
    warm = population([[0.5, 0.25]], 30, 3, gamma=10, tau=1, rule="warm")
    assert warm.learned[:, 0].tolist() == [[True, False]] * 3
    assert warm.active_at_start.tolist() == [30, 15, 15]
    assert warm.memorized.tolist() == [15, 30, 45]
    assert (cold.accuracy == 1).all()  # a single class is always guessed right


def test_a_count_equal_to_gamma_learns() -> None:
    for distribution in ([[0.5, 0.25]], FeatureTable.independent([[0.5, 0.25]])):
        assert population(distribution, 20, 1, gamma=10, tau=1).learned.tolist() == [[[True, False]]]
        assert population(distribution, 20, 1, gamma=10.001, tau=1).learned.tolist() == [[[False, False]]]


def test_predictions_are_rows_beside_the_simulation() -> None:
    config = DiscreteConfig(num_stages=3, num_test=100, gamma=20, tau=2, rules=("cold", "warm"))
    both = run_with_prediction(config, 2, "e", lambda share, text: None)
    measured, predicted = run_discrete(config, 2, "e", lambda share, text: None), predict_discrete(config, 2, "e")
    assert len(both) == len(measured) + len(predicted)
    keys = ["rule", "stage", "metric"]
    names = predicted.assign(metric=predicted["metric"].str.removeprefix(PREDICTED))
    assert set(map(tuple, names[keys].to_numpy())) == set(map(tuple, measured[keys].to_numpy()))
    first = both.pivot_table(index=["rule", "stage"], columns="metric", values="value")
    # One seed, three stages: cold within 6 of 100 features, active samples of cold and of stage 1 exact.
    gap = (first["learned_features"] - first["predicted_learned_features"]).abs()
    assert (gap["cold"] <= 6).all()
    assert (first["active_samples"]["cold"] == first["predicted_active_samples"]["cold"]).all()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"distribution": [[1.5]]}, "probabilities must lie in [0, 1], got 1.5"),
    ({"distribution": [0.5]}, "probabilities must have shape (C, K)"),
    ({"chunk_size": 0}, "chunk_size must be a number in (0, inf), got 0"),
    ({"chunk_size": float("inf")}, "chunk_size must be a number in (0, inf), got inf"),
    ({"num_stages": 0}, "num_stages must be an integer >= 1, got 0"),
    ({"gamma": 0}, "gamma must be a number in (0, inf], got 0"),
    ({"tau": 0}, "tau must be an integer >= 1, got 0"),
    ({"rule": "hot"}, "rule must be one of cold, warm, ideal, got 'hot'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_arguments_are_named_with_their_value(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"distribution": [[0.5]], "chunk_size": 10, "num_stages": 2, **changes}
    with pytest.raises(ValueError, match=re.escape(message)):
        population(
            arguments.pop("distribution"), arguments.pop("chunk_size"), arguments.pop("num_stages"), **arguments
        )


def test_bad_tables_are_refused() -> None:
    rows = np.ones((1, 2, 3), dtype=bool)
    with pytest.raises(ValueError, match="combinations must be a bool array"):
        FeatureTable(combinations=rows.astype(int), frequencies=np.ones((1, 2)) / 2)
    with pytest.raises(ValueError, match=r"frequencies must have shape \(C, R\) = \(1, 2\)"):
        FeatureTable(combinations=rows, frequencies=np.ones((1, 3)) / 3)
    for shares in ([0.4, 0.4], [1.5, -0.5], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="add up to 1 in each class"):
            FeatureTable(combinations=rows, frequencies=np.array([shares]))
    with pytest.raises(ValueError, match="at most 16 features, got 17"):
        FeatureTable.independent([[0.5] * 17])


def test_independent_tables_have_the_given_marginals_and_no_correlation() -> None:
    p = np.array([[0.1, 0.5, 0.9], [0.0, 1.0, 0.3]])
    table = FeatureTable.independent(p)
    assert np.allclose(np.einsum("cr,crk->ck", table.frequencies, table.combinations), p, atol=1e-15)
    for a, b in itertools.combinations(range(3), 2):
        together = (table.frequencies * (table.combinations[..., a] & table.combinations[..., b])).sum(axis=1)
        assert np.allclose(together, p[:, a] * p[:, b], atol=1e-15)
