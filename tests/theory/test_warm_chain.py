"""Warm learners on finite chunks: the exact chain by enumeration, and against the simulator."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from dashtheory.discrete import Mixture, expected_accuracy, paper_probabilities, simulate, simulate_batch
from dashtheory.seeds import numpy_stream
from dashtheory.theory import greedy_order, population, warm_chain, warm_law
from tests.theory.chunk_cases import CLASSES, Floats, combinations, exact_transitions, index_of

TINY: list[tuple[int, int, int]] = [  # chunk size, gamma, tau
    (5, 2, 1),
    (5, 2, 2),
    (5, 3, 1),
    (5, 3, 2),
    (5, 2, 3),
    (4, 1, 2),
]


# --- the exact chain ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gamma", "tau"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_a_warm_learner_is_a_markov_chain_that_sees_new_chunks_alone(gamma: int, tau: int) -> None:
    """Every data set of 3 chunks of 2 samples and 2 features, run by `simulate`: the law of L_j is start T^j."""
    p = np.array([0.6, 0.3])
    rows = combinations(2)
    chance = np.where(rows, p, 1 - p).prod(axis=1)
    law = np.zeros((3, 4))
    for picks in itertools.product(range(4), repeat=6):
        run = simulate(rows[list(picks)].T[None], 2, gamma=gamma, tau=tau, rule="warm")
        law[range(3), index_of(run.learned[:, 0])] += chance[list(picks)].prod()
    matrix, start = exact_transitions(p, 2, gamma, tau), np.eye(4)[0]
    for stage in range(3):
        start = start @ matrix
        assert np.allclose(law[stage], start, rtol=0, atol=1e-14)


def p_value(counts: NDArray[Any], chances: Floats) -> float:
    """Of a chi-square test; cells expected fewer than 5 times are pooled; 0 if an impossible cell is hit."""
    if counts[chances <= 0].sum() > 0:
        return 0.0
    expected = chances * counts.sum()
    rare = expected < 5
    found = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    if wanted[-1] < 5:  # too little for a cell of its own
        found, wanted = np.append(found[:-2], found[-2:].sum()), np.append(wanted[:-2], wanted[-2:].sum())
    if len(found) < 2:
        return 1.0
    return float(stats.chi2.sf(((found - wanted) ** 2 / wanted).sum(), len(found) - 1))


@pytest.mark.parametrize(("size", "gamma", "tau"), TINY)
def test_the_chain_has_the_exact_law_of_paths(size: int, gamma: int, tau: int) -> None:
    """Sets after stages 1, 2, 3, alone and as paths, of each class, and of both classes together: chi-square.

    The seed is fixed. 8 tests in each of 6 settings: an exact chain fails one at 1e-4 with chance 0.005.
    """
    chains = warm_chain(
        CLASSES,
        size,
        3,
        gamma=gamma,
        tau=tau,
        num_chains=2000,
        generator=np.random.default_rng([size, gamma, tau]),
    )
    sets = index_of(chains)  # (R, J, C)
    laws = []
    for label, p in enumerate(CLASSES):
        matrix = exact_transitions(p, size, gamma, tau)
        start = matrix[0]
        paths = start[:, None, None] * matrix[:, :, None] * matrix[None]
        places = np.ravel_multi_index(tuple(sets[:, :, label].T), (16, 16, 16))
        assert p_value(np.bincount(places, minlength=16**3), paths.ravel()) > 1e-4
        for stage in range(3):
            found = np.bincount(sets[:, stage, label], minlength=16)
            assert p_value(found, start @ np.linalg.matrix_power(matrix, stage)) > 1e-4
        laws.append(start @ matrix)
        if gamma <= 2:  # several features in one stage are common, and so is what they take from each other
            assert start[combinations(4).sum(axis=1) >= 2].sum() > 0.1
    both = np.bincount(16 * sets[:, 1, 0] + sets[:, 1, 1], minlength=256)
    assert p_value(both, np.outer(*laws).ravel()) > 1e-4


def five_errors(one: NDArray[Any], other: NDArray[Any]) -> Floats:
    """Five standard errors of the difference of two means over the first axis."""
    return np.asarray(5 * np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other)))


def test_the_chain_is_the_simulator_in_the_setting_of_the_paper() -> None:
    """N = 500 per class, gamma 50, tau 3, 50 stages; 300 simulations, 300 chains of the same world."""
    p = paper_probabilities(numpy_stream(0, "probabilities"))
    chains = warm_chain(p, 500, 50, num_chains=300, generator=np.random.default_rng(1))
    stages = range(1, 51)
    batch = simulate_batch(p, 500, 50, seeds=np.arange(300), rules=["warm"], stages=stages)
    drawn = batch.learned[:, 0]  # (B, J, C, K)
    assert drawn[:, 0].sum(axis=(1, 2)).min() >= 20  # stage 1 learns many at once
    for measure in (lambda sets: sets.sum(axis=3) * 1.0, lambda sets: expected_accuracy(sets, p, 3)):
        one, other = measure(chains), measure(drawn)
        assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) <= five_errors(one, other)).all()
    # Each feature of each class, at the first stage and the last, and the spread of the number learned.
    ends = [0, 49]
    one, other = chains[:, ends] * 1.0, drawn[:, ends] * 1.0
    assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) <= five_errors(one, other) + 0.01).all()
    spread = chains.sum(axis=(2, 3)).std(axis=0) / drawn.sum(axis=(2, 3)).std(axis=0)
    assert (np.abs(np.log(spread)) < 5 * math.sqrt(1 / 300)).all()  # each log sd is off by about 1 / sqrt(2 R)


def test_learned_sets_grow_and_the_generator_decides_all() -> None:
    runs = [
        warm_chain(CLASSES, 20, 6, gamma=5, tau=2, num_chains=30, generator=np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    assert runs[0].shape == (30, 6, 2, 4)
    assert runs[0].dtype == np.bool_
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert (runs[0][:, 1:] >= runs[0][:, :-1]).all()


def test_recorded_stages_are_those_of_a_full_record() -> None:
    options: dict[str, Any] = {"gamma": 5, "tau": 2, "num_chains": 20}
    every = warm_chain(CLASSES, 12, 9, generator=np.random.default_rng(3), **options)
    some = warm_chain(CLASSES, 12, 9, generator=np.random.default_rng(3), stages=[2, 5, 9], **options)
    assert np.array_equal(some, every[:, [1, 4, 8]])
    generator, shorter = np.random.default_rng(3), np.random.default_rng(3)
    first = warm_chain(CLASSES, 12, 9, generator=generator, stages=[4], **options)
    assert np.array_equal(first, every[:, [3]])
    warm_chain(CLASSES, 12, 4, generator=shorter, **options)
    assert generator.random() == shorter.random()  # stages past the last recorded one are not drawn


def test_chunks_of_a_hundred_million_cost_no_more_and_give_the_population_limit() -> None:
    """Counts fluctuate by 1e-4 of themselves. Every gain of this world is further than 30 sd from gamma."""
    p, size, gamma = paper_probabilities(np.random.default_rng(0)), 10**8, 10_070_000
    gains = greedy_order(Mixture.independent(p), 3).gains * size
    assert np.abs(gains - gamma).min() > 30 * math.sqrt(gamma)
    chains = warm_chain(p, size, 20, gamma=gamma, num_chains=3, generator=np.random.default_rng(0))
    limit = population(p, size, 20, gamma=gamma, rule="warm").learned
    assert limit.any()
    assert (chains == limit).all()


def test_a_chain_with_certain_and_impossible_features() -> None:
    p = [[1.0, 0.0, 1.0, 0.5]]
    chains = warm_chain(p, 10, 2, gamma=10, tau=1, num_chains=5, generator=np.random.default_rng(0))
    assert (
        chains == np.array([True, False, False, False])
    ).all()  # equal counts: the smaller index, then none left
    chains = warm_chain(p, 10, 1, gamma=10, tau=2, num_chains=5, generator=np.random.default_rng(0))
    assert (chains == np.array([True, False, True, False])).all()
    chains = warm_chain(p, 10, 3, gamma=math.inf, tau=2, num_chains=5, generator=np.random.default_rng(0))
    assert not chains.any()
    chains = warm_chain(p, 10, 1, gamma=9.5, tau=10**9, num_chains=5, generator=np.random.default_rng(0))
    assert (chains == np.array([True, False, True, False])).all()


@pytest.mark.slow
def test_the_chain_is_the_simulator_after_a_thousand_stages() -> None:
    p = paper_probabilities(numpy_stream(0, "probabilities"))
    stages = [100, 300, 1000]
    chains = warm_chain(p, 500, 1000, num_chains=200, generator=np.random.default_rng(1), stages=stages)
    drawn = simulate_batch(p, 500, 1000, seeds=np.arange(200), rules=["warm"], stages=stages).learned[:, 0]
    one, other = chains.sum(axis=3) * 1.0, drawn.sum(axis=3) * 1.0
    assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) <= five_errors(one, other)).all()


# --- bad input --------------------------------------------------------------------------------------------------


BAD_CHAINS: list[tuple[dict[str, Any], str]] = [
    ({"distribution": [[1.5]]}, "distribution must lie in [0, 1], got 1.5"),
    ({"distribution": [[[0.5]]]}, "distribution must have shape (C, K)"),
    ({"per_class_chunk_size": 0}, "per_class_chunk_size must be an integer >= 1, got 0"),
    ({"per_class_chunk_size": 10**9 + 1}, "got 1000000001. Use warm_law or population for larger chunks."),
    ({"num_stages": 0}, "num_stages must be an integer >= 1, got 0"),
    ({"num_chains": 0}, "num_chains must be an integer >= 1, got 0"),
    ({"generator": 7}, "generator must be a numpy Generator, got 7"),
    ({"gamma": 0}, "gamma must be a number in (0, inf], got 0"),
    ({"tau": 0}, "tau must be an integer >= 1, got 0"),
    ({"stages": []}, "stages must rise within 1 to 2, got []"),
    ({"stages": [1.5]}, "stages must be an integer >= 1, got 1.5"),
    ({"stages": [True]}, "stages must be an integer >= 1, got True"),
    ({"stages": [0, 1]}, "stages must be an integer >= 1, got 0"),
    ({"stages": [1, 3]}, "stages must rise within 1 to 2, got [1, 3]"),
    ({"stages": [2, 1]}, "stages must rise within 1 to 2, got [2, 1]"),
    ({"stages": [1, 1]}, "stages must rise within 1 to 2, got [1, 1]"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_CHAINS)
def test_bad_arguments_of_the_chain_are_named(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "distribution": [[0.5]],
        "per_class_chunk_size": 10,
        "num_stages": 2,
        "num_chains": 1,
    }
    with pytest.raises(ValueError, match=re.escape(message)):
        warm_chain(**{**arguments, "generator": np.random.default_rng(0), **changes})


def test_a_huge_tau_costs_nothing_and_the_largest_chunk_is_drawn() -> None:
    assert np.array_equal(
        warm_law([[0.5, 0.4]], 10, 3, gamma=3, tau=10**12).chances,
        warm_law([[0.5, 0.4]], 10, 3, gamma=3, tau=3).chances,
    )
    generator = np.random.default_rng(0)
    known = warm_chain([[0.5, 0.3]], 10**9 - 1, 2, gamma=10**8, tau=1, num_chains=2, generator=generator)
    assert known.all()
