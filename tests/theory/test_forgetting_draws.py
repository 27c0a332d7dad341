"""Forgetting some features in the limit of large chunks: the simulator with the same ones, means over draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dashtheory.discrete import Forgetting, Mixture, simulate, simulate_batch
from dashtheory.theory import FeatureTable, population
from tests.theory.forgetting_cases import DEPENDENT
from tests.theory.population_cases import stationary_cases, stationary_data


class Scripted(np.random.Generator):
    """A generator that gives out uniform draws written down before; an error when they are used up."""

    def __init__(self, rows: NDArray[np.float64]) -> None:
        super().__init__(np.random.PCG64(0))
        self.rows = iter(rows)

    def random(self, *args: Any, **kwargs: Any) -> Any:
        return next(self.rows)


def draws_for_features(
    seed: int, num_classes: int, num_features: int, num_stages: int, num_samples: int
) -> NDArray[np.float64]:
    """What decides in `simulate` which features are forgotten, class by class, before stages 2, 3, ..."""
    generator, rows = np.random.default_rng(seed), []
    for _ in range(num_classes):
        generator.random((num_stages, num_samples))  # of the samples
        rows.append(generator.random((num_stages, num_features))[1:])
    return np.concatenate(rows)


@settings(max_examples=120)
@given(
    case=stationary_cases(), noise=st.sampled_from([0, 1]), feature=st.floats(0.05, 0.95), seed=st.integers(0, 99)
)
def test_with_the_same_features_forgotten_the_limit_is_the_simulator_on_stationary_chunks(
    case: Any, noise: int, feature: float, seed: int
) -> None:
    table, copies, per_class_chunk_size, num_stages, gamma, tau = case
    rule = Forgetting(noise, feature)
    data = stationary_data(table, copies, num_stages)
    run = simulate(
        data, per_class_chunk_size, gamma=gamma, tau=tau, rule=rule, generator=np.random.default_rng(seed)
    )
    num_classes, num_features, num_samples = data.shape
    script = Scripted(draws_for_features(seed, num_classes, num_features, num_stages, num_samples))
    limit = population(table, per_class_chunk_size, num_stages, gamma=gamma, tau=tau, rule=rule, generator=script)
    assert next(script.rows, None) is None  # stages 2, 3, ... of each class draw once
    assert np.array_equal(limit.learned, run.learned)
    assert np.allclose(limit.active_at_start, run.active_at_start, rtol=0, atol=1e-9)
    assert np.allclose(limit.num_memorized, run.num_memorized, rtol=0, atol=1e-9)


INDEPENDENT = FeatureTable.independent([[0.6, 0.45, 0.3, 0.15], [0.35, 0.5, 0.2, 0.4]])

INTERIOR: list[tuple[FeatureTable, float, int, Forgetting]] = [  # world, gamma per sample of a chunk, tau, rule
    (INDEPENDENT, 0.33, 2, Forgetting(0.3, 0)),
    (INDEPENDENT, 0.27, 2, Forgetting(0.5, 0.4)),
    (INDEPENDENT, 0.27, 2, Forgetting(0.15, 0.7)),
    (INDEPENDENT, 0.27, 2, Forgetting(0.6, 1)),
    (DEPENDENT, 0.306, 1, Forgetting(0.5, 0.4)),
    (DEPENDENT, 0.306, 1, Forgetting(0, 0.6)),
    (DEPENDENT, 0.306, 1, Forgetting(0.9, 0.3)),
]


@pytest.mark.parametrize(("table", "share", "tau", "rule"), INTERIOR)
def test_with_the_same_features_forgotten_the_simulator_tends_to_the_limit(
    table: FeatureTable, share: float, tau: int, rule: Forgetting
) -> None:
    """12 runs of 6 stages with 20,000 samples per class, drawn; the limit forgets the features of each run.

    Counts and sums of samples are off by a few sqrt(N), 0.7 % of N each. A feature is learned in one and not in
    the other only if its count lies that close to gamma: at most 1 of 100 (measured: 0.1).
    Runs that learn alike agree to 10 sqrt(N) samples in all (measured: 4.5).
    """
    size, num_stages, root = 20_000, 6, math.sqrt(20_000)
    num_classes, num_rows, num_features = table.combinations.shape
    options: dict[str, Any] = {"gamma": share * size + 0.5, "tau": tau, "rule": rule}
    differ, sets = [], set()
    for seed in range(12):
        generator = np.random.default_rng([seed, 1])
        shown = np.stack(
            [
                rows[generator.choice(num_rows, size=num_stages * size, p=frequencies)].T
                for rows, frequencies in zip(table.combinations, table.frequencies, strict=True)
            ]
        )
        run = simulate(shown, size, generator=np.random.default_rng(seed), **options)
        script = Scripted(draws_for_features(seed, num_classes, num_features, num_stages, num_stages * size))
        limit = population(table, size, num_stages, generator=script, **options)
        differ.append(float((run.learned != limit.learned).mean()))
        sets.add(limit.learned.tobytes())
        if differ[-1] == 0:
            assert (np.abs(limit.num_memorized - run.num_memorized) < 10 * root).all()
            assert (np.abs(limit.active_at_start - run.active_at_start) < 10 * root).all()
    assert np.mean(differ) <= 0.01
    assert differ.count(0) >= 9
    assert len(sets) > 3 or table is INDEPENDENT


@pytest.mark.parametrize(("table", "share", "tau", "rule"), [INTERIOR[1], *INTERIOR[4:6]])
def test_the_mean_over_draws_is_that_of_the_simulator(
    table: FeatureTable, share: float, tau: int, rule: Forgetting
) -> None:
    """600 draws of the limit, 150 simulations with 10,000 samples per class; each draws its own.

    Allowed beyond 5 standard errors: 2 / sqrt(N) = 0.02 of what a feature, or the samples of a chunk, can change.
    Counts are off by a share 1 / sqrt(N), which decides otherwise only within that distance of gamma.
    """
    size, num_stages, generator = 10_000, 5, np.random.default_rng(0)
    options: dict[str, Any] = {"gamma": share * size + 0.5, "tau": tau}
    runs = [population(table, size, num_stages, rule=rule, generator=generator, **options) for _ in range(600)]
    # A sample of the mixture first draws its row, then shows it for certain.
    world = Mixture(probabilities=table.combinations.astype(np.float64), weights=table.frequencies)
    batch = simulate_batch(
        world, size, num_stages, seeds=np.arange(150), rules=[rule], stages=range(1, 6), **options
    )
    pairs: dict[str, tuple[list[NDArray[Any]], NDArray[Any]]] = {
        "learned": ([run.learned for run in runs], batch.learned[:, 0]),
        "num_memorized": (
            [run.num_memorized / size for run in runs],
            batch.num_memorized[:, 0].sum(axis=2) / size,
        ),
        "active": ([run.active_at_start / size for run in runs], batch.active_at_start[:, 0].sum(axis=2) / size),
        "accuracy": ([run.accuracy for run in runs], batch.accuracy[:, 0].mean(axis=2)),
    }
    for name, (limit, drawn) in pairs.items():
        one, other = np.array(limit, dtype=np.float64), np.array(drawn, dtype=np.float64)
        error = 5 * np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other))
        assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) <= error + 2 / math.sqrt(size)).all(), name


def test_the_generator_decides_and_only_where_chance_does() -> None:
    def run(seed: int, rule: Forgetting) -> NDArray[np.bool_]:
        generator = np.random.default_rng(seed)
        learned = population(DEPENDENT, 1000, 8, gamma=306.5, tau=1, rule=rule, generator=generator).learned
        if rule.phi_feature in (0, 1):
            assert generator.random() == np.random.default_rng(seed).random()  # nothing was drawn
        return learned

    assert np.array_equal(run(0, Forgetting(0.5, 0.4)), run(0, Forgetting(0.5, 0.4)))
    assert not np.array_equal(run(0, Forgetting(0.5, 0.4)), run(1, Forgetting(0.5, 0.4)))
    for rule in (Forgetting(0.5, 0), Forgetting(0.5, 1), Forgetting(0, 1)):
        assert np.array_equal(run(0, rule), run(1, rule))
