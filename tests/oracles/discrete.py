"""Level 1 with sets, written from DESIGN.md alone and without a thought for speed.

A feature is the pair (class, index); a sample is the pair (class, place in the order of arrival). Every
quantity is recounted from scratch at each learning step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

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
    features: NDArray[np.bool_], chunk_size: int, *, gamma: float, tau: int, rule: str
) -> OracleRun:
    """Follow the rules of level 1 to the letter.

    Args:
        features: bool (C, K, n): class, feature, sample of that class in order of arrival.
        chunk_size: samples per class per chunk; divides n.
        gamma: active samples that must show a feature for it to be learned.
        tau: learned features that give a sample a zero gradient.
        rule: "cold", "warm" or "ideal".

    Returns: an `OracleRun` of J = n / chunk_size stages.
    """
    num_classes, num_features, num_samples = features.shape
    shown = features_by_sample(features)
    known: set[Feature] = set()
    held: set[Sample] = set()
    known_after, held_after, active_at_start, order, tied = [], [], [], [], False
    for end in range(chunk_size, num_samples + 1, chunk_size):
        if rule == "cold":
            known, held = set(), set()
        if rule == "ideal":
            held = set()
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

    Returns: the list of all features that share the largest count, or [] if that count is below `gamma`.
    """
    counts = Counter(feature for sample in active for feature in present[sample] if feature not in known)
    largest = max(counts.values(), default=0)
    if largest < gamma:
        return []
    return sorted(feature for feature, count in counts.items() if count == largest)
