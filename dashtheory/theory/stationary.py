"""Chunks that repeat exactly, in whole numbers: the discrete framework with nothing left to chance.

A `Universe` fixes what one chunk holds: row r of class c exactly `copies[c, r]` times, in every chunk. `run` is
the learner of `dashtheory.discrete.simulate` on the first J chunks, in exact integers. It counts the samples of
each row; it uses none of the lemmas that `dashtheory.theory.claims` checks with it.

Greedy order (`greedy`). Learn forever the feature that most unsure samples show, with ties as the learner breaks
them; a sample is unsure while fewer than tau of its features are learned. Call the sequence v_1, v_2, ..., its
gains g_k (unsure samples per chunk that show v_k when v_1..v_(k-1) are learned), and F_k the unsure samples per
chunk after v_k. Unsure samples only become fewer, so g_k never rises. A cold stage j sees every count j times, so
it learns exactly the v_k with j g_k >= gamma: a prefix of one sequence that does not depend on j. Derived here;
the framework is that of Section 3 of arXiv:2410.23495.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray

from dashtheory._check import choice, fail, integer
from dashtheory.discrete import DISCRETE_RULES

Ints = NDArray[np.int64]
Feature = tuple[int, int]
"""(class, feature), both from 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Universe:
    """Exactly stationary chunks, and the learner's numbers.

    Attributes:
        combinations: bool (C, R, K); row r of class c shows these features. Kept as a read-only copy.
        copies: integers (C, R), >= 0: samples of the row in every chunk; each class has at least one sample, and
            classes may differ in size. Kept as a read-only int64 copy.
        num_stages: J >= 1.
        gamma: samples that must show a feature to learn it, an integer >= 1. (A fraction acts as its ceiling.)
        tau: learned features that give a sample a zero gradient, >= 1.

    Raises:
        ValueError: if an argument is out of range, or all samples of J chunks do not fit into int64.
    """

    combinations: NDArray[np.bool_]
    copies: Ints
    num_stages: int
    gamma: int
    tau: int

    def __post_init__(self) -> None:
        rows, copies = np.array(self.combinations), np.array(self.copies)
        if rows.dtype != np.bool_ or rows.ndim != 3 or 0 in rows.shape:
            fail("combinations", "must be a bool array (C, R, K)", f"{rows.dtype} {rows.shape}", "Convert it.")
        if copies.dtype.kind not in "iu" or copies.shape != rows.shape[:2]:
            rule = f"must be an integer array (C, R) = {rows.shape[:2]}"
            fail("copies", rule, f"{copies.dtype} {copies.shape}", "Give one count per row.")
        counts = copies.tolist()
        if min(map(min, counts)) < 0 or min(map(sum, counts)) == 0:
            fail("copies", "must be >= 0, with a sample in each class", str(counts), "Count samples per chunk.")
        integers = {
            "num_stages": integer("num_stages", self.num_stages, minimum=1, fix="It counts stages."),
            "gamma": integer("gamma", self.gamma, minimum=1, fix="It counts samples; round a fraction up."),
            "tau": integer("tau", self.tau, minimum=1, fix="Give the number of learned features a sample needs."),
        }
        if integers["num_stages"] * sum(map(sum, counts)) > np.iinfo(np.int64).max:
            fail("copies", "must leave the samples of all stages below 2^63", str(counts), "Give fewer copies.")
        copies = copies.astype(np.int64)
        for array in (rows, copies):
            array.setflags(write=False)
        for name, value in {"combinations": rows, "copies": copies, **integers}.items():
            object.__setattr__(self, name, value)

    @property
    def chunk_size(self) -> int:
        """N, samples of all classes in a chunk."""
        return int(self.copies.sum())

    @property
    def remainder(self) -> int:
        """Samples per chunk that show fewer than tau features at all: they can only be memorised."""
        return sum(_unsure(rows, -1, self.tau) for rows in self.rows)  # the mask -1 holds every feature

    @cached_property
    def rows(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each class its rows that occur, as (bit mask of the features shown, copies per chunk)."""
        return tuple(
            tuple((_mask(shown), number) for shown, number in zip(*one_class, strict=True) if number)
            for one_class in zip(self.combinations.tolist(), self.copies.tolist(), strict=True)
        )

    def describe(self) -> str:
        """Lines for people: the numbers, then each class with its rows, as "{1,3} x2"; all counted from 1."""
        num_classes, _, num_features = self.combinations.shape
        head = (
            f"{_counted(num_classes, 'class', 'classes')}, {_counted(num_features, 'feature', 'features')}, "
            f"{_counted(self.num_stages, 'stage', 'stages')}, gamma {self.gamma}, tau {self.tau}"
        )
        lines = [
            f"  class {label}, every chunk: " + ", ".join(f"{_shown(mask)} x{number}" for mask, number in rows)
            for label, rows in enumerate(self.rows, 1)
        ]
        return "\n".join([head, *lines])


@dataclass(frozen=True, kw_only=True, eq=False)
class StationaryRun:
    """What one rule learned and memorised, stage by stage. The arrays are read-only.

    Attributes:
        rule: its name.
        learned: bool (J, C, K), features known after each stage.
        unsure_by_class: int64 (J, C), samples per chunk that show fewer than tau learned features after each
            stage.
        active_at_start: int64 (J,), samples with a non-zero gradient when the stage starts.
        num_memorized: int64 (J,), samples whose noise is held after each stage.
    """

    rule: str
    learned: NDArray[np.bool_]
    unsure_by_class: Ints
    active_at_start: Ints
    num_memorized: Ints

    @property
    def unsure(self) -> Ints:
        """int64 (J,): samples per chunk that show fewer than tau learned features, all classes together."""
        return np.asarray(self.unsure_by_class.sum(axis=1), dtype=np.int64)

    @cached_property
    def sets(self) -> tuple[frozenset[Feature], ...]:
        """The features known after each stage, as J sets of (class, feature), from 0."""
        return tuple(
            frozenset((c, k) for c, row in enumerate(stage) for k, known in enumerate(row) if known)
            for stage in self.learned.tolist()
        )


@dataclass(frozen=True, kw_only=True)
class UniverseOrder:
    """The greedy order of a universe, up to the last feature that an unsure sample shows.

    Attributes:
        order: (class, feature) pairs v_1, v_2, ..., from 0.
        gains: g_1, g_2, ...: unsure samples per chunk that show v_k when v_1..v_(k-1) are learned; never rising.
        unsure: F_0, F_1, ...: unsure samples per chunk when v_1..v_k are learned; one more than there are gains.
    """

    order: tuple[Feature, ...]
    gains: tuple[int, ...]
    unsure: tuple[int, ...]


def run(universe: Universe, rule: str) -> StationaryRun:
    """Train on chunks 1..j, for j = 1..J, with one rule between the stages.

    Deterministic and exact. Time: about R K steps per learned feature and stage.

    Args:
        universe: the chunks.
        rule: "cold", "warm" or "ideal".

    Returns:
        `StationaryRun`; the last few are kept, so that asking again costs nothing.

    Raises:
        ValueError: if the rule is unknown.
    """
    return _run(universe, choice("rule", rule, DISCRETE_RULES))


@lru_cache(maxsize=16)
def _run(universe: Universe, rule: str) -> StationaryRun:
    num_features = universe.combinations.shape[2]
    classes = [list(_stages(rows, num_features, universe, rule)) for rows in universe.rows]
    learned, unsure, active, num_memorized = (
        [[stage[part] for stage in stages] for stages in zip(*classes, strict=True)] for part in range(4)
    )
    arrays = {
        "learned": np.array(
            [[[mask >> k & 1 for k in range(num_features)] for mask in masks] for masks in learned]
        )
        == 1,
        "unsure_by_class": np.array(unsure, dtype=np.int64),
        "active_at_start": np.array([sum(stage) for stage in active], dtype=np.int64),
        "num_memorized": np.array([sum(stage) for stage in num_memorized], dtype=np.int64),
    }
    for array in arrays.values():
        array.setflags(write=False)
    return StationaryRun(rule=rule, **arrays)


def greedy(universe: Universe) -> UniverseOrder:
    """The order in which features are learned when any gain is enough.

    Args:
        universe: the chunks; its gamma and number of stages do not matter.

    Returns:
        `UniverseOrder`.
    """
    num_features, tau = universe.combinations.shape[2], universe.tau
    known = [0] * len(universe.rows)
    order: list[Feature] = []
    gains: list[int] = []
    unsure = [universe.chunk_size]
    while True:
        best = [_most_shown(*parts, num_features, tau) for parts in zip(universe.rows, known, strict=True)]
        label = max(range(len(best)), key=lambda c: best[c][0])  # ties: the first class
        gain, feature = best[label]
        if gain == 0:
            return UniverseOrder(order=tuple(order), gains=tuple(gains), unsure=tuple(unsure))
        known[label] |= 1 << feature
        order.append((label, feature))
        gains.append(gain)
        unsure.append(sum(_unsure(rows, k, tau) for rows, k in zip(universe.rows, known, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest of each number in `small_universes`, all >= 1.

    Attributes:
        max_classes: C.
        max_features: K.
        max_samples: per chunk, all classes together.
        max_stages: J.
        max_tau: tau; K + 1 is never exceeded, because a larger tau acts alike.

    Raises:
        ValueError: if one is not a positive integer.
    """

    max_classes: int = 1
    max_features: int = 2
    max_samples: int = 3
    max_stages: int = 4
    max_tau: int = 3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            integer(name, value, minimum=1, fix="It is the largest value that is tried.")


def size(universe: Universe) -> int:
    """C + K + samples per chunk + J + gamma + tau: the order of `small_universes`."""
    num_classes, _, num_features = (int(number) for number in universe.combinations.shape)
    return num_classes + num_features + universe.chunk_size + universe.num_stages + universe.gamma + universe.tau


def small_universes(limits: Limits | None = None) -> Iterator[Universe]:
    """Every universe within the limits, by `size`; the first with a property is a smallest one.

    A chunk is listed once for each multiset of rows (samples that show no feature are rows too). gamma runs from 1
    to J times the samples of the largest class plus 1, where nothing is learned; a larger gamma acts alike.

    Args:
        limits: `Limits`, with their defaults if not given.

    Returns:
        an iterator of `Universe`, made one at a time.
    """
    limits = limits or Limits()
    cases = [
        (len(numbers) + num_features + sum(numbers) + num_stages + gamma + tau, numbers, *shape, gamma)
        for num_classes in range(1, limits.max_classes + 1)
        for numbers in product(range(1, limits.max_samples + 1), repeat=num_classes)
        if sum(numbers) <= limits.max_samples
        for shape in product(
            range(1, limits.max_features + 1), range(1, limits.max_stages + 1), range(1, limits.max_tau + 1)
        )
        for num_features, num_stages, tau in [shape]
        if tau <= num_features + 1
        for gamma in range(1, num_stages * max(numbers) + 2)
    ]
    for _, numbers, num_features, num_stages, tau, gamma in sorted(cases):
        for copies in _contents(numbers, num_features):
            rows = np.broadcast_to(_all_rows(num_features), (len(numbers), 1 << num_features, num_features))
            yield Universe(combinations=rows, copies=copies, num_stages=num_stages, gamma=gamma, tau=tau)


def _contents(numbers: Sequence[int], num_features: int) -> Iterator[Ints]:
    """Copies (C, 2^K) of every chunk with these samples per class."""
    num_rows = 1 << num_features
    for picks in product(*(combinations_with_replacement(range(num_rows), number) for number in numbers)):
        yield np.array([[rows.count(row) for row in range(num_rows)] for rows in picks])


def _all_rows(num_features: int) -> NDArray[np.bool_]:
    rows: NDArray[np.bool_] = (np.arange(1 << num_features)[:, None] >> np.arange(num_features)) & 1 == 1
    return rows


Rows = Sequence[tuple[int, int]]


def _stages(rows: Rows, num_features: int, universe: Universe, rule: str) -> Iterator[tuple[int, int, int, int]]:
    """One class: (mask of known features, unsure per chunk, active at the start, memorised) of each stage.

    Classes do not interact: a feature belongs to one class, and only its samples show it.
    """
    tau = universe.tau
    known, held = 0, [0] * len(rows)  # held: samples of each row whose noise is memorised
    for stage in range(1, universe.num_stages + 1):
        if rule == "cold":
            known = 0
        if rule != "warm":
            held = [0] * len(rows)
        free = [(mask, stage * copies - kept) for (mask, copies), kept in zip(rows, held, strict=True)]
        active = _unsure(free, known, tau)
        while True:
            count, feature = _most_shown(free, known, num_features, tau)
            if count < universe.gamma:
                break
            known |= 1 << feature
        held = [
            kept + new if (mask & known).bit_count() < tau else kept
            for kept, (mask, new) in zip(held, free, strict=True)
        ]
        yield known, _unsure(rows, known, tau), active, sum(held)


def _unsure(rows: Rows, known: int, tau: int) -> int:
    """Samples that show fewer than tau known features."""
    return sum(number for mask, number in rows if (mask & known).bit_count() < tau)


def _most_shown(rows: Rows, known: int, num_features: int, tau: int) -> tuple[int, int]:
    """(count, feature): the unlearned feature that most unsure samples show, ties by index; (0, -1) if none."""
    active = [(mask, number) for mask, number in rows if (mask & known).bit_count() < tau]
    most, chosen = 0, -1
    for feature in range(num_features):
        bit = 1 << feature
        if not known & bit:
            count = sum(number for mask, number in active if mask & bit)
            if count > most:
                most, chosen = count, feature
    return most, chosen


def _mask(shown: Sequence[bool]) -> int:
    return sum(1 << k for k, bit in enumerate(shown) if bit)


def _shown(mask: int) -> str:
    return "{" + ",".join(str(k + 1) for k in range(mask.bit_length()) if mask >> k & 1) + "}"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
