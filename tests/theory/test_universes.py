"""Exactly stationary chunks: the integer learner is the simulator."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dashtheory.discrete import DISCRETE_RULES, Simulation, simulate
from dashtheory.theory.stationary import Universe, greedy, run
from tests.theory.universe_cases import universe_of, universes


def simulated(universe: Universe, rule: str) -> Simulation:
    """The simulator on the same chunks; all classes must have the same size."""
    chunks = [
        np.repeat(rows, number, axis=0)
        for rows, number in zip(universe.combinations, universe.copies, strict=True)
    ]
    data = np.stack([np.tile(chunk, (universe.num_stages, 1)).T for chunk in chunks])
    return simulate(data, len(chunks[0]), gamma=universe.gamma, tau=universe.tau, rule=rule)


def single_class(universe: Universe, label: int) -> Universe:
    part = slice(label, label + 1)
    return dataclasses.replace(universe, combinations=universe.combinations[part], copies=universe.copies[part])


def recounted_unsure(universe: Universe, learned: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Unsure samples per chunk (C,) with learned features (C, K)."""
    shown = (universe.combinations & learned[:, None, :]).sum(axis=2)
    return np.asarray((universe.copies * (shown < universe.tau)).sum(axis=1), dtype=np.int64)


# The integer learner.


@settings(max_examples=150, deadline=None)
@given(universe=universes(same_size=True))
def test_the_integer_learner_is_the_simulator(universe: Universe) -> None:
    for rule in DISCRETE_RULES:
        exact, sampled = run(universe, rule), simulated(universe, rule)
        assert exact.rule == rule
        assert np.array_equal(exact.learned, sampled.learned)
        assert np.array_equal(exact.active_at_start, sampled.active_at_start)
        assert np.array_equal(exact.num_memorized, sampled.num_memorized)
        for stage, learned in enumerate(sampled.learned):
            unsure = recounted_unsure(universe, learned)
            assert np.array_equal(exact.unsure_by_class[stage], unsure)
            assert exact.unsure[stage] == unsure.sum()
            assert exact.sets[stage] == set(map(tuple, np.argwhere(learned).tolist()))


@settings(max_examples=60, deadline=None)
@given(universe=universes(), rule=st.sampled_from(DISCRETE_RULES))
def test_classes_of_any_size_do_not_interact(universe: Universe, rule: str) -> None:
    together = run(universe, rule)
    parts = [simulated(single_class(universe, c), rule) for c in range(len(universe.copies))]
    assert np.array_equal(together.learned, np.concatenate([part.learned for part in parts], axis=1))
    assert np.array_equal(together.active_at_start, sum(part.active_at_start for part in parts))
    assert np.array_equal(together.num_memorized, sum(part.num_memorized for part in parts))


def test_hand_sized_runs() -> None:
    # Three samples show feature 1, two show feature 2, one shows neither: gamma 4 is reached at stage 2 by both.
    universe = universe_of([[1], [2], []], [3, 2, 1], num_features=2, num_stages=3, gamma=4)
    cold, warm, ideal = (run(universe, rule) for rule in ("cold", "warm", "ideal"))
    assert (
        cold.learned[:, 0].tolist() == ideal.learned[:, 0].tolist() == [[False, False], [True, True], [True, True]]
    )
    assert not warm.learned.any()
    assert [cold.active_at_start.tolist(), cold.num_memorized.tolist()] == [[6, 12, 18], [6, 2, 3]]
    assert [ideal.active_at_start.tolist(), ideal.num_memorized.tolist()] == [[6, 12, 3], [6, 2, 3]]
    assert [warm.active_at_start.tolist(), warm.num_memorized.tolist()] == [[6, 6, 6], [6, 12, 18]]
    assert [cold.unsure.tolist(), warm.unsure.tolist()] == [[6, 1, 1], [6, 6, 6]]
    assert universe.remainder == 1
    assert universe.chunk_size == 6
    found = greedy(universe)
    assert [found.order, found.gains, found.unsure] == [((0, 0), (0, 1)), (3, 2), (6, 3, 1)]


def test_huge_copies_are_counted_exactly() -> None:
    many = 10**17
    universe = universe_of([[1], [2]], [many + 1, many], num_features=2, num_stages=3, gamma=3 * many + 1)
    cold = run(universe, "cold")
    assert cold.learned[:, 0].tolist() == [[False, False], [False, False], [True, False]]  # off by one copy
    assert cold.active_at_start.tolist() == [j * (2 * many + 1) for j in (1, 2, 3)]


@settings(max_examples=100, deadline=None)
@given(universe=universes(same_size=True))
def test_the_greedy_order_is_that_of_a_learner_that_takes_every_gain(universe: Universe) -> None:
    found = greedy(universe)
    once = dataclasses.replace(universe, gamma=1, num_stages=1)
    assert list(found.order) == list(map(tuple, simulated(once, "cold").order[0].tolist()))
    assert list(found.gains) == sorted(found.gains, reverse=True)
    assert found.gains == () or found.gains[-1] > 0
    learned = np.zeros(universe.combinations[:, 0].shape, dtype=bool)
    assert found.unsure[0] == universe.chunk_size
    assert len(found.unsure) == len(found.order) + 1 == len(found.gains) + 1
    for (label, feature), gain, left in zip(found.order, found.gains, found.unsure[1:], strict=True):
        active = (universe.combinations & learned[:, None, :]).sum(axis=2) < universe.tau
        assert gain == (universe.copies * active * universe.combinations[..., feature])[label].sum()
        learned[label, feature] = True
        assert left == recounted_unsure(universe, learned).sum()


@settings(max_examples=60, deadline=None)
@given(universe=universes())
def test_the_remainder_is_unsure_even_when_everything_is_learned(universe: Universe) -> None:
    everything = np.ones(universe.combinations[:, 0].shape, dtype=bool)
    assert universe.remainder == recounted_unsure(universe, everything).sum()


def test_a_universe_and_its_runs_cannot_be_changed() -> None:
    rows = np.ones((1, 1, 1), dtype=bool)
    copies: Any = np.ones((1, 1), dtype=np.int32)
    universe = Universe(combinations=rows, copies=copies, num_stages=1, gamma=1, tau=1)
    rows[:], copies[:] = False, 7  # the universe has copies of its own
    assert universe.chunk_size == 1
    assert universe.copies.dtype == np.int64
    assert run(universe, "cold").learned.all()
    for array in (universe.combinations, universe.copies, run(universe, "cold").learned):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


# Bad input.


GOOD: dict[str, Any] = {
    "combinations": np.ones((1, 2, 3), dtype=bool),
    "copies": np.ones((1, 2), dtype=np.int64),
    "num_stages": 2,
    "gamma": 1,
    "tau": 1,
}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"combinations": np.ones((1, 2, 3), dtype=int)}, "combinations must be a bool array (C, R, K), got int64"),
    (
        {"combinations": np.ones((2, 3), dtype=bool)},
        "combinations must be a bool array (C, R, K), got bool (2, 3)",
    ),
    ({"copies": np.ones((1, 2))}, "copies must be an integer array (C, R) = (1, 2), got float64 (1, 2)"),
    ({"copies": np.ones((1, 3), dtype=int)}, "copies must be an integer array (C, R) = (1, 2), got int64 (1, 3)"),
    ({"copies": np.array([[2, -1]])}, "copies must be >= 0, with a sample in each class, got [[2, -1]]"),
    ({"copies": np.array([[0, 0]])}, "copies must be >= 0, with a sample in each class, got [[0, 0]]"),
    ({"copies": np.array([[2**62, 0]])}, "copies must leave the samples of all stages below 2^63"),
    ({"num_stages": 0}, "num_stages must be an integer >= 1, got 0"),
    ({"gamma": 0}, "gamma must be an integer >= 1, got 0"),
    ({"gamma": 1.5}, "gamma must be an integer >= 1, got 1.5. It counts samples; round a fraction up."),
    ({"tau": 0}, "tau must be an integer >= 1, got 0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_universes_are_refused(changes: dict[str, Any], message: str) -> None:
    Universe(**GOOD)
    with pytest.raises(ValueError, match=re.escape(message)):
        Universe(**{**GOOD, **changes})
