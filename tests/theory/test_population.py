"""The population limit: exact where it can be enumerated, the limit of the simulator where it cannot."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dashtheory.discrete import (
    DISCRETE_RULES,
    Forgetting,
    Mixture,
    expected_accuracy,
    fewer_than_tau,
    paper_probabilities,
    sample_packed,
    simulate,
    simulate_batch,
)
from dashtheory.experiments.discrete_learning import (
    DiscreteConfig,
    predict_discrete,
    run_discrete,
    run_with_prediction,
)
from dashtheory.record import PREDICTED
from dashtheory.theory import FeatureTable, Population, population, prefix_tails
from tests.theory.population_cases import stationary_cases, stationary_data


@settings(max_examples=150)
@given(case=stationary_cases(), rule=st.sampled_from(DISCRETE_RULES))
def test_on_exactly_stationary_chunks_the_limit_is_the_simulator(case: Any, rule: str) -> None:
    table, copies, per_class_chunk_size, num_stages, gamma, tau = case
    data = stationary_data(table, copies, num_stages)
    run = simulate(data, per_class_chunk_size, gamma=gamma, tau=tau, rule=rule)
    limit = population(table, per_class_chunk_size, num_stages, gamma=gamma, tau=tau, rule=rule)
    assert np.array_equal(limit.learned, run.learned)
    assert np.allclose(limit.active_at_start, run.active_at_start, rtol=0, atol=1e-9)
    assert np.allclose(limit.num_memorized, run.num_memorized, rtol=0, atol=1e-9)
    assert np.array_equal(limit.num_learned, run.num_learned)


@settings(max_examples=60)
@given(
    probabilities=st.lists(
        st.lists(st.integers(0, 20).map(lambda i: i / 23), min_size=4, max_size=4), min_size=1, max_size=3
    ),
    rule=st.sampled_from(DISCRETE_RULES),
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
    for name in ("accuracy", "num_memorized", "active_at_start"):
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


@pytest.mark.parametrize("rule", DISCRETE_RULES)
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
    runs = {rule: population(p, 500, 30, rule=rule) for rule in DISCRETE_RULES}
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
    assert np.array_equal(large.learned, small.learned)  # only gamma / per_class_chunk_size counts
    assert np.allclose(large.num_memorized, small.num_memorized * 1e9, rtol=1e-12)


def test_hand_sized_case() -> None:
    # One class, features of 0.5 and 0.25, tau = 1, gamma = 10, chunks of 30: 15 show the first, which is learned;
    # of the 15 left 3.75 show the second. Three chunks bring 11.25: learned at stage 3 by cold, never by warm.
    cold = population([[0.5, 0.25]], 30, 3, gamma=10, tau=1, rule="cold")
    assert cold.learned[:, 0].tolist() == [[True, False], [True, False], [True, True]]
    assert cold.num_memorized.tolist() == [15, 30, 90 * 0.5 * 0.75]
    assert cold.active_at_start.tolist() == [30, 60, 90]
    ideal = population([[0.5, 0.25]], 30, 3, gamma=10, tau=1, rule="ideal")
    assert ideal.active_at_start.tolist() == [30, 30, 45]
    warm = population([[0.5, 0.25]], 30, 3, gamma=10, tau=1, rule="warm")
    assert warm.learned[:, 0].tolist() == [[True, False]] * 3
    assert warm.active_at_start.tolist() == [30, 15, 15]
    assert warm.num_memorized.tolist() == [15, 30, 45]
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
    ({"per_class_chunk_size": 0}, "per_class_chunk_size must be a number in (0, inf), got 0"),
    ({"per_class_chunk_size": float("inf")}, "per_class_chunk_size must be a number in (0, inf), got inf"),
    ({"num_stages": 0}, "num_stages must be an integer >= 1, got 0"),
    ({"gamma": 0}, "gamma must be a number in (0, inf], got 0"),
    ({"tau": 0}, "tau must be an integer >= 1, got 0"),
    ({"rule": "hot"}, "rule must be one of cold, warm, ideal, got 'hot'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_arguments_are_named_with_their_value(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"distribution": [[0.5]], "per_class_chunk_size": 10, "num_stages": 2, **changes}
    with pytest.raises(ValueError, match=re.escape(message)):
        population(
            arguments.pop("distribution"),
            arguments.pop("per_class_chunk_size"),
            arguments.pop("num_stages"),
            **arguments,
        )


# --- classes of unequal size ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        *itertools.product(["closed", "table"], [*DISCRETE_RULES, Forgetting(0.4, 0), Forgetting(1, 0.4)]),
        ("table", Forgetting(0, 1)),
    ],
    ids=str,
)
def test_classes_of_unequal_size_are_classes_run_alone(kind: str, rule: str | Forgetting) -> None:
    p = np.random.default_rng(2).uniform(0, 0.5, (3, 6))
    sizes = np.array([30.0, 200.5, 80.0])

    def run(q: NDArray[np.float64], size: Any) -> Population:
        world = q if kind == "closed" else FeatureTable.independent(q)
        # Draws differ between runs; with phi_noise 1 they decide active samples alone, which are then left out.
        return population(world, size, 6, gamma=12, tau=2, rule=rule, generator=np.random.default_rng(0))

    together, alone = run(p, sizes), [run(p[[c]], sizes[c]) for c in range(3)]
    assert np.array_equal(together.learned, np.concatenate([one.learned for one in alone], axis=1))
    assert np.array_equal(together.unsure, np.concatenate([one.unsure for one in alone], axis=1))
    assert np.allclose(together.num_memorized, sum(one.num_memorized for one in alone), rtol=1e-12)
    if not (kind == "table" and rule == Forgetting(1, 0.4)):
        assert np.allclose(together.active_at_start, sum(one.active_at_start for one in alone), rtol=1e-12)
    weighted = (together.unsure * sizes).sum(axis=1) / sizes.sum()
    assert np.allclose(together.accuracy, 1 - 2 / 3 * weighted, rtol=1e-12)
    assert np.ptp([one.num_learned[-1] for one in alone]) > 0
    equal, spelled = run(p, 80), run(p, [80, 80, 80])
    assert np.array_equal(equal.learned, spelled.learned)
    assert np.allclose(equal.accuracy, spelled.accuracy, rtol=1e-13)


def test_the_simulator_with_unequal_classes_approaches_the_limit() -> None:
    """20 simulations of 20,000 and 60,000 samples per class: shares are off by about 1 / sqrt(N) = 0.7 %."""
    p = paper_probabilities(np.random.default_rng(5), num_features=20)
    sizes = np.array([20_000, 60_000])
    batch = simulate_batch(
        p, np.tile(sizes, (20, 1)), 3, seeds=np.arange(20), gamma=2500, rules=DISCRETE_RULES, stages=[1, 3]
    )
    for place, rule in enumerate(DISCRETE_RULES):
        limit = population(p, sizes, 3, gamma=2500, rule=rule)
        found = (batch.accuracy[:, place] * sizes).sum(axis=2).mean(axis=0) / sizes.sum()
        assert np.abs(found - limit.accuracy[[0, 2]]).max() < 0.01
        held = batch.num_memorized[:, place].sum(axis=2).mean(axis=0)
        assert np.allclose(held, limit.num_memorized[[0, 2]], rtol=0.02)


# --- bad input, and the ends of gamma ---------------------------------------------------------------------------


MORE_BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"per_class_chunk_size": [10, 10, 10]},
        "per_class_chunk_size must be a number or have shape (C,) = (1,), got (3,)",
    ),
    (
        {"per_class_chunk_size": [[10]]},
        "per_class_chunk_size must be a number or have shape (C,) = (1,), got (1, 1)",
    ),
    ({"per_class_chunk_size": [-1.0]}, "per_class_chunk_size must be a number in (0, inf), got -1.0"),
    ({"per_class_chunk_size": math.nan}, "per_class_chunk_size must be a number in (0, inf), got nan"),
    ({"per_class_chunk_size": "many"}, "per_class_chunk_size must be a number in (0, inf), got 'many'"),
    ({"num_stages": 1.5}, "num_stages must be an integer >= 1, got 1.5"),
    ({"gamma": math.nan}, "gamma must be a number in (0, inf], got nan"),
    ({"rule": None}, "rule must be one of cold, warm, ideal, got None"),
    ({"distribution": [["a"]]}, "probabilities must be numbers of shape (C, K)"),
]


@pytest.mark.parametrize(("changes", "message"), MORE_BAD)
def test_more_bad_arguments_are_named_with_their_value(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"distribution": [[0.5]], "per_class_chunk_size": 10, "num_stages": 2, **changes}
    with pytest.raises(ValueError, match=re.escape(message)):
        population(**arguments)


def test_a_threshold_that_is_never_reached_and_one_that_always_is() -> None:
    p = [[0.5, 0.25, 0.0]]
    for world in (p, Mixture.independent(p), FeatureTable.independent(p)):
        never = population(world, 10, 3, gamma=math.inf)
        assert not never.learned.any()
        assert never.num_memorized.tolist() == [10, 20, 30]
        always = population(world, 10, 1, gamma=1e-300, tau=1)
        assert always.learned.tolist() == [[[True, True, False]]]
        assert (population(world, 10, 2, gamma=1e-300, tau=9).unsure == 1).all()
