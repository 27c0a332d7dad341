"""Data sets for the simulator of level 1 beside its oracle, and when two runs are the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dashtheory.discrete import Simulation, sample_features, simulate
from tests.oracles.discrete import OracleRun, simulate_with_sets

Bools = NDArray[np.bool_]
RULE_NAMES: tuple[str, ...] = ("cold", "warm", "ideal")
every_rule = pytest.mark.parametrize("rule", RULE_NAMES)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One data set, bool (C, K, n), and the numbers of the learner."""

    features: Bools
    per_class_chunk_size: int
    gamma: float
    tau: int

    def run(self, rule: str) -> Simulation:
        """Run the simulator under test."""
        return simulate(self.features, self.per_class_chunk_size, gamma=self.gamma, tau=self.tau, rule=rule)

    def oracle(self, rule: str) -> OracleRun:
        """Run the oracle."""
        return simulate_with_sets(
            self.features, self.per_class_chunk_size, gamma=self.gamma, tau=self.tau, rule=rule
        )


@st.composite
def small_cases(draw: st.DrawFn) -> Case:
    """Tables drawn bit by bit; in half of them a few samples are repeated, so that counts are often equal."""
    num_classes, num_features = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    per_class_chunk_size, num_stages = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    num_samples = per_class_chunk_size * num_stages
    if draw(st.booleans()):
        kinds = draw(arrays(np.bool_, (num_classes, num_features, draw(st.integers(1, 3)))))
        which = st.integers(0, kinds.shape[2] - 1)
        features = kinds[:, :, draw(st.lists(which, min_size=num_samples, max_size=num_samples))]
    else:
        features = draw(arrays(np.bool_, (num_classes, num_features, num_samples)))
    gamma = draw(st.integers(1, 4) | st.integers(1, num_samples + 1) | st.floats(0.1, num_samples + 1))
    tau = draw(st.integers(1, 3) | st.integers(1, num_features + 2))
    return Case(features=features, per_class_chunk_size=per_class_chunk_size, gamma=gamma, tau=tau)


@st.composite
def wide_cases(draw: st.DrawFn) -> Case:
    """Tables from a seed, at sizes around and beyond the 64 bits of a word, with empty features and samples."""
    num_features = draw(st.sampled_from([1, 8, 63, 64, 65, 130]))
    per_class_chunk_size = draw(st.sampled_from([1, 20, 63, 64, 65, 100, 128]))
    num_classes, num_stages = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    num_samples = per_class_chunk_size * num_stages
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top = draw(st.sampled_from([0.05, 0.2, 0.6, 1.0]))
    probabilities = generator.uniform(0, top, size=(num_classes, num_features))
    probabilities[generator.random(probabilities.shape) < 0.1] = 0  # features that no sample shows
    features = sample_features(probabilities, num_samples, generator)
    features[:, :, generator.random(num_samples) < 0.1] = False  # samples without features
    if draw(st.booleans()):
        features = features[:, :, generator.integers(0, max(num_samples // 8, 1), size=num_samples)]
    gamma = draw(
        st.integers(1, 5) | st.integers(1, per_class_chunk_size + 1) | st.floats(0.5, per_class_chunk_size + 1)
    )
    return Case(
        features=features, per_class_chunk_size=per_class_chunk_size, gamma=gamma, tau=draw(st.integers(1, 5))
    )


any_case = small_cases() | wide_cases()
any_rule = st.sampled_from(RULE_NAMES)


def arrived(case: Case) -> Bools:
    """Bool (J, 1, n): the samples that belong to each stage."""
    place = np.arange(case.features.shape[2])
    num_stages = case.features.shape[2] // case.per_class_chunk_size
    return np.stack([place < (stage + 1) * case.per_class_chunk_size for stage in range(num_stages)])[:, None]


def assert_same(run: Simulation, expected: Simulation | OracleRun) -> None:
    """All four results are equal, the order of learning included."""
    np.testing.assert_array_equal(run.learned, expected.learned)
    np.testing.assert_array_equal(run.memorized, expected.memorized)
    np.testing.assert_array_equal(run.active_at_start, expected.active_at_start)
    assert [stage.tolist() for stage in run.order] == [stage.tolist() for stage in expected.order]
