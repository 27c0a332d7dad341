"""The chance that a stage learns nothing, or one feature, on finite chunks."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dashtheory.discrete import fewer_than_tau, paper_probabilities, simulate_batch
from dashtheory.seeds import numpy_stream
from dashtheory.theory import learning_chances, quiet_probability
from tests.theory.chunk_cases import CLASSES, combinations, exact_transitions

# --- the chance that nothing happens, and of one feature ---------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("tau", [1, 2, 3])
@pytest.mark.parametrize("gamma", [1, 2, 3])
def test_the_chance_of_a_quiet_stage_is_that_of_all_chunks(size: int, tau: int, gamma: int) -> None:
    """Every learned set of two classes of 3 features."""
    p = np.array([[0.5, 0.3, 0.9], [0.2, 0.6, 0.0]])
    matrices = [exact_transitions(row, size, gamma, tau) for row in p]
    sets = combinations(3)
    for one, other in itertools.product(range(8), repeat=2):
        exact = matrices[0][one, one] * matrices[1][other, other]
        found = quiet_probability(np.stack([sets[one], sets[other]]), p, size, gamma=gamma, tau=tau)
        assert found == pytest.approx(exact, rel=1e-12)


def test_the_chance_of_a_quiet_stage_is_the_simulated_frequency() -> None:
    """After each of 6 stages of 1,500 simulations: the mean chance against the share of quiet stages.

    Their difference is a sum of R terms of mean 0 and variance at most 1/4.
    """
    p = paper_probabilities(numpy_stream(1, "probabilities"), num_features=8, max_probability=0.5)
    batch = simulate_batch(p, 60, 6, seeds=np.arange(1500), gamma=14, rules=["warm"], stages=range(1, 7))
    learned = batch.learned[:, 0]
    seen: dict[bytes, float] = {}
    for stage in range(6):
        before = learned[:, stage - 1] if stage else np.zeros_like(learned[:, 0])
        for known in before:
            if known.tobytes() not in seen:
                seen[known.tobytes()] = quiet_probability(known, p, 60, gamma=14)
        chances = np.array([seen[known.tobytes()] for known in before])
        quiet = (before == learned[:, stage]).all(axis=(1, 2))
        deviation = math.sqrt((chances * (1 - chances)).sum())
        assert abs(quiet.sum() - chances.sum()) <= 5 * deviation + 1e-9
    assert 0.2 < quiet.mean() < 0.95


def test_quiet_stages_of_large_chunks() -> None:
    # One feature unlearned of one class: the chance is a binomial tail, to the last digits but the sum's rounding.
    known = np.array([[True, False]])
    for size, gamma in ((10**4, 3060), (10**6, 300_200)):
        chance = quiet_probability(known, [[0.4, 0.5]], size, gamma=gamma, tau=1)
        assert chance == pytest.approx(stats.binom.cdf(gamma - 1, size, 0.3), rel=1e-9)
    assert quiet_probability(~np.zeros((1, 2), dtype=bool), [[0.4, 0.5]], 10**4) == pytest.approx(1, abs=1e-12)
    assert quiet_probability(np.zeros((1, 2), dtype=bool), [[0.4, 0.5]], 10**4, gamma=math.inf) <= 1
    assert quiet_probability(np.zeros((1, 2), dtype=bool), [[0.4, 0.5]], 10, gamma=0.5) < 0.6**10  # as gamma 1


def test_a_stage_with_nothing_to_learn_is_quiet_and_no_chance_exceeds_1() -> None:
    known = np.array([[True, False]])
    chances = [quiet_probability(known, [[0.3, 0.1]], size, gamma=size + 1, tau=1) for size in range(1, 400)]
    assert max(chances) <= 1
    assert min(chances) > 1 - 1e-12


def test_learning_chances_are_binomial_tails() -> None:
    generator = np.random.default_rng(4)
    p = generator.uniform(0, 1, (2, 5))
    p[0, 0], p[1, 1] = 0, 1
    learned = generator.random((7, 3, 2, 5)) < 0.4
    for size, gamma, tau in ((1, 1, 1), (30, 4, 2), (30, 3.2, 3), (30, 30, 1), (30, 31, 1), (10**6, 2000, 1)):
        share = fewer_than_tau(learned, p, tau)[..., None] * p
        wanted = np.where(learned, 0, stats.binom.sf(math.ceil(gamma) - 1, size, share))
        found = learning_chances(learned, p, size, gamma=gamma, tau=tau)
        assert found.shape == learned.shape
        assert np.allclose(found, wanted, rtol=1e-8, atol=1e-15)
    assert (learning_chances(learned, p, 30, gamma=math.inf) == 0).all()


@pytest.mark.parametrize(("size", "gamma", "tau"), [(5, 2, 1), (5, 2, 2), (4, 1, 2), (5, 3, 1), (5, 2, 5)])
def test_learning_chances_bound_the_exact_chance(size: int, gamma: int, tau: int) -> None:
    """A feature is learned in a stage only if it reached gamma at the start: equality if nothing can push it back.

    That is so where it is the only one left to learn, and where no sample is ever explained (tau > K).
    """
    strict = 0
    for p in CLASSES:
        matrix, sets = exact_transitions(p, size, gamma, tau), combinations(4)
        for start, known in enumerate(sets):
            exact = matrix[start] @ sets
            bound = learning_chances(known[None], p[None], size, gamma=gamma, tau=tau)[0]
            assert (bound[known] == 0).all()
            assert (exact[~known] <= bound[~known] + 1e-12).all()
            if tau > 4 or known.sum() == 3:
                assert np.allclose(exact[~known], bound[~known], rtol=1e-12)
            strict += int((exact[~known] < bound[~known] - 1e-3).sum())
    assert (strict == 0) == (tau > 4)


# --- bad input --------------------------------------------------------------------------------------------------


ONE = np.zeros((1, 1), dtype=bool)
BAD_SETS: list[tuple[dict[str, Any], str]] = [
    ({"probabilities": [[1.5]]}, "probabilities must lie in [0, 1], got 1.5"),
    ({"probabilities": [0.5]}, "probabilities must have shape (C, K)"),
    (
        {"learned": np.zeros((1, 2), dtype=bool)},
        "learned must be a bool array whose last axes are (C, K) = (1, 1)",
    ),
    ({"learned": np.zeros((1, 1))}, "learned must be a bool array"),
    ({"per_class_chunk_size": 0}, "per_class_chunk_size must be an integer >= 1, got 0"),
    ({"per_class_chunk_size": 2.5}, "per_class_chunk_size must be an integer >= 1, got 2.5"),
    ({"gamma": 0}, "gamma must be a number in (0, inf], got 0"),
    ({"tau": 0}, "tau must be an integer >= 1, got 0"),
    ({"tau": 1.5}, "tau must be an integer >= 1, got 1.5"),
]


@pytest.mark.parametrize("function", [learning_chances, quiet_probability])
@pytest.mark.parametrize(("changes", "message"), BAD_SETS)
def test_bad_arguments_of_chances_are_named(function: Any, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"learned": ONE, "probabilities": [[0.5]], "per_class_chunk_size": 10, **changes}
    with pytest.raises(ValueError, match=re.escape(message)):
        function(**arguments)


def test_one_learned_set_at_a_time_is_asked_for_quiet() -> None:
    with pytest.raises(ValueError, match=r"learned must have shape \(C, K\), got shape \(1, 1, 2\)"):
        quiet_probability(np.zeros((1, 1, 2), dtype=bool), [[0.5, 0.4]], 10)
    listed = quiet_probability([[True, False]], [[0.5, 0.4]], 10, gamma=3, tau=1)  # type: ignore[arg-type]
    assert listed == quiet_probability(np.array([[True, False]]), [[0.5, 0.4]], 10, gamma=3, tau=1)
