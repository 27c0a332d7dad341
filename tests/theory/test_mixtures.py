"""The population limit of mixtures, and the greedy order of their features."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dashtheory.discrete import DISCRETE_RULES, Forgetting, Mixture, expected_accuracy, paper_probabilities
from dashtheory.theory import FeatureTable, greedy_order, population, prefix_tails

# --- mixtures ---------------------------------------------------------------------------------------------------


def listed(world: Mixture, weights: NDArray[np.float64]) -> FeatureTable:
    """All 2^K combinations of a mixture: in each component a product of p or 1 - p."""
    num_classes, num_components, num_features = world.shape
    rows = np.array(list(itertools.product([False, True], repeat=num_features)))
    shares = np.zeros((num_classes, len(rows)))
    for c, g, r in np.ndindex(num_classes, num_components, len(rows)):
        p = world.probabilities[c, g]
        shares[c, r] += weights[c, g] * np.prod(np.where(rows[r], p, 1 - p))
    return FeatureTable(combinations=np.stack([rows] * num_classes), frequencies=shares)


def worlds_of_mixtures(seed: int) -> list[Mixture]:
    generator = np.random.default_rng(seed)
    p = generator.uniform(0, 0.6, (2, 4))
    return [
        Mixture.independent(p),
        Mixture.correlated(p, 0.6),
        Mixture.shared(p[:, :3], 1),
        Mixture.correlated(p, 0.3).with_label_noise(0.2),
        Mixture(
            probabilities=generator.uniform(0, 1, (2, 3, 4)),
            weights=generator.dirichlet(np.ones(3), 2),
            test_weights=generator.dirichlet(np.ones(3), 2),
            num_labels=5,
        ),
    ]


@pytest.mark.parametrize("rule", [*DISCRETE_RULES, Forgetting(0.3, 0)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_mixture_is_the_list_of_its_combinations(rule: str | Forgetting, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for world, tau in itertools.product(worlds_of_mixtures(seed), (1, 2, 3)):
        options: dict[str, Any] = {"gamma": float(generator.uniform(1, 60)), "tau": tau, "rule": rule}
        sizes = generator.uniform(10, 60, world.shape[0])
        closed = population(world, sizes, 5, **options)
        table = population(listed(world, world.weights), sizes, 5, **options)
        assert closed.rule == table.rule == str(rule)
        assert np.array_equal(closed.learned, table.learned)
        for name in ("num_memorized", "active_at_start"):
            assert np.allclose(getattr(closed, name), getattr(table, name), rtol=1e-12, atol=1e-12), name
        # Test samples: fewer than tau hits among all combinations, with the test weights.
        test = listed(world, world.test_weights)
        hits = (test.combinations & closed.learned[:, :, None]).sum(axis=3)  # (J, C, R)
        unsure = (test.frequencies * (hits < tau)).sum(axis=2)
        assert np.allclose(closed.unsure, unsure, rtol=1e-12, atol=1e-14)
        accuracy = 1 - (1 - 1 / world.num_labels) * (unsure * sizes).sum(axis=1) / sizes.sum()
        assert np.allclose(closed.accuracy, accuracy, rtol=1e-12)
        if np.array_equal(world.weights, world.test_weights):
            assert np.allclose(closed.unsure, table.unsure, rtol=1e-12, atol=1e-14)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), rule=st.sampled_from([*DISCRETE_RULES, Forgetting(0.6, 0)]))
def test_any_table_is_a_mixture_of_certain_components(seed: int, rule: str | Forgetting) -> None:
    """Features that exclude or imply each other: the order is not that of p."""
    generator = np.random.default_rng(seed)
    rows = generator.random((2, 7, 5)) < 0.4
    table = FeatureTable(combinations=rows, frequencies=generator.dirichlet(np.ones(7), 2))
    world = Mixture(probabilities=rows.astype(np.float64), weights=table.frequencies)
    options: dict[str, Any] = {"gamma": float(generator.uniform(1, 90)), "tau": int(generator.integers(1, 4))}
    one, other = (population(each, 50, 6, rule=rule, **options) for each in (world, table))
    # Where two features are shown by the same samples left, rounding breaks the tie: compare what does not depend.
    for name in ("num_learned", "accuracy", "num_memorized", "active_at_start", "unsure"):
        assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-10, atol=1e-10), name


@pytest.mark.parametrize("rule", DISCRETE_RULES)
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_label_noise_has_a_closed_form(rule: str, rate: float) -> None:
    """A share r shows nothing: train tail r + (1 - r) F, test tail F, and thresholds of n (1 - r) samples."""
    p = paper_probabilities(np.random.default_rng(3), num_features=20)
    size, num_stages = 400, 12
    noisy = population(Mixture.independent(p).with_label_noise(rate), size, num_stages, gamma=20, rule=rule)
    clean = population(p, size * (1 - rate), num_stages, gamma=20, rule=rule)
    assert np.array_equal(noisy.learned, clean.learned)
    assert clean.learned.any()
    assert np.allclose(noisy.unsure, clean.unsure, rtol=1e-12)
    assert np.allclose(noisy.accuracy, expected_accuracy(clean.learned, p, 3), rtol=1e-12)
    stages = np.arange(1, num_stages + 1)
    blank = 2 * size * rate
    assert np.allclose(noisy.num_memorized, clean.num_memorized + blank * stages, rtol=1e-12)
    counted = 1 if rule == "warm" else stages
    assert np.allclose(noisy.active_at_start, clean.active_at_start + blank * counted, rtol=1e-12)
    steps = greedy_order(Mixture.independent(p).with_label_noise(rate), 3)
    pure = greedy_order(Mixture.independent(p), 3)
    assert np.array_equal(steps.order, pure.order)
    assert np.allclose(steps.gains, (1 - rate) * pure.gains, rtol=1e-12)
    assert np.allclose(steps.tails, rate + (1 - rate) * pure.tails, rtol=1e-12)
    assert np.allclose(steps.test_tails, pure.tails, rtol=1e-12)


def test_shared_features_are_one_learner_over_all_labels() -> None:
    # Two labels, one shared feature (the second: 0.2 or 0.4) and one own each. Of 100 samples 10 + 20 show it.
    world = Mixture.shared([[0.5, 0.2], [0.3, 0.4]], 1)
    run = population(world, 100, 1, gamma=30 - 1e-9, tau=1)
    assert run.learned.tolist() == [[[True, False, False]]]
    assert run.accuracy[0] == pytest.approx(1 - 0.5 * 0.7)
    assert population(world, 100, 1, gamma=30 + 1e-9, tau=1).num_learned.tolist() == [0]


# --- the greedy order -------------------------------------------------------------------------------------------


def test_the_greedy_order_of_independent_features_is_that_of_p() -> None:
    p = np.array([[0.2, 0.5, 0.2, 0.5, 0.0, 0.9], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    for tau in (1, 2, 4, 6, 7, 100):
        steps = greedy_order(Mixture.independent(p), tau)
        assert steps.order.tolist() == [[5, 1, 3, 0, 2, 4], [5, 4, 3, 2, 1, 0]]  # ties: the smallest index
        sorted_p = -np.sort(-p, axis=1)
        tails = prefix_tails(sorted_p, tau)
        assert np.allclose(steps.tails, tails, rtol=1e-13)
        assert np.array_equal(steps.tails, steps.test_tails)
        assert np.allclose(steps.gains, sorted_p * tails[:, :-1], rtol=1e-13)


@pytest.mark.parametrize("tau", [1, 2, 3, 9])
def test_the_greedy_order_is_the_most_frequent_feature_of_the_unsure_samples_again_and_again(tau: int) -> None:
    for world in (world for seed in range(6) for world in worlds_of_mixtures(seed)):
        steps, table, test = (
            greedy_order(world, tau),
            *(listed(world, w) for w in (world.weights, world.test_weights)),
        )
        assert (np.diff(steps.gains, axis=1) <= 0).all()
        assert (np.diff(steps.tails, axis=1) <= 0).all()
        assert (np.diff(steps.test_tails, axis=1) <= 0).all()
        assert sorted(steps.order[0].tolist()) == list(range(world.shape[2]))
        for label, rows in enumerate(table.combinations):
            known: list[int] = []
            for k in range(world.shape[2] + 1):
                unsure = rows[:, known].sum(axis=1) < tau
                assert steps.tails[label, k] == pytest.approx(table.frequencies[label] @ unsure, rel=1e-11)
                assert steps.test_tails[label, k] == pytest.approx(test.frequencies[label] @ unsure, rel=1e-11)
                if k < world.shape[2]:
                    shares = (table.frequencies[label] * unsure) @ rows
                    shares[known] = -1
                    assert steps.gains[label, k] == pytest.approx(shares.max(), rel=1e-11, abs=1e-15)
                    assert shares[steps.order[label, k]] == pytest.approx(shares.max(), rel=1e-11, abs=1e-15)
                    known.append(int(steps.order[label, k]))


def test_the_learned_sets_of_an_order_are_its_prefixes() -> None:
    steps = greedy_order(Mixture.independent([[0.2, 0.5, 0.1], [0.4, 0.1, 0.6]]), 2)
    counts = np.array([[[0, 3], [1, 2]], [[2, 1], [3, 0]], [[1, 1], [2, 2]]])  # (3, 2, C)
    learned = steps.learned(counts)
    assert learned.shape == (3, 2, 2, 3)
    for place in np.ndindex(3, 2, 2):
        wanted = set(steps.order[place[2], : counts[place]].tolist())
        assert set(np.flatnonzero(learned[place]).tolist()) == wanted
