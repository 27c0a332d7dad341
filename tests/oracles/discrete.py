"""Level 1 with sets, written from DESIGN.md alone and without a thought for speed.

A feature is the pair (class, index); a sample is the pair (class, place in the order of arrival). Every
quantity is recounted from scratch at each learning step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Feature = tuple[int, int]
Sample = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class OracleRun:
    """What was learned and memorised, in the form of `dashtheory.discrete.Simulation`.

    Attributes:
        learned: bool (J, C, K), after each stage.
        memorized: bool (J, C, n), after each stage.
        active_at_start: int64 (J,).
        order: J arrays, int64 (m_j, 2), pairs (class, feature) in the order learned within the stage.
        tied: whether the choice of some learned feature had to be made between equal counts.
    """

    learned: NDArray[np.bool_]
    memorized: NDArray[np.bool_]
    active_at_start: NDArray[np.int64]
    order: tuple[NDArray[np.int64], ...]
    tied: bool


def simulate_with_sets(
    features: NDArray[np.bool_],
    per_class_chunk_size: int,
    *,
    gamma: float,
    tau: int,
    rule: str = "warm",
    released: NDArray[np.bool_] | None = None,
    forgotten: NDArray[np.bool_] | None = None,
) -> OracleRun:
    """Follow the rules of level 1 to the letter.

    Args:
        features: bool (C, K, n): class, feature, sample of that class in order of arrival.
        per_class_chunk_size: samples of each class in a chunk: N / C; divides n.
        gamma: active samples that must show a feature for it to be learned.
        tau: learned features that give a sample a zero gradient.
        rule: "cold", "warm" or "ideal".
        released: bool (J, C, n), the memorised samples that are forgotten before each stage; default: none.
        forgotten: bool (J, C, K), the learned features that are forgotten before each stage; default: none.

    Returns:
        an `OracleRun` of J = n / per_class_chunk_size stages.
    """
    num_classes, num_features, num_samples = features.shape
    shown = features_by_sample(features)
    known: set[Feature] = set()
    held: set[Sample] = set()
    known_after, held_after, active_at_start, order, tied = [], [], [], [], False
    for stage, end in enumerate(range(per_class_chunk_size, num_samples + 1, per_class_chunk_size)):
        if rule == "cold":
            known, held = set(), set()
        if rule == "ideal":
            held = set()
        known, held = without(known, forgotten, stage), without(held, released, stage)
        present = {sample: shown[sample] for sample in shown if sample[1] < end}
        active_at_start.append(len(active_samples(present, known, held, tau)))
        newly: list[Feature] = []
        while best := most_frequent(present, known, active_samples(present, known, held, tau), gamma):
            newly.append(best[0])
            known = known | {best[0]}
            tied = tied or len(best) > 1
        held = held | active_samples(present, known, held, tau)
        known_after.append(known)
        held_after.append(held)
        order.append(np.array(newly, dtype=np.int64).reshape(-1, 2))
    return OracleRun(
        learned=table(known_after, (num_classes, num_features)),
        memorized=table(held_after, (num_classes, num_samples)),
        active_at_start=np.array(active_at_start, dtype=np.int64),
        order=tuple(order),
        tied=tied,
    )


def without(
    pairs: AbstractSet[tuple[int, int]], lost: NDArray[np.bool_] | None, stage: int
) -> set[tuple[int, int]]:
    """The pairs (class, index) that are not marked in `lost`, bool (J, C, ...), at `stage`."""
    return {pair for pair in pairs if lost is None or not lost[stage, pair[0], pair[1]]}


def table(sets: Sequence[AbstractSet[tuple[int, int]]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Write J sets of index pairs as a bool array of shape (J, *shape)."""
    result = np.zeros((len(sets), *shape), dtype=np.bool_)
    for stage, pairs in enumerate(sets):
        for label, index in pairs:
            result[stage, label, index] = True
    return result


def features_by_sample(features: NDArray[np.bool_]) -> dict[Sample, set[Feature]]:
    """Turn bool (C, K, n) into the set of features that each sample shows."""
    num_classes, num_features, num_samples = features.shape
    return {
        (label, sample): {(label, feature) for feature in range(num_features) if features[label, feature, sample]}
        for label in range(num_classes)
        for sample in range(num_samples)
    }


def active_samples(
    present: Mapping[Sample, AbstractSet[Feature]],
    known: AbstractSet[Feature],
    held: AbstractSet[Sample],
    tau: int,
) -> set[Sample]:
    """Samples of the stage that are neither memorised nor show `tau` learned features."""
    return {sample for sample, shown in present.items() if sample not in held and len(shown & known) < tau}


def most_frequent(
    present: Mapping[Sample, AbstractSet[Feature]],
    known: AbstractSet[Feature],
    active: AbstractSet[Sample],
    gamma: float,
) -> list[Feature]:
    """Unlearned features with the largest count over the active samples, smallest first.

    Args:
        present: the set of features of each sample of the stage.
        known: learned features.
        active: active samples.
        gamma: the count that is needed.

    Returns:
        the list of all features that share the largest count, or [] if that count is below `gamma`.
    """
    counts = Counter(feature for sample in active for feature in present[sample] if feature not in known)
    largest = max(counts.values(), default=0)
    if largest < gamma:
        return []
    return sorted(feature for feature, count in counts.items() if count == largest)


# ------------------------------------------------------------------------------- the drawing of samples


class NaiveWords:
    """Words of xoshiro256++ and comparisons of uniform numbers with a chance, in plain integers and strings.

    Written from the generator's published description: result = rotl(s0 + s3, 23) + s0; t = s1 << 17; then
    s2 ^= s0, s3 ^= s1, s1 ^= s2, s0 ^= s3, s2 ^= t, s3 = rotl(s3, 45).
    """

    def __init__(self, state: Iterable[int]) -> None:
        self.state = [int(word) for word in state]
        self.used = 0

    def next(self) -> int:
        """The next word."""
        s = self.state
        result = (rotated((s[0] + s[3]) % 2**64, 23) + s[0]) % 2**64
        shifted = (s[1] << 17) % 2**64
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= shifted
        s[3] = rotated(s[3], 45)
        self.used += 1
        return result

    def bernoulli(self, threshold: int) -> list[bool]:
        """Whether each of 64 numbers is below `threshold` / 2^64.

        Every word gives one binary digit of each number, the highest first, until no number is in doubt: one
        that agrees with the threshold so far, where some later digit of the threshold is 1.
        """
        wanted = f"{threshold:064b}"
        numbers = [""] * 64
        while any(wanted.startswith(number) and "1" in wanted[len(number) :] for number in numbers):
            word = self.next()
            numbers = [number + str(word >> lane & 1) for lane, number in enumerate(numbers)]
        return [int(number.ljust(64, "0"), 2) < threshold for number in numbers]


def rotated(word: int, by: int) -> int:
    """`word` of 64 bits, rotated to the left."""
    return (word << by | word >> (64 - by)) % 2**64


def threshold_of(chance: float) -> int:
    """The chance as a multiple of 2^-64, rounded down; the largest such number below 1 for a chance of 1."""
    return min(int(Fraction(chance) * 2**64), 2**64 - 1)


def draw_class_naively(
    num_samples: int, features: Sequence[Sequence[int]], components: Sequence[int], words: NaiveWords
) -> NDArray[np.bool_]:
    """Samples of one class, 64 at a time: each joins a component, then shows the features of that component.

    Args:
        num_samples: n.
        features: G rows of K thresholds.
        components: G thresholds: of joining component g among the samples that joined none before; the last
            component takes all that are left.
        words: source of the draws.

    Returns:
        bool (K, n).
    """
    table = np.zeros((len(features[0]), num_samples), dtype=np.bool_)
    for first in range(0, num_samples, 64):
        left = set(range(min(64, num_samples - first)))
        for component, chances in enumerate(features):
            joins = [True] * 64 if component == len(features) - 1 else words.bernoulli(components[component])
            members = {lane for lane in left if joins[lane]}
            left -= members
            for feature, chance in enumerate(chances if members else []):
                shown = words.bernoulli(chance)
                for lane in members:
                    table[feature, first + lane] = shown[lane]
    return table


def draw_lost_naively(threshold: int, num_stages: int, num_bits: int, words: NaiveWords) -> NDArray[np.bool_]:
    """What is forgotten before each stage, 64 at a time: bool (J, num_bits)."""
    num_words = -(-num_bits // 64)
    rows = [[words.bernoulli(threshold) for _ in range(num_words)] for _ in range(num_stages)]
    return np.array(rows, dtype=np.bool_).reshape(num_stages, -1)[:, :num_bits]
