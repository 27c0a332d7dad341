"""The exact simulator of level 1: equal to the naive oracle, at every gamma and tau."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashtheory.discrete import expected_accuracy, paper_probabilities, sample_features, simulate
from tests.discrete.simulate_cases import (
    RULE_NAMES,
    Case,
    any_case,
    any_rule,
    arrived,
    assert_same,
    every_rule,
    small_cases,
    wide_cases,
)

# ----------------------------------------------------------------------------------------- the oracle


@every_rule
@given(case=small_cases())
@settings(max_examples=150)
def test_equals_the_oracle_on_small_tables(case: Case, rule: str) -> None:
    assert_same(case.run(rule), case.oracle(rule))


@every_rule
@given(case=wide_cases())
@settings(max_examples=30)
def test_equals_the_oracle_across_word_borders(case: Case, rule: str) -> None:
    assert_same(case.run(rule), case.oracle(rule))


@every_rule
@pytest.mark.parametrize("num_samples", [63, 64, 65, 127, 128, 129])
def test_one_full_feature_is_learned_at_every_word_border(num_samples: int, rule: str) -> None:
    """With gamma = n, the feature is learned only if not a single sample is lost."""
    features = np.ones((1, 1, num_samples), dtype=np.bool_)
    run = simulate(features, num_samples, gamma=num_samples, tau=2, rule=rule)
    assert run.learned.all()
    assert run.memorized.all()


def test_by_hand() -> None:
    """Three stages of one sample per class, gamma = 2, tau = 1; each rule goes its own way."""
    first = np.array([[1, 1, 0], [0, 1, 1]], dtype=np.bool_)  # class 0: {0}, {0, 1}, {1}
    second = np.array([[1, 0, 1], [0, 0, 0]], dtype=np.bool_)  # class 1: {0}, {}, {0}
    features = np.stack([first, second])
    cold = simulate(features, 1, gamma=2, tau=1, rule="cold")
    assert [stage.tolist() for stage in cold.order] == [[], [[0, 0]], [[0, 0], [1, 0]]]
    assert cold.memorized[2].tolist() == [[False, False, True], [False, True, False]]
    assert cold.active_at_start.tolist() == [2, 4, 6]
    warm = simulate(features, 1, gamma=2, tau=1, rule="warm")
    assert not warm.learned.any()  # each sample is memorised before a second one shows its feature
    assert warm.active_at_start.tolist() == [2, 2, 2]
    ideal = simulate(features, 1, gamma=2, tau=1, rule="ideal")
    assert [stage.tolist() for stage in ideal.order] == [[], [[0, 0]], [[1, 0]]]
    assert ideal.active_at_start.tolist() == [2, 4, 4]  # stage 3: all but the two samples that show (0, 0)


# ------------------------------------------------------------------------------------------ gamma and tau


def test_ties_go_to_the_smallest_class_and_then_to_the_smallest_feature() -> None:
    features = np.ones((2, 3, 4), dtype=np.bool_)
    run = simulate(features, 4, gamma=4, tau=4, rule="cold")
    assert run.order[0].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


@given(case=any_case, rule=any_rule)
@settings(max_examples=50)
def test_a_fractional_gamma_acts_as_its_ceiling(case: Case, rule: str) -> None:
    rounded = simulate(
        case.features, case.per_class_chunk_size, gamma=math.ceil(case.gamma), tau=case.tau, rule=rule
    )
    assert_same(case.run(rule), rounded)


@given(case=any_case, rule=any_rule, gamma=st.sampled_from([10**6, 2**63 - 1, 2**63, 1e300, math.inf]))
@settings(max_examples=50)
def test_a_gamma_beyond_every_count_learns_nothing_and_memorizes_all(case: Case, rule: str, gamma: float) -> None:
    run = simulate(case.features, case.per_class_chunk_size, gamma=gamma, tau=case.tau, rule=rule)
    assert not run.learned.any()
    np.testing.assert_array_equal(run.memorized, np.broadcast_to(arrived(case), run.memorized.shape))


def test_a_gamma_too_large_for_a_float_learns_nothing() -> None:
    run = simulate(np.ones((1, 2, 4), dtype=np.bool_), 4, gamma=10**400)
    assert not run.learned.any()


@given(case=any_case, extra=st.sampled_from([1, 2, 10**6, 2**40]))
@settings(max_examples=50)
def test_tau_beyond_the_features_learns_all_that_reach_gamma_by_falling_count(case: Case, extra: int) -> None:
    """No sample ever drops out, so the counts stay what they are: one sort gives the order."""
    num_samples = case.features.shape[2]
    tau = case.features.shape[1] + extra
    run = simulate(case.features, num_samples, gamma=case.gamma, tau=tau, rule="cold")
    counts = case.features.sum(axis=2)
    pairs = sorted((-count, index) for index, count in np.ndenumerate(counts) if count >= case.gamma)
    assert [tuple(pair) for pair in run.order[0].tolist()] == [index for _, index in pairs]
    assert run.memorized.all()


@given(case=any_case)
@settings(max_examples=50)
def test_tau_one_is_greedy_cover(case: Case) -> None:
    """A sample drops out with its first learned feature: take the feature that covers most, and repeat."""
    run = simulate(case.features, case.features.shape[2], gamma=case.gamma, tau=1, rule="cold")
    uncovered = case.features.copy()
    order = []
    while (counts := uncovered.sum(axis=2)).max() >= case.gamma:
        label, feature = divmod(int(counts.argmax()), counts.shape[1])
        order.append([label, feature])
        uncovered[label][:, uncovered[label, feature].copy()] = False
    assert run.order[0].tolist() == order


@given(case=any_case, larger=st.floats(0, 20), rule=any_rule)
@settings(max_examples=60)
def test_a_larger_gamma_learns_a_prefix_of_what_a_smaller_one_learns(case: Case, larger: float, rule: str) -> None:
    """In every cold stage, and in stage 1 of every rule."""
    few = simulate(
        case.features, case.per_class_chunk_size, gamma=case.gamma + larger, tau=case.tau, rule=rule
    ).order
    many = case.run(rule).order
    stages = range(len(many)) if rule == "cold" else range(1)
    for stage in stages:
        assert few[stage].tolist() == many[stage][: len(few[stage])].tolist()


# ------------------------------------------------------------------------------------- the size of things


def test_three_seeds_of_the_papers_setting_have_the_published_size() -> None:
    """One seed of the authors' notebook: cold and ideal 91 learned features and 0.939, warm 33 and 0.758.

    The margins are wide because probabilities differ between seeds (ten seeds gave 88 to 98 and 31 to 34
    learned features, accuracies 0.92 to 0.96 and 0.72 to 0.78): cold between 80 and 105; ideal within 3
    features of cold, because both stop where n p F < gamma, up to fluctuations of the counts; warm at most
    half of cold; cold above 0.9 in accuracy, warm between 0.65 and 0.85.
    """
    for seed in range(3):
        generator = np.random.default_rng(seed)
        probabilities = paper_probabilities(generator)
        features = sample_features(probabilities, 500 * 50, generator)
        runs = {rule: simulate(features, 500, gamma=50, tau=3, rule=rule) for rule in RULE_NAMES}
        last = {rule: int(run.num_learned[-1]) for rule, run in runs.items()}
        accuracy = {
            rule: float(expected_accuracy(run.learned[-1], probabilities, 3)) for rule, run in runs.items()
        }
        told = f"seed {seed}: {last}, {accuracy}"
        assert 80 <= last["cold"] <= 105, told
        assert abs(last["cold"] - last["ideal"]) <= 3, told
        assert 20 <= last["warm"] <= last["cold"] / 2, told
        assert accuracy["cold"] > 0.9, told
        assert 0.65 < accuracy["warm"] < 0.85, told
