"""Stages of feature learning and noise memorisation on sets of features, exactly (level 1).

The learner of a stage, over the samples of chunks 1..j: a sample has zero gradient if at least `tau` of its
features are learned, or if it is memorised; the others are *active*. While some unlearned feature is shown by
at least `gamma` active samples, the most frequent one is learned (ties: smallest class, then smallest
feature); then all samples still active are memorised, and the stage ends. Between stages:

    cold    learned features L and memorised samples M are emptied
    warm    L and M are kept
    ideal   L is kept, M is emptied
    Forgetting(phi_noise, phi_feature)  of L and M each element is dropped with its own chance

Source: Section 3 of Shin et al., NeurIPS 2024 (arXiv:2410.23495).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashtheory._check import choice, fail, integer, numpy_generator, real
from dashtheory._door import door
from dashtheory.discrete import _kernel
from dashtheory.discrete.forgetting import Forgetting, draw_bits
from dashtheory.discrete.packed import PackedFeatures, check_features, pack_features

_KERNEL_RULES = {"cold": _kernel.COLD, "warm": _kernel.WARM, "ideal": _kernel.IDEAL}
DISCRETE_RULES = tuple(_KERNEL_RULES)
"""The rules of level 1, by name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """What was learned and memorised after each stage.

    Attributes:
        rule: name of the rule between stages.
        learned: bool (J, C, K), features known after each stage.
        memorized: bool (J, C, n), samples whose noise is held after each stage; False for samples that have not
            arrived. (A warm learner may later learn enough features of a sample that it holds; the sample stays
            memorised.)
        active_at_start: int64 (J,), samples with a non-zero gradient when the stage starts, all classes together:
            its training time in this model.
        order: J arrays, int64 (m_j, 2): (class, feature) pairs in the order learned within stage j.
    """

    rule: str
    learned: NDArray[np.bool_]
    memorized: NDArray[np.bool_]
    active_at_start: NDArray[np.int64]
    order: tuple[NDArray[np.int64], ...]

    @property
    def num_learned(self) -> NDArray[np.int64]:
        """int64 (J,): learned features after each stage, all classes together."""
        return np.asarray(np.count_nonzero(self.learned, axis=(1, 2)), dtype=np.int64)

    @property
    def num_memorized(self) -> NDArray[np.int64]:
        """int64 (J,): memorised samples after each stage, all classes together."""
        return np.asarray(np.count_nonzero(self.memorized, axis=(1, 2)), dtype=np.int64)


@door()
def simulate(
    features: NDArray[np.bool_] | PackedFeatures,
    per_class_chunk_size: int,
    *,
    num_stages: int | None = None,
    gamma: float = 50,
    tau: int = 3,
    rule: str | Forgetting = "cold",
    generator: np.random.Generator | None = None,
) -> Simulation:
    """Run J = n / per_class_chunk_size stages of the discrete learner on the same data with one rule.

    Time: about one step per shown feature per active sample and stage.

    Args:
        features: bool (C, K, n), or the same packed: class, feature, sample of that class in order of arrival.
        per_class_chunk_size: samples of each class in a chunk: N / C.
        num_stages: J, checked if given: the samples must be those of J chunks, so that N in place of N / C shows.
        gamma: active samples that must show a feature for it to be learned; > 0. A fraction acts as its ceiling,
            because counts are integers.
        tau: learned features that give a sample a zero gradient; >= 1.
        rule: "cold", "warm", "ideal" or a `Forgetting`.
        generator: what a `Forgetting` draws from: class by class, J n uniform draws for the samples, then J K for
            the features. The other rules draw nothing.

    Returns:
        a `Simulation`.

    Raises:
        ValueError: if an argument is out of range, `per_class_chunk_size` does not divide n, or not into
            `num_stages` chunks, or a `Forgetting` has no generator.
    """
    if not isinstance(features, PackedFeatures):
        check_features("features", features)
        features = pack_features(features)
    per_class_chunk_size, num_stages = _check_chunks(features, per_class_chunk_size, num_stages)
    threshold = least_count(gamma)
    tau = integer("tau", tau, minimum=1, fix="Give the number of learned features a sample needs.")
    # No sample shows more than K features, so any larger tau acts alike and fits the kernel's int32.
    tau = min(tau, features.num_features + 1)
    kernel_rule = kernel_rule_of(rule)
    shape = (num_stages, features.num_classes)
    learned = np.zeros((*shape, features.num_features), dtype=np.bool_)
    memorized = np.zeros((*shape, features.num_samples), dtype=np.bool_)
    active_at_start = np.zeros(shape, dtype=np.int64)
    order = np.empty((*shape, features.num_features), dtype=np.int64)
    counts = np.empty_like(order)
    for label, by_feature in enumerate(features.words):
        by_sample = _kernel.transpose_bits(by_feature, features.num_samples)
        lost = _draw_lost(rule, num_stages, features, generator)
        numbers = (per_class_chunk_size, num_stages, threshold, tau, kernel_rule)
        results = (learned, memorized, active_at_start, order, counts)
        _kernel.learn_class(label, by_feature, by_sample, *numbers, *lost, *results)
    return Simulation(
        rule=str(rule),
        learned=learned,
        memorized=memorized,
        active_at_start=active_at_start.sum(axis=1),
        order=tuple(_merge_classes(*stage) for stage in zip(order, counts, strict=True)),
    )


def kernel_rule_of(rule: str | Forgetting) -> int:
    """The kernel's number of a rule, or ValueError."""
    if isinstance(rule, Forgetting):
        return _kernel.FORGET
    return _KERNEL_RULES[choice("rule", rule, DISCRETE_RULES)]


def _draw_lost(
    rule: str | Forgetting, num_stages: int, features: PackedFeatures, generator: np.random.Generator | None
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Bits of the samples and of the features that one class forgets before each stage; empty for a named rule."""
    if not isinstance(rule, Forgetting):
        return np.empty((0, 0), dtype=np.uint64), np.empty((0, 0), dtype=np.uint64)
    generator = numpy_generator("generator", generator)
    return (
        draw_bits(rule.phi_noise, num_stages, features.num_samples, generator),
        draw_bits(rule.phi_feature, num_stages, features.num_features, generator),
    )


def _check_chunks(features: PackedFeatures, per_class_chunk_size: int, num_stages: int | None) -> tuple[int, int]:
    """Samples of each class in a chunk, and J."""
    name, number, classes = "per_class_chunk_size", features.num_samples, features.num_classes
    size = integer(name, per_class_chunk_size, minimum=1, fix="An empty chunk has nothing to train on.")
    if num_stages is not None:
        num_stages = integer("num_stages", num_stages, minimum=1, fix="It counts stages.")
    if number % size or num_stages not in (None, number // size):
        rule = f"must divide the {number} samples of each class"
        fix = f"Drop the last {number % size} samples or choose a divisor."
        if num_stages is not None:
            rule += f" into {num_stages} chunks"
            fix = "Give the samples of each class in a chunk, and the data of all stages."
        each, rest = divmod(size, classes)
        if classes > 1 and not rest and number % each == 0 and num_stages in (None, number // each):
            fix = f"If that is N, of all {classes} classes, give N / C = {each}."
        fail(name, rule, repr(size), fix)
    return size, number // size


def least_count(gamma: float) -> int:
    """The smallest count that reaches `gamma`, or ValueError."""
    fix = "Give the count at which a feature is learned."
    least = real("gamma", gamma, low=0, open_low=True, infinite=True, fix=fix)
    largest = np.iinfo(np.int64).max
    return int(largest) if least >= largest else math.ceil(gamma)


def _merge_classes(order: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Interleave the classes of one stage: largest count first, ties to the smallest class.

    Within a class the counts at which features are learned never rise, so merging sorted lists is exactly
    the choice that the learner makes over all classes at once.

    Args:
        order: (C, K), padded with -1.
        counts: (C, K), padded with -1.

    Returns:
        (m, 2) pairs (class, feature).
    """
    sequences = (
        [(-int(counts[label, i]), label, int(order[label, i])) for i in range((order[label] >= 0).sum())]
        for label in range(order.shape[0])
    )
    merged = [(label, feature) for _, label, feature in heapq.merge(*sequences, key=lambda item: item[:2])]
    return np.array(merged, dtype=np.int64).reshape(-1, 2)
