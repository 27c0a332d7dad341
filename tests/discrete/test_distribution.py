"""Mixtures of components: tails by enumeration, and the four worlds that are built from them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dashtheory.discrete import Mixture, draw_data, expected_accuracy, fewer_than_tau, sample_features, simulate

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

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


def learned_in(world: Mixture, seed: int) -> Bools:
    num_classes, _, num_features = world.shape
    return np.random.default_rng(seed).random((num_classes, num_features)) < 0.7


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
    p=arrays(np.float64, st.tuples(st.integers(1, 2), st.integers(2, 4)), elements=st.floats(0, 0.5)),
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


# ---------------------------------------------------------------------------------------- shared features


def columns(num_features: int, num_shared: int) -> Bools:
    """The shared ranks: rank k where the share of shared ones first reaches the next integer."""
    return np.array(
        [math.floor((k + 1) * num_shared / num_features) > math.floor(k * num_shared / num_features)
         for k in range(num_features)]
    )  # fmt: skip


def positions(num_labels: int, num_features: int, num_shared: int) -> NDArray[np.int64]:
    """Where the feature of each (label, rank) stands in the joint world: int64 (C, K)."""
    shared, place = columns(num_features, num_shared), np.zeros((num_labels, num_features), dtype=np.int64)
    place[:, shared] = np.arange(num_shared)
    own = num_features - num_shared
    place[:, ~shared] = num_shared + np.arange(num_labels * own).reshape(num_labels, own)
    return place


shared_tables = st.tuples(st.integers(1, 4), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(arrays(np.float64, shape, elements=st.floats(0.01, 1)), st.integers(0, shape[1]))
)


@given(table=shared_tables)
@settings(max_examples=80)
def test_shared_worlds_have_one_class_and_each_shared_feature_once(table: tuple[Floats, int]) -> None:
    p, num_shared = table
    num_labels, num_features = p.shape
    world = Mixture.shared(p, num_shared)
    own = num_features - num_shared
    assert world.shape == (1, num_labels, num_shared + num_labels * own)
    assert world.num_labels == num_labels
    np.testing.assert_array_equal(world.weights, np.full((1, num_labels), 1 / num_labels))
    place = positions(num_labels, num_features, num_shared)
    for label in range(num_labels):
        expected = np.zeros(world.shape[2])
        expected[place[label]] = p[label]  # its own chance everywhere; no feature of another label
        np.testing.assert_array_equal(world.probabilities[0, label], expected)


@pytest.mark.parametrize(
    ("num_features", "num_shared", "expected"),
    [
        (6, 3, [1, 3, 5]),
        (6, 2, [2, 5]),
        (6, 1, [5]),
        (5, 2, [2, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
        (4, 3, [1, 2, 3]),
        (4, 0, []),
    ],
)
def test_shared_ranks_are_spread_evenly(num_features: int, num_shared: int, expected: list[int]) -> None:
    p = np.linspace(0.9, 0.1, num_features)[None]
    world = Mixture.shared(p, num_shared)
    assert world.probabilities[0, 0, :num_shared].tolist() == p[0, expected].tolist()


@given(table=shared_tables)
@settings(max_examples=60)
def test_any_run_of_ranks_has_its_part_of_the_shared_ones(table: tuple[Floats, int]) -> None:
    """Of the first k ranks, floor(k num_shared / K) are shared: read off distinct chances."""
    num_features, num_shared = table[0].shape[1], table[1]
    ranks = np.arange(1, num_features + 1) / (num_features + 1)
    found = set(Mixture.shared(ranks[None], num_shared).probabilities[0, 0, :num_shared].tolist())
    for first in range(num_features + 1):
        assert sum(1 for one in ranks[:first].tolist() if one in found) == first * num_shared // num_features


@given(table=shared_tables, tau=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=80)
def test_sharing_changes_what_is_learned_and_not_what_it_is_worth(
    table: tuple[Floats, int], tau: int, seed: int
) -> None:
    """Accuracy is the mean over labels, each with the features that it shows."""
    p, num_shared = table
    world = Mixture.shared(p, num_shared)
    joint = learned_in(world, seed)
    known = joint[0][positions(p.shape[0], p.shape[1], num_shared)]
    accuracy = world.expected_accuracy(joint, tau)
    assert accuracy.shape == (1,)
    assert accuracy[0] == pytest.approx(float(expected_accuracy(known, p, tau)), rel=1e-13)


def joint_table(features: Bools, per_class_chunk_size: int, num_shared: int) -> Bools:
    """One class out of C: chunk by chunk the samples of all labels, over the joint features. (1, K', C n)."""
    num_labels, num_features, num_samples = features.shape
    place = positions(num_labels, num_features, num_shared)
    joint = np.zeros((1, int(place.max()) + 1, num_labels * num_samples), dtype=np.bool_)
    sample = 0
    for first in range(0, num_samples, per_class_chunk_size):
        for label in range(num_labels):
            for one in range(first, first + per_class_chunk_size):
                joint[0, place[label], sample] = features[label, :, one]
                sample += 1
    return joint


@pytest.mark.parametrize("rule", ["cold", "warm", "ideal"])
@given(seed=st.integers(0, 2**32 - 1), num_labels=st.integers(1, 4), gamma=st.integers(1, 12))
@settings(max_examples=25)
def test_labels_that_share_nothing_learn_as_separate_classes(
    seed: int, num_labels: int, gamma: int, rule: str
) -> None:
    """The same samples in one class over the joint features, or in C classes: everything is the same."""
    generator = np.random.default_rng(seed)
    num_features, per_class_chunk_size, num_stages = 5, 12, 3
    features = sample_features(
        generator.uniform(0, 0.8, (num_labels, num_features)), per_class_chunk_size * num_stages, generator
    )
    apart = simulate(features, per_class_chunk_size, gamma=gamma, tau=2, rule=rule)
    joint = simulate(
        joint_table(features, per_class_chunk_size, 0),
        num_labels * per_class_chunk_size,
        gamma=gamma,
        tau=2,
        rule=rule,
    )
    np.testing.assert_array_equal(joint.learned.reshape(apart.learned.shape), apart.learned)
    np.testing.assert_array_equal(joint.num_memorized, apart.num_memorized)
    np.testing.assert_array_equal(joint.active_at_start, apart.active_at_start)
    for one, several in zip(joint.order, apart.order, strict=True):
        assert one[:, 1].tolist() == (several[:, 0] * num_features + several[:, 1]).tolist()


@given(p=arrays(np.float64, (3, 4), elements=st.floats(0.1, 1)), num_shared=st.integers(0, 4))
@settings(max_examples=30)
def test_a_sample_of_a_shared_world_belongs_to_one_label(p: Floats, num_shared: int) -> None:
    world = Mixture.shared(p, num_shared)
    (packed,) = draw_data(world, 130, 1)
    owner = np.full(world.shape[2], -1)
    place = positions(3, 4, num_shared)
    for label in range(3):
        owner[place[label][place[label] >= num_shared]] = label
    for sample in packed.unpack()[0].T:
        assert len(set(owner[sample].tolist()) - {-1}) <= 1


# ------------------------------------------------------------------------------------------- robustness


def test_tails_stay_in_range_with_many_components_and_features() -> None:
    """Weights of 1/49 do not add up to 1 exactly; some features are certain."""
    generator = np.random.default_rng(1)
    p = generator.random((2, 49, 300))
    p[:, :, 0] = 1.0
    world = Mixture(probabilities=p, weights=np.full((2, 49), 1 / 49))
    known = np.ones((2, 300), dtype=np.bool_)
    taus = [1, 2, 100, 150, 300, 301, 10**9]
    tails = np.stack([world.fewer_than_tau(known, tau) for tau in taus])
    assert (tails >= 0).all()
    assert (tails <= 1 + 1e-12).all()
    assert (tails[0] == 0).all()
    np.testing.assert_allclose(tails[-2:], 1, rtol=1e-12)
    assert (np.diff(tails, axis=0) >= -1e-12).all()


def test_the_tail_of_one_component_never_exceeds_one() -> None:
    """Sums of many terms whose exact value is barely below 1: rounding must not carry them beyond."""
    p = np.random.default_rng(3).uniform(0, 0.3, (200, 12))
    tails = Mixture.independent(p).fewer_than_tau(np.ones((200, 12), dtype=np.bool_), 12)
    assert (tails <= 1).all()
    assert tails.min() > 1 - 1e-6


def test_certain_features_give_exact_tails() -> None:
    world = Mixture(probabilities=np.array([[[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]]), weights=np.array([[0.25, 0.75]]))
    known = np.ones((1, 3), dtype=np.bool_)
    assert [world.fewer_than_tau(known, tau)[0] for tau in (1, 2, 3, 4)] == [0, 0.75, 1, 1]
    assert world.expected_accuracy(known, 2)[0] == 1  # one label: nothing to confuse


def test_weights_may_miss_one_by_rounding() -> None:
    Mixture(probabilities=np.full((1, 10, 2), 0.5), weights=np.full((1, 10), 0.1))
    Mixture(probabilities=np.full((1, 2, 2), 0.5), weights=np.array([[0.5, 0.5 + 9e-10]]))
    with pytest.raises(ValueError, match=r"^weights must be >= 0 and add up to 1"):
        Mixture(probabilities=np.full((1, 2, 2), 0.5), weights=np.array([[0.5, 0.5 + 1e-8]]))


def test_the_arguments_may_be_lists_and_keep_their_defaults() -> None:
    world = Mixture(probabilities=[[[0.5], [0.2]]], weights=[[0.4, 0.6]])  # type: ignore[arg-type]
    np.testing.assert_array_equal(world.test_weights, [[0.4, 0.6]])
    assert world.num_labels == 1
    other = Mixture(
        probabilities=world.probabilities, weights=world.weights, test_weights=np.array([[1.0, 0.0]]), num_labels=7
    )
    assert other.num_labels == 7
    np.testing.assert_array_equal(other.test_weights, [[1, 0]])
    np.testing.assert_allclose(other.marginals, [[0.4 * 0.5 + 0.6 * 0.2]])


# -------------------------------------------------------------------------------------------- bad input

GOOD: dict[str, Any] = {"probabilities": np.full((2, 2, 3), 0.5), "weights": np.full((2, 2), 0.5)}


@pytest.mark.parametrize(
    ("argument", "value", "told"),
    [
        ("probabilities", np.full((2, 3), 0.5), r"must have shape \(C, G, K\), got shape \(2, 3\)"),
        ("probabilities", np.zeros((2, 0, 3)), r"must have shape \(C, G, K\), got shape \(2, 0, 3\)"),
        ("probabilities", np.zeros((2, 2, 0)), r"must have shape \(C, G, K\), got shape \(2, 2, 0\)"),
        ("probabilities", np.full((2, 2, 3), 1.1), r"must lie in \[0, 1\], got 1\.1"),
        ("probabilities", np.full((2, 2, 3), -0.1), r"must lie in \[0, 1\], got -0\.1"),
        ("probabilities", np.full((2, 2, 3), math.nan), r"must lie in \[0, 1\], got nan"),
        ("weights", np.full((2, 3), 1 / 3), r"must have shape \(C, G\) = \(2, 2\), got \(2, 3\)"),
        ("weights", np.full(2, 0.5), r"must have shape \(C, G\) = \(2, 2\), got \(2,\)"),
        ("weights", np.empty(0), r"must have shape \(C, G\) = \(2, 2\), got \(0,\)"),
        ("weights", np.full((2, 2), 0.4), r"must be >= 0 and add up to 1 in each class, got \[0\.8 0\.8\]"),
        ("weights", np.array([[0.5, 0.5], [1.5, -0.5]]), "must be >= 0 and add up to 1"),
        ("weights", np.array([[0.5, 0.5], [0.5, math.nan]]), "must be >= 0 and add up to 1"),
        ("weights", np.array([[0.5, 0.5], [0.5, math.inf]]), "must be >= 0 and add up to 1"),
        ("test_weights", np.full((2, 2), 0.6), "must be >= 0 and add up to 1"),
        ("test_weights", np.full((2, 1), 1.0), r"must have shape \(C, G\) = \(2, 2\), got \(2, 1\)"),
        ("num_labels", -1, "must be an integer >= 1, got -1"),
        ("num_labels", 2.0, r"must be an integer >= 1, got 2\.0"),
        ("num_labels", True, "must be an integer >= 1, got True"),
    ],
)
def test_bad_input_is_refused_by_name_and_value(argument: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} {told}"):
        Mixture(**{**GOOD, argument: value})


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan, True, None])
def test_a_strength_out_of_range_is_refused(strength: Any) -> None:
    with pytest.raises(ValueError, match=r"^strength must be a number in \[0, 1\], got "):
        Mixture.correlated([[0.1]], strength)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan, True, None])
def test_a_rate_out_of_range_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match=r"^rate must be a number in "):
        Mixture.independent([[0.1]]).with_label_noise(rate)


@pytest.mark.parametrize(
    ("num_shared", "told"),
    [(-1, "an integer >= 0, got -1"), (4, "at most K = 3, got 4"), (1.0, r"an integer >= 0, got 1\.0"),
     (True, "an integer >= 0, got True")],
)  # fmt: skip
def test_a_number_of_shared_features_out_of_range_is_refused(num_shared: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^num_shared must be {told}"):
        Mixture.shared([[0.1, 0.2, 0.3]], num_shared)


@pytest.mark.parametrize("build", [Mixture.independent, lambda p: Mixture.correlated(p, 0.5)])
@pytest.mark.parametrize("p", [[0.1], [[]], [[1.5]], [[math.nan]], [["a"]]])
def test_probabilities_are_checked_by_every_world(build: Any, p: object) -> None:
    with pytest.raises(ValueError, match=r"^probabilities must "):
        build(p)
    with pytest.raises(ValueError, match=r"^probabilities must "):
        Mixture.shared(p, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["fewer_than_tau", "expected_accuracy"])
@pytest.mark.parametrize(
    ("learned", "tau", "told"),
    [
        (np.ones((2, 3), dtype=np.bool_), 0, "tau must be an integer >= 1, got 0"),
        (np.ones((2, 3), dtype=np.bool_), 1.5, r"tau must be an integer >= 1, got 1\.5"),
        (
            np.ones((2, 3)),
            1,
            r"learned must be a bool array .* \(C, K\) = \(2, 3\), got float64 of shape \(2, 3\)",
        ),
        (np.ones((3, 2), dtype=np.bool_), 1, r"learned must be .*got bool of shape \(3, 2\)"),
        (np.ones((3, 3), dtype=np.bool_), 1, r"learned must be .*got bool of shape \(3, 3\)"),
        (np.ones((1, 3), dtype=np.bool_), 1, r"learned must be .*got bool of shape \(1, 3\)"),
        (np.ones(3, dtype=np.bool_), 1, r"learned must be .*got bool of shape \(3,\)"),
    ],
)
def test_what_was_learned_must_fit_the_world(method: str, learned: Any, tau: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        getattr(Mixture(**GOOD), method)(learned, tau)


def test_weights_that_add_up_to_one_but_for_rounding_are_made_exact() -> None:
    world = Mixture(probabilities=np.ones((1, 2, 2)), weights=np.array([[0.5, 0.5 + 9e-10]]))
    assert world.marginals.max() <= 1


def test_text_in_place_of_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="probabilities must be an array of numbers, got str"):
        Mixture(probabilities="a", weights=np.ones((1, 1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weights must be an array of numbers, got str"):
        Mixture(probabilities=np.ones((1, 1, 1)), weights="a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate must be below 1, got 1"):
        Mixture.independent([[0.5]]).with_label_noise(1)
