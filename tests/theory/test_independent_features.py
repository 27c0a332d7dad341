"""Claims about independent features and sampled chunks, and bad input."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dashtheory.discrete import simulate
from dashtheory.theory.claims import CLAIMS, FINITE, Claim, IndependentWorld
from dashtheory.theory.stationary import Limits, run
from tests.theory.universe_cases import one_sample

# Independent features.


def random_worlds(number: int) -> Iterator[IndependentWorld]:
    rng = np.random.default_rng(0)
    for _ in range(number):
        highest = float(rng.choice([0.2, 0.5, 1.0]))
        yield IndependentWorld(
            probabilities=highest * rng.random((int(rng.integers(1, 3)), int(rng.integers(1, 8)))),
            per_class_chunk_size=10,
            gamma=15 * highest * rng.random() + 1e-3,
            tau=int(rng.integers(1, 4)),
            num_stages=int(rng.integers(3, 8)),
        )


def test_independent_features_with_small_odds_leave_warm_no_longer_than_ideal() -> None:
    odds, anything = CLAIMS["independent_odds"], CLAIMS["independent_warm_never_longer"]
    applied = failed = 0
    for world in random_worlds(1000):
        odds.require(world)
        applied += odds.check(world).applies
        failed += not anything.check(world).holds
    assert 800 < applied < 1000  # 89% of 20,000
    assert 25 < failed < 100  # 5% of 20,000


def test_one_probable_feature_leaves_warm_longer() -> None:
    # 9 of 10 samples show it: too few for gamma 15 in one chunk, enough in two. Stage 3: 10 for warm, 3 for ideal.
    world = IndependentWorld(
        probabilities=np.array([[0.9]]), per_class_chunk_size=10, gamma=15, tau=1, num_stages=3
    )
    verdict = CLAIMS["independent_warm_never_longer"].check(world)
    assert verdict.explain().splitlines()[1:] == [
        "  independent features, 10 samples per class and chunk, 3 stages, gamma 15, tau 1",
        "    class 1: probabilities 0.9",
        "  stage 3: active of warm 10, of ideal 3; claimed: 10 <= 3",
    ]
    assert not CLAIMS["independent_odds"].check(world).applies
    # (b): a probability of 2/3 is the border, 3 (1 - p) >= 1, and equality passes only by the rounding allowed.
    border = dataclasses.replace(world, probabilities=np.array([[2 / 3]]), gamma=10)
    assert CLAIMS["independent_odds"].check(border).applies
    CLAIMS["independent_odds"].require(border)
    beyond = dataclasses.replace(border, probabilities=np.array([[2 / 3 + 1e-9]]))
    assert not CLAIMS["independent_odds"].check(beyond).applies
    assert not CLAIMS["independent_warm_never_longer"].check(beyond).holds


def test_what_counts_is_learned_before_the_stage() -> None:
    # Learned in stage 3: stage 3 starts as before, 10 for warm and 30 for ideal; stage 4 with 10 and 4.
    world = IndependentWorld(
        probabilities=np.array([[0.9]]), per_class_chunk_size=10, gamma=25, tau=1, num_stages=4
    )
    assert [comparison.stage for comparison in CLAIMS["independent_odds"].compare(world)] == [3]
    assert CLAIMS["independent_warm_never_longer"].check(world).stage == 4


def equal_probabilities(p: float) -> IndependentWorld:
    """25 features of one probability, tau 1: none is learned in stage 1, all are by stage 10."""
    return IndependentWorld(
        probabilities=np.full((1, 25), p), per_class_chunk_size=1000, gamma=1000.1 * p, tau=1, num_stages=11
    )


def test_many_rare_features_leave_warm_longer_too_and_the_odds_are_sharp() -> None:
    """Odds 1.0006 times as large as (c) allows: (1 - p)^24 > 1/10, but (1 - p)^25 < 1/11."""
    p = 0.09147
    world = equal_probabilities(p)
    assert p / (1 - p) / (11 / 10 * p) == pytest.approx(1.0006, abs=5e-5)
    verdict = CLAIMS["independent_warm_never_longer"].check(world)
    assert verdict.stage == 11
    assert 11 not in [comparison.stage for comparison in CLAIMS["independent_odds"].compare(world)]
    CLAIMS["independent_odds"].require(world)
    rarer = equal_probabilities(1 / 11 - 1e-9)  # odds just allowed
    assert 11 in [comparison.stage for comparison in CLAIMS["independent_odds"].compare(rarer)]
    CLAIMS["independent_warm_never_longer"].require(rarer)


def test_the_paper_setting_meets_the_odds_from_stage_3_on() -> None:
    p = 0.2 * np.random.default_rng(0).random((2, 50))
    world = IndependentWorld(probabilities=p, per_class_chunk_size=500, gamma=50, tau=3, num_stages=50)
    assert [c.stage for c in CLAIMS["independent_odds"].compare(world)] == list(range(3, 51))
    CLAIMS["independent_warm_never_longer"].require(world)


# Sampled chunks.


def broken_by_sampling(data: NDArray[np.bool_], per_class_chunk_size: int, gamma: int, tau: int) -> set[str]:
    """The claims on learned sets that one sampled stream breaks."""
    cold, warm, ideal = (
        simulate(data, per_class_chunk_size, gamma=gamma, tau=tau, rule=rule).learned
        for rule in ("cold", "warm", "ideal")
    )
    broken = {
        "warm_stops": (warm != warm[0]).any(),
        "cold_equals_ideal": (cold != ideal).any(),
        "inclusion, of warm in ideal": (warm & ~ideal).any(),
        "inclusion, cold grows": (cold[:-1] & ~cold[1:]).any(),
    }
    return {name for name, is_broken in broken.items() if is_broken}


def test_sampled_chunks_break_what_exact_chunks_cannot() -> None:
    """Of 2,000 random cases 12% broke warm_stops, 4% cold_equals_ideal and cold's growth, 0.2% warm in ideal."""
    rng = np.random.default_rng(0)
    found: Counter[str] = Counter()
    for _ in range(2000):
        num_features, per_class_chunk_size, num_stages = (
            int(rng.integers(*ends)) for ends in ((1, 6), (2, 21), (2, 6))
        )
        tau, gamma = int(rng.integers(1, 4)), int(rng.integers(1, 2 * per_class_chunk_size + 1))
        chunk = rng.random((1, num_features, per_class_chunk_size * num_stages)) < rng.random((1, num_features, 1))
        found.update(broken_by_sampling(chunk, per_class_chunk_size, gamma, tau))
        repeated = np.tile(chunk[..., :per_class_chunk_size], num_stages)
        assert broken_by_sampling(repeated, per_class_chunk_size, gamma, tau) == set()
    assert 150 < found["warm_stops"] < 400
    assert 30 < found["cold_equals_ideal"] < 200
    assert 30 < found["inclusion, cold grows"] < 200
    assert 1 <= found["inclusion, of warm in ideal"] < 30
    assert all(name in FINITE for name in ("warm_stops", "cold_equals_ideal", "inclusion"))


# Bad input.


BAD_WORLDS: list[tuple[dict[str, Any], str]] = [
    ({"probabilities": [[1.5]]}, "probabilities must lie in [0, 1], got 1.5"),
    ({"per_class_chunk_size": 0}, "per_class_chunk_size must be a number in (0, inf), got 0"),
    ({"gamma": 0}, "gamma must be a number in (0, inf), got 0"),
    ({"tau": 0}, "tau must be an integer >= 1, got 0"),
    ({"num_stages": 0}, "num_stages must be an integer >= 1, got 0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_WORLDS)
def test_bad_worlds_are_refused(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "probabilities": [[0.5]],
        "per_class_chunk_size": 9,
        "gamma": 3,
        "tau": 1,
        "num_stages": 3,
    }
    assert IndependentWorld(**good).probabilities.tolist() == [[0.5]]
    with pytest.raises(ValueError, match=re.escape(message)):
        IndependentWorld(**{**good, **changes})


BAD_CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: run(one_sample(1), "hot"), "rule must be one of cold, warm, ideal, got 'hot'"),
    (lambda: Limits(max_samples=0), "max_samples must be an integer >= 1, got 0"),
    (
        lambda: CLAIMS["independent_odds"].check(one_sample(1)),
        "universe of independent_odds must be of type IndependentWorld, got Universe",
    ),
    (
        lambda: CLAIMS["warm_stops"].counterexample([next(random_worlds(1))]),
        "universe of warm_stops must be of type Universe, got IndependentWorld",
    ),
    (
        lambda: CLAIMS["independent_odds"].counterexample(),
        "universes must be given for independent_odds, got None",
    ),
    (
        lambda: CLAIMS["warm_stops"].counterexample([], limits=Limits()),
        "limits must be left out where universes are given",
    ),
    (
        lambda: Claim(name="a", statement="b", section="c", status="open", compare=lambda case: iter(())),
        "status must be one of theorem, refuted, got 'open'",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_calls_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
