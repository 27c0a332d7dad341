"""Worlds whose labels share features."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dashtheory.discrete import Mixture, draw_data, expected_accuracy, sample_features, simulate
from tests.discrete.world_cases import Bools, Floats, learned_in


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
