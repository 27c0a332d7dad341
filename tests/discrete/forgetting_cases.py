"""Data sets and rules that forget, beside the oracle with the same masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dashtheory.discrete import Forgetting, Simulation, sample_features, simulate
from tests.oracles.discrete import OracleRun, simulate_with_sets

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One data set, bool (C, K, n), the numbers of the learner, and the seed of what is forgotten."""

    features: Bools
    per_class_chunk_size: int
    gamma: float
    tau: int
    rule: Forgetting
    seed: int

    @property
    def num_stages(self) -> int:
        return int(self.features.shape[2]) // self.per_class_chunk_size

    def masks(self) -> tuple[Bools, Bools]:
        """Samples (J, C, n) and features (J, C, K) forgotten before each stage, drawn as `simulate` says."""
        generator = np.random.default_rng(self.seed)
        num_classes, num_features, num_samples = self.features.shape
        released = np.zeros((self.num_stages, num_classes, num_samples), dtype=np.bool_)
        forgotten = np.zeros((self.num_stages, num_classes, num_features), dtype=np.bool_)
        for label in range(num_classes):
            released[:, label] = generator.random((self.num_stages, num_samples)) < self.rule.phi_noise
            forgotten[:, label] = generator.random((self.num_stages, num_features)) < self.rule.phi_feature
        return released, forgotten

    def run(self) -> Simulation:
        """Run the simulator under test."""
        numbers = {"gamma": self.gamma, "tau": self.tau}
        generator = np.random.default_rng(self.seed)
        return simulate(self.features, self.per_class_chunk_size, **numbers, rule=self.rule, generator=generator)  # type: ignore[arg-type]

    def named(self, rule: str) -> Simulation:
        return simulate(self.features, self.per_class_chunk_size, gamma=self.gamma, tau=self.tau, rule=rule)

    def oracle(self) -> OracleRun:
        """Run the oracle on the same masks."""
        released, forgotten = self.masks()
        return simulate_with_sets(
            self.features,
            self.per_class_chunk_size,
            gamma=self.gamma,
            tau=self.tau,
            released=released,
            forgotten=forgotten,
        )


chances = st.sampled_from([0.0, 1.0, 0.5]) | st.floats(0, 1)
rules = st.builds(Forgetting, chances, chances)


@st.composite
def small_cases(draw: st.DrawFn) -> Case:
    """Tables drawn bit by bit, up to five stages."""
    num_classes, num_features = draw(st.integers(1, 2)), draw(st.integers(1, 5))
    per_class_chunk_size, num_stages = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    num_samples = per_class_chunk_size * num_stages
    return Case(
        features=draw(arrays(np.bool_, (num_classes, num_features, num_samples))),
        per_class_chunk_size=per_class_chunk_size,
        gamma=draw(st.integers(1, 4) | st.floats(0.1, num_samples + 1)),
        tau=draw(st.integers(1, 3) | st.integers(1, num_features + 2)),
        rule=draw(rules),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def wide_cases(draw: st.DrawFn) -> Case:
    """Tables from a seed, at sizes around and beyond the 64 bits of a word."""
    num_features = draw(st.sampled_from([3, 8, 63, 64, 65, 130]))
    per_class_chunk_size = draw(st.sampled_from([20, 31, 63, 64, 65, 100]))
    num_classes, num_stages = draw(st.integers(1, 2)), draw(st.integers(2, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng([seed, 1])
    top = draw(st.sampled_from([0.05, 0.2, 0.6, 1.0]))
    probabilities = generator.uniform(0, top, size=(num_classes, num_features))
    return Case(
        features=sample_features(probabilities, per_class_chunk_size * num_stages, generator),
        per_class_chunk_size=per_class_chunk_size,
        gamma=draw(st.integers(1, 5) | st.integers(1, per_class_chunk_size + 1)),
        tau=draw(st.integers(1, 5)),
        rule=draw(rules),
        seed=seed,
    )


any_case = small_cases() | wide_cases()
