"""The claims: theorems hold in every small universe, and fail where rules are exchanged."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from dashtheory.theory import claims as claims_module
from dashtheory.theory.claims import CLAIMS, Comparison, first_strict_stage
from dashtheory.theory.stationary import Limits, StationaryRun, Universe, greedy, run, size, small_universes
from tests.theory.universe_cases import universe_of, universes

ABOUT_UNIVERSES = [claim for claim in CLAIMS.values() if claim.about is Universe]
THEOREMS = [claim for claim in ABOUT_UNIVERSES if claim.status == "theorem"]
REFUTED = [claim for claim in ABOUT_UNIVERSES if claim.status == "refuted"]


# Every small universe.


ENUMERATIONS = [
    pytest.param(Limits(max_features=2, max_samples=4), 8_460, id="1 class, 2 features, 4 samples"),
    pytest.param(Limits(max_features=3, max_samples=3), 18_568, id="1 class, 3 features, 3 samples"),
    pytest.param(Limits(max_classes=2), 10_520, id="2 classes, 2 features, 3 samples"),
    pytest.param(
        Limits(max_classes=2, max_samples=4), 40_620, id="2 classes, 2 features, 4 samples", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize(("limits", "expected"), ENUMERATIONS)
def test_in_every_small_universe_the_theorems_hold_and_the_refuted_claims_fail_first_where_they_should(
    limits: Limits, expected: int
) -> None:
    """About 0.3 ms per universe on one core: 10 s without the slow one."""
    number, last_size = 0, 0
    failures: dict[str, list[Universe]] = {claim.name: [] for claim in REFUTED}
    applied: Counter[str] = Counter()
    for universe in small_universes(limits):
        number += 1
        assert size(universe) >= last_size
        last_size = size(universe)
        for claim in ABOUT_UNIVERSES:
            verdict = claim.check(universe)
            applied[claim.name] += verdict.applies
            if not verdict.holds:
                assert claim.status == "refuted", verdict.explain()
                failures[claim.name].append(universe)
    assert number == expected
    for claim in ABOUT_UNIVERSES:
        assert (applied[claim.name] == number) == (not claim.assumptions)
        assert applied[claim.name] > number / 2
    for name, stages in (("warm_never_longer_than_ideal", 3), ("warm_never_longer_cumulatively", 4)):
        first, second = failures[name][:2]
        assert (first.copies.tolist(), first.combinations.tolist()) == ([[0, 1]], [[[False], [True]]])
        assert (first.num_stages, first.gamma, first.tau) == (stages, 2, 1)
        assert size(second) > size(first) == 6 + stages  # no other of the same size


def test_small_universes_lists_each_once_and_all_of_them() -> None:
    limits = Limits(max_classes=2, max_features=2, max_samples=3, max_stages=2, max_tau=2)
    keys = [
        (u.combinations.shape, u.copies.tobytes(), u.num_stages, u.gamma, u.tau) for u in small_universes(limits)
    ]
    assert len(set(keys)) == len(keys)
    # One class: n samples of 2^K kinds in (2^K + n - 1 over n) ways; two classes of (1, 1), (1, 2), (2, 1).
    ways = {(1, 1): 2, (1, 2): 3, (1, 3): 4, (2, 1): 4, (2, 2): 10, (2, 3): 20}
    expected = 0
    for features, stages in itertools.product((1, 2), (1, 2)):
        one = sum(ways[features, n] * (stages * n + 1) for n in (1, 2, 3))
        two = ways[features, 1] ** 2 * (stages + 1)
        two += 2 * ways[features, 1] * ways[features, 2] * (2 * stages + 1)
        expected += 2 * (one + two)  # tau 1 and 2
    assert len(keys) == expected
    assert {u.tau for u in small_universes(Limits(max_features=1, max_tau=9))} == {1, 2}  # 3 acts as 2


@settings(max_examples=300, deadline=None)
@given(universe=universes())
def test_the_theorems_hold_in_larger_universes(universe: Universe) -> None:
    for claim in THEOREMS:
        claim.require(universe)


@settings(max_examples=150, deadline=None)
@given(universe=universes())
def test_the_first_strict_stage_is_right_however_late_it_comes(universe: Universe) -> None:
    stage = first_strict_stage(universe)
    if stage is None:  # then cold never leaves fewer unsure, not even where it learns all that is shown
        assert min(greedy(universe).unsure) == run(universe, "warm").unsure[0]
        return
    longer = dataclasses.replace(universe, num_stages=stage)
    behind = run(longer, "warm").unsure > run(longer, "ideal").unsure
    assert np.flatnonzero(behind).tolist() == [stage - 1]


def test_the_first_strict_stage_skips_features_that_make_no_sample_sure() -> None:
    # tau 2. Feature 1 (5 samples) is learned at once. Feature 2 then makes the three sure that show both. With
    # gamma 5 that takes ceil(5 / 3) = 2 stages.
    both = universe_of([[1, 2], [1]], [3, 2], num_features=2, num_stages=4, gamma=5, tau=2)
    assert first_strict_stage(both) == 2
    # Nothing is learned in stage 1, and the first feature alone makes none sure: k = 2, ceil(6 / 3) = 2.
    assert first_strict_stage(dataclasses.replace(both, gamma=6)) == 2
    assert first_strict_stage(dataclasses.replace(both, gamma=7)) == 3
    assert first_strict_stage(dataclasses.replace(both, gamma=1)) is None  # stage 1 learns both
    assert first_strict_stage(dataclasses.replace(both, tau=3)) is None  # nothing makes a sample sure


# Each theorem is able to fail: with the runs of two rules exchanged, some small universe breaks it.


def backwards(original: StationaryRun) -> StationaryRun:
    return dataclasses.replace(original, learned=original.learned[::-1])


EXCHANGES: list[tuple[str, dict[str, str]]] = [
    ("greedy_prefix", {"cold": "warm"}),
    ("warm_stops", {"warm": "cold"}),
    ("cold_equals_ideal", {"ideal": "warm"}),
    ("inclusion", {"warm": "cold", "ideal": "warm"}),
    ("accuracy_order", {"warm": "cold"}),
    ("accuracy_order", {"ideal": "warm"}),
    ("accuracy_order", {"cold": "warm"}),
    ("ideal_never_longer_than_cold", {"ideal": "cold", "cold": "ideal"}),
    ("warm_never_longer_up_to_stage_2", {"warm": "cold", "ideal": "warm"}),
    ("warm_never_longer_than_ideal_with_remainder", {"warm": "cold"}),
    ("cumulative_up_to_stage_3", {"warm": "cold"}),
]


@pytest.mark.parametrize(("name", "exchange"), EXCHANGES)
def test_a_theorem_fails_when_rules_are_exchanged(
    name: str, exchange: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CLAIMS[name].counterexample() is None
    monkeypatch.setattr(claims_module, "run", lambda universe, rule: run(universe, exchange.get(rule) or rule))
    assert CLAIMS[name].counterexample() is not None


def test_inclusion_also_asks_that_cold_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_cold_backwards(universe: Universe, rule: str) -> StationaryRun:
        return backwards(run(universe, rule)) if rule == "cold" else run(universe, rule)

    monkeypatch.setattr(claims_module, "run", with_cold_backwards)
    verdict = CLAIMS["inclusion"].counterexample()
    assert verdict is not None
    assert verdict.explain().endswith(
        "stage 2: learned by cold one stage before {1 of class 1}, learned by cold {}; "
        "claimed: {1 of class 1} contained in {}"
    )


def test_accuracy_order_also_asks_for_equality_before_the_strict_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_eager_warm(universe: Universe, rule: str) -> StationaryRun:
        return run(dataclasses.replace(universe, gamma=1) if rule == "warm" else universe, rule)

    monkeypatch.setattr(claims_module, "run", with_eager_warm)
    verdict = CLAIMS["accuracy_order"].counterexample()
    assert verdict is not None
    assert verdict.explain().endswith("0, after ideal 1; claimed: 0 = 1")
    assert verdict.stage == 1


# The list of claims.


def test_every_claim_says_what_it_is_and_where_it_is_proved() -> None:
    assert list(CLAIMS) == [
        "greedy_prefix",
        "warm_stops",
        "cold_equals_ideal",
        "inclusion",
        "accuracy_order",
        "ideal_never_longer_than_cold",
        "warm_never_longer_than_ideal",
        "warm_never_longer_up_to_stage_2",
        "warm_never_longer_than_ideal_with_remainder",
        "warm_never_longer_cumulatively",
        "cumulative_up_to_stage_3",
        "independent_warm_never_longer",
        "independent_odds",
    ]
    for name, claim in CLAIMS.items():
        assert claim.name == name
        assert claim.section == "docs/theory.md#" + name.replace("_", "-")
        assert claim.statement
    assert [name for name, claim in CLAIMS.items() if claim.status == "refuted"] == [
        "warm_never_longer_than_ideal",
        "warm_never_longer_cumulatively",
        "independent_warm_never_longer",
    ]


@pytest.mark.parametrize(
    ("left", "relation", "right", "holds"),
    [
        (1, "<=", 1, True),
        (2, "<=", 1, False),
        (1, ">", 1, False),
        (2, ">", 1, True),
        (1, "=", 1, True),
        (1, "=", 2, False),
        (frozenset({(0, 0)}), "<=", frozenset({(0, 0), (0, 1)}), True),
        (frozenset({(0, 0)}), "<=", frozenset({(0, 1), (1, 0)}), False),
    ],
)
def test_relations_mean_what_they_say(left: Any, relation: str, right: Any, holds: bool) -> None:
    comparison = Comparison(stage=1, left_is="a", left=left, relation=relation, right_is="b", right=right)
    assert comparison.holds is holds


def test_rounding_allows_a_part_in_a_trillion_and_no_more() -> None:
    for excess, holds in ((5e-13, True), (2e-12, False)):
        comparison = Comparison(
            stage=1, left_is="a", left=7 * (1 + excess), relation="<=", right_is="b", right=7.0, rounding=1e-12
        )
        assert comparison.holds is holds
