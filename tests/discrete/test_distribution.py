"""Mixtures of components: tails by enumeration, correlated features, and label noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dashtheory.discrete import Mixture, draw_data, expected_accuracy, fewer_than_tau, simulate
from tests.discrete.world_cases import Floats, learned_in

chance = st.sampled_from([0.0, 1.0]) | st.floats(0, 1)


def normalized(values: Floats) -> Floats:
    """Rows that add up to 1, some of whose entries may be 0."""
    values = np.where(values.sum(axis=1, keepdims=True) > 1e-3, values, 1.0)
    return np.asarray(values / values.sum(axis=1, keepdims=True))


@st.composite
def worlds(draw: st.DrawFn) -> Mixture:
    """C <= 3, G <= 3, K <= 4; in half of them the test weights differ."""
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    parts = arrays(np.float64, shape[:2], elements=st.integers(0, 5), fill=st.nothing())
    weights = parts.map(normalized)
    return Mixture(
        probabilities=draw(arrays(np.float64, shape, elements=chance, fill=st.nothing())),
        weights=draw(weights),
        test_weights=draw(weights) if draw(st.booleans()) else np.empty(0),
        num_labels=draw(st.integers(0, 5)),
    )


def outcomes(world: Mixture, label: int, *, test: bool = False) -> Iterator[tuple[tuple[bool, ...], Fraction]]:
    """All samples of a class and their exact chances: every component, every set of features."""
    weights = world.test_weights if test else world.weights
    for component, weight in enumerate(weights[label].tolist()):
        chances = [Fraction(p) for p in world.probabilities[label, component].tolist()]
        for shown in itertools.product([False, True], repeat=len(chances)):
            product = Fraction(weight)
            for p, here in zip(chances, shown, strict=True):
                product *= p if here else 1 - p
            yield shown, product


# ------------------------------------------------------------------------------------------- closed form


@given(world=worlds(), seed=st.integers(0, 99), tau=st.integers(1, 6), test=st.booleans())
@settings(max_examples=100)
def test_tails_equal_enumeration(world: Mixture, seed: int, tau: int, test: bool) -> None:
    known = learned_in(world, seed)
    tails = world.fewer_than_tau(known, tau, test=test)
    for label in range(len(known)):
        exact = sum(
            weight
            for shown, weight in outcomes(world, label, test=test)
            if sum(1 for here, one in zip(shown, known[label], strict=True) if here and one) < tau
        )
        assert tails[label] == pytest.approx(float(exact), rel=1e-12, abs=1e-15)


@given(world=worlds(), seed=st.integers(0, 99), tau=st.integers(1, 6))
@settings(max_examples=60)
def test_accuracy_guesses_among_the_labels_where_test_samples_lack_features(
    world: Mixture, seed: int, tau: int
) -> None:
    known = learned_in(world, seed)
    unsure = world.fewer_than_tau(known, tau)
    guessed = unsure / world.num_labels + (1 - unsure)
    np.testing.assert_allclose(world.expected_accuracy(known, tau), guessed, rtol=1e-13)


@given(world=worlds())
@settings(max_examples=60)
def test_marginals_equal_enumeration(world: Mixture) -> None:
    for label, row in enumerate(world.marginals):
        for feature, found in enumerate(row):
            exact = sum(weight for shown, weight in outcomes(world, label) if shown[feature])
            assert found == pytest.approx(float(exact), rel=1e-12, abs=1e-15)


@given(world=worlds(), seed=st.integers(0, 99), tau=st.integers(1, 5))
@settings(max_examples=40)
def test_leading_axes_are_kept(world: Mixture, seed: int, tau: int) -> None:
    num_classes, _, num_features = world.shape
    known = np.random.default_rng(seed).random((2, 3, num_classes, num_features)) < 0.5
    for compute in (world.fewer_than_tau, world.expected_accuracy):
        together = compute(known, tau)
        assert together.shape == (2, 3, num_classes)
        for index in np.ndindex(2, 3):
            np.testing.assert_array_equal(together[index], compute(known[index], tau))


@given(world=worlds(), seed=st.integers(0, 99), tau=st.integers(1, 5))
@settings(max_examples=40)
def test_tails_fall_with_every_learned_feature_and_rise_with_tau(world: Mixture, seed: int, tau: int) -> None:
    known = learned_in(world, seed)
    tail = world.fewer_than_tau(known, tau)
    assert (tail <= world.fewer_than_tau(known, tau + 1) + 1e-12).all()
    for index in np.ndindex(known.shape):
        more = known.copy()
        more[index] = True
        assert (world.fewer_than_tau(more, tau) <= tail + 1e-12).all()


@given(
    p=arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 5)), elements=chance), tau=st.integers(1, 6)
)
@settings(max_examples=60)
def test_one_component_is_the_world_of_independent_features(p: Floats, tau: int) -> None:
    world = Mixture.independent(p)
    known = learned_in(world, 0)
    assert world.shape == (len(p), 1, p.shape[1])
    assert world.num_labels == len(p)
    np.testing.assert_array_equal(world.marginals, p)
    for test in (True, False):
        np.testing.assert_array_equal(world.fewer_than_tau(known, tau, test=test), fewer_than_tau(known, p, tau))
    mean = world.expected_accuracy(known, tau).mean()
    assert mean == pytest.approx(float(expected_accuracy(known, p, tau)), rel=1e-14)


# -------------------------------------------------------------------------------------------- correlated


@given(
    p=arrays(
        np.float64,
        st.tuples(st.integers(1, 2), st.integers(2, 4)),
        elements=st.floats(0, 0.5, allow_subnormal=False),  # which have too few digits for a relative error
    ),
    strength=st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
)
@settings(max_examples=60)
def test_correlated_features_keep_their_chances_and_covary(p: Floats, strength: float) -> None:
    """By enumeration: P(k) = p_k and P(k and m) - p_k p_m = strength^2 p_k p_m."""
    world = Mixture.correlated(p, strength)
    assert world.shape == (len(p), 2, p.shape[1])
    assert world.num_labels == len(p)
    np.testing.assert_allclose(world.marginals, p, rtol=1e-14)
    for label, row in enumerate(p):
        samples = list(outcomes(world, label))
        for k, m in itertools.combinations(range(len(row)), 2):
            both = float(sum(weight for shown, weight in samples if shown[k] and shown[m]))
            assert both - row[k] * row[m] == pytest.approx(strength**2 * row[k] * row[m], rel=1e-9, abs=1e-14)


def test_strength_zero_is_independent_and_strength_one_leaves_half_bare() -> None:
    p = np.array([[0.1, 0.5, 0.3]])
    known = np.ones((1, 3), dtype=np.bool_)
    for tau in (1, 2, 3):
        np.testing.assert_allclose(
            Mixture.correlated(p, 0).fewer_than_tau(known, tau), fewer_than_tau(known, p, tau), rtol=1e-14
        )
        strong = Mixture.correlated(p, 1).fewer_than_tau(known, tau)
        np.testing.assert_allclose(strong, 0.5 + 0.5 * fewer_than_tau(known, 2 * p, tau), rtol=1e-14)


@pytest.mark.parametrize("strength", [0, 0.1, 1 / 3, 0.7, 1])
def test_the_largest_probability_that_fits_is_allowed(strength: float) -> None:
    largest = 1 / (1 + strength)
    assert Mixture.correlated([[largest]], strength).probabilities.max() == pytest.approx(1, abs=1e-15)
    if strength:
        with pytest.raises(ValueError, match=f"^probabilities must be <= {largest:g}, got "):
            Mixture.correlated([[0.1, largest + 1e-6]], strength)


# ------------------------------------------------------------------------------------------- label noise


@given(world=worlds(), rate=st.sampled_from([0.0, 0.5]) | st.floats(0, 0.99), tau=st.integers(1, 5))
@settings(max_examples=60)
def test_label_noise_changes_the_training_tail_alone(world: Mixture, rate: float, tau: int) -> None:
    """Training: r + (1 - r) F, because a noisy sample shows nothing. Test: as before."""
    noisy, known = world.with_label_noise(rate), learned_in(world, 1)
    train = world.fewer_than_tau(known, tau, test=False)
    np.testing.assert_allclose(noisy.fewer_than_tau(known, tau, test=False), rate + (1 - rate) * train, rtol=1e-13)
    np.testing.assert_allclose(noisy.fewer_than_tau(known, tau), world.fewer_than_tau(known, tau), rtol=1e-14)
    np.testing.assert_allclose(
        noisy.expected_accuracy(known, tau), world.expected_accuracy(known, tau), rtol=1e-14
    )
    np.testing.assert_allclose(noisy.marginals, (1 - rate) * world.marginals, rtol=1e-13, atol=1e-300)
    assert noisy.num_labels == world.num_labels
    assert noisy.shape == (world.shape[0], world.shape[1] + 1, world.shape[2])


def test_label_noise_twice_adds_up() -> None:
    world = Mixture.independent([[0.4, 0.2]])
    known = np.ones((1, 2), dtype=np.bool_)
    twice = world.with_label_noise(0.2).with_label_noise(0.5)
    np.testing.assert_allclose(
        twice.fewer_than_tau(known, 1, test=False),
        world.with_label_noise(0.6).fewer_than_tau(known, 1, test=False),
    )
    np.testing.assert_allclose(twice.fewer_than_tau(known, 1), world.fewer_than_tau(known, 1))
    assert twice.shape == (1, 3, 2)


def test_noisy_samples_can_only_be_memorized() -> None:
    """Features that all clean samples show: after the stage, what is held are the bare samples."""
    world = Mixture.independent([[1.0, 1.0, 1.0]]).with_label_noise(0.3)
    (packed,) = draw_data(world, 2000, 1)
    run = simulate(packed, 500, gamma=50, tau=3, rule="ideal")
    bare = ~packed.unpack()[0].any(axis=0)
    assert abs(bare.mean() - 0.3) < 5 * math.sqrt(0.21 / 2000)
    np.testing.assert_array_equal(run.memorized[-1, 0], bare)
