"""Compiled learning loop of one class, on bit-packed samples.

Classes never share features or samples, so each class is a problem of its own; only the *order* in which
features of different classes are learned interleaves, and `dashtheory.discrete.simulate` merges it.

Two packings of the same Boolean table (feature k, sample i) are used side by side:
`by_feature[k, i // 64]`, bit i % 64, finds the active samples that show a feature just learned;
`by_sample[i, k // 64]`, bit k % 64, finds the features of a sample that has just dropped out.
The invariants kept through a stage, for every sample i and feature k, are

    active bit i  =  sample i belongs to the stage, is not memorised and shows < tau learned features
    hits[i]       =  learned features that sample i shows        (exact for active samples)
    counts[k]     =  active samples that show feature k          (for unlearned k)

so that no count is ever taken anew: a stage costs about one visit per (active sample, shown feature) pair.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Array = Any  # numba infers the types of what it compiles; docstrings say them

COLD, WARM, IDEAL = 0, 1, 2


def _generate_trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Index of the lowest set bit of a non-zero uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


def _generate_popcount(typing_context: Any, word: Any) -> Any:
    """Number of set bits of a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


_trailing_zeros: Any = intrinsic(_generate_trailing_zeros)
_popcount: Any = intrinsic(_generate_popcount)


@njit(nogil=True, cache=True)
def transpose_bits(by_feature: Array, num_samples: int) -> Array:
    """Turn `by_feature` (K, ceil(n/64)) into `by_sample` (n, ceil(K/64)), both uint64."""
    num_features, num_words = by_feature.shape
    by_sample = np.zeros((num_samples, (num_features + 63) // 64), dtype=np.uint64)
    one = np.uint64(1)
    for word in range(num_words):
        for feature in range(num_features):
            bits = by_feature[feature, word]
            mask = one << np.uint64(feature & 63)
            while bits:
                by_sample[word * 64 + np.int64(_trailing_zeros(bits)), feature >> 6] |= mask
                bits &= bits - one
    return by_sample


@njit(nogil=True, cache=True)
def _add_to_counts(counts: Array, sample: Array, step: int) -> None:
    """Add `step` to the count of every feature that `sample` (packed) shows."""
    for word in range(sample.shape[0]):
        bits = sample[word]
        while bits:
            counts[word * 64 + np.int64(_trailing_zeros(bits))] += step
            bits &= bits - np.uint64(1)


@njit(nogil=True, cache=True)
def _start_stage(
    rule: int,
    stage: int,
    chunk_size: int,
    tau: int,
    by_sample: Array,
    learned_bits: Array,
    active: Array,
    hits: Array,
    counts: Array,
    all_counts: Array,
) -> int:
    """Bring the state to the start of `stage`; return the number of active samples."""
    one = np.uint64(1)
    first, end = stage * chunk_size, (stage + 1) * chunk_size
    if rule == COLD:
        for sample in range(first, end):
            _add_to_counts(all_counts, by_sample[sample], 1)
        learned_bits[:] = 0
        counts[:] = all_counts
        hits[:end] = 0
        active[: end // 64] = ~np.uint64(0)
        if end % 64:
            active[end // 64] = (one << np.uint64(end % 64)) - one
        return end
    if rule == WARM:  # what stage j - 1 left active is memorised and stays so
        active[:] = 0
        counts[:] = 0
    for sample in range(first, end):
        shown: Any = 0
        for word in range(learned_bits.shape[0]):
            shown += np.int64(_popcount(by_sample[sample, word] & learned_bits[word]))
        hits[sample] = shown
        if shown < tau:
            active[sample >> 6] |= one << np.uint64(sample & 63)
            _add_to_counts(counts, by_sample[sample], 1)
    total: Any = 0
    for word in range((end + 63) // 64):
        total += np.int64(_popcount(active[word]))
    return int(total)


@njit(nogil=True, cache=True)
def _most_frequent(counts: Array, learned_bits: Array) -> tuple[int, int]:
    """Smallest index of an unlearned feature with the largest count, and that count (-1, -1 if none)."""
    best, best_count = -1, -1
    for feature in range(counts.shape[0]):
        known = (learned_bits[feature >> 6] >> np.uint64(feature & 63)) & np.uint64(1)
        if not known and counts[feature] > best_count:
            best, best_count = feature, counts[feature]
    return best, best_count


@njit(nogil=True, cache=True)
def _learn_feature(
    shown_by: Array,
    first_word: int,
    end_word: int,
    tau: int,
    by_sample: Array,
    active: Array,
    hits: Array,
    counts: Array,
) -> None:
    """Count one more learned feature for the active samples that show it; drop those that reach tau."""
    one = np.uint64(1)
    for word in range(first_word, end_word):
        bits = shown_by[word] & active[word]
        while bits:
            lowest = _trailing_zeros(bits)
            bits &= bits - one
            sample = word * 64 + np.int64(lowest)
            hits[sample] += 1
            if hits[sample] >= tau:
                active[word] &= ~(one << lowest)
                _add_to_counts(counts, by_sample[sample], -1)


@njit(nogil=True, cache=True)
def _memorize(active: Array, num_samples: int, memorized: Array) -> None:
    """Set `memorized[i]` for every active sample i (entries already set stay set)."""
    for word in range((num_samples + 63) // 64):
        bits = active[word]
        while bits:
            memorized[word * 64 + np.int64(_trailing_zeros(bits))] = True
            bits &= bits - np.uint64(1)


@njit(nogil=True, cache=True)
def learn_class(
    label: int,
    by_feature: Array,
    by_sample: Array,
    chunk_size: int,
    num_stages: int,
    gamma: int,
    tau: int,
    rule: int,
    learned: Array,
    memorized: Array,
    active_at_start: Array,
    order: Array,
    order_counts: Array,
) -> None:
    """Run all stages of class `label` and fill its part of the five output arrays (all zero on entry).

    Args:
        label: index of the class in the output arrays.
        by_feature: uint64 (K, ceil(n/64)); by_sample: uint64 (n, ceil(K/64)); n = num_stages * chunk_size.
        learned: bool (J, C, K), after each stage. memorized: bool (J, C, n), after each stage.
        active_at_start: int64 (J, C).
        order, order_counts: int64 (J, C, K); the features learned in a stage, in order, and the count each
            had when it was learned; entries past the last one learned are -1.
    """
    num_features = by_feature.shape[0]
    learned_bits = np.zeros(by_sample.shape[1], dtype=np.uint64)
    active = np.zeros(by_feature.shape[1], dtype=np.uint64)
    hits = np.zeros(by_sample.shape[0], dtype=np.int32)
    counts = np.zeros(num_features, dtype=np.int64)
    all_counts = np.zeros(num_features, dtype=np.int64)
    for stage in range(num_stages):
        end = (stage + 1) * chunk_size
        active_at_start[stage, label] = _start_stage(
            rule, stage, chunk_size, tau, by_sample, learned_bits, active, hits, counts, all_counts
        )
        first_word = stage * chunk_size // 64 if rule == WARM else 0
        position = 0
        while True:
            feature, count = _most_frequent(counts, learned_bits)
            if count < gamma:
                break
            learned_bits[feature >> 6] |= np.uint64(1) << np.uint64(feature & 63)
            order[stage, label, position] = feature
            order_counts[stage, label, position] = count
            position += 1
            _learn_feature(by_feature[feature], first_word, (end + 63) // 64, tau, by_sample, active, hits, counts)
        order[stage, label, position:] = -1
        order_counts[stage, label, position:] = -1
        for feature in range(num_features):
            known = (learned_bits[feature >> 6] >> np.uint64(feature & 63)) & np.uint64(1)
            learned[stage, label, feature] = known != 0
        if rule == WARM and stage > 0:
            memorized[stage, label, : stage * chunk_size] = memorized[stage - 1, label, : stage * chunk_size]
        _memorize(active, end, memorized[stage, label])
