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

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dashtheory.discrete._compiled import compiled

Array = Any  # numba infers the types of what it compiles; docstrings say them

COLD, WARM, IDEAL, FORGET = 0, 1, 2, 3


class State(NamedTuple):
    """The learner of one class between two steps.

    Attributes:
        learned: uint64 (ceil(K/64),), bits of the learned features.
        active: uint64 (ceil(n/64),), bits of the active and of the memorised samples.
        held: uint64 (ceil(n/64),), bits of the active and of the memorised samples.
        hits: int32 (n,).
        counts: int64 (K,). See the module's invariants.
        all_counts: int64 (K,), samples that show each feature among the first `counted[0]` (cold only).
        counted: int64 (1,).
    """

    learned: Array
    active: Array
    held: Array
    hits: Array
    counts: Array
    all_counts: Array
    counted: Array


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


@compiled
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


@compiled
def _add_to_counts(counts: Array, sample: Array, step: int) -> None:
    """Add `step` to the count of every feature that `sample` (packed) shows."""
    for word in range(sample.shape[0]):
        bits = sample[word]
        while bits:
            counts[word * 64 + np.int64(_trailing_zeros(bits))] += step
            bits &= bits - np.uint64(1)


@compiled
def _start_cold(end: int, by_sample: Array, state: State) -> int:
    """Empty the state; all samples before `end` are active. `state.counted[0]` of them were counted before."""
    for sample in range(state.counted[0], end):
        _add_to_counts(state.all_counts, by_sample[sample], 1)
    state.counted[0] = end
    state.learned[:] = 0
    state.held[:] = 0
    state.counts[:] = state.all_counts
    state.hits[:end] = 0
    state.active[: end // 64] = ~np.uint64(0)
    if end % 64:
        state.active[end // 64] = (np.uint64(1) << np.uint64(end % 64)) - np.uint64(1)
    return end


@compiled
def _activate(first: int, end: int, tau: int, by_sample: Array, state: State) -> None:
    """Make the samples first..end-1 active that are not held and show fewer than tau learned features."""
    one = np.uint64(1)
    for sample in range(first, end):
        if (state.held[sample >> 6] >> np.uint64(sample & 63)) & one:
            continue
        shown: Any = 0
        for word in range(state.learned.shape[0]):
            shown += np.int64(_popcount(by_sample[sample, word] & state.learned[word]))
        state.hits[sample] = shown
        if shown < tau:
            state.active[sample >> 6] |= one << np.uint64(sample & 63)
            _add_to_counts(state.counts, by_sample[sample], 1)


@compiled
def _count_bits(words: Array) -> int:
    """Set bits of a uint64 array."""
    total: Any = 0
    for word in range(words.shape[0]):
        total += np.int64(_popcount(words[word]))
    return int(total)


@compiled
def _start_stage(
    rule: int,
    stage: int,
    per_class_chunk_size: int,
    tau: int,
    by_sample: Array,
    released: Array,
    forgotten: Array,
    state: State,
) -> int:
    """Bring the state to the start of `stage`; return the number of active samples."""
    first, end = stage * per_class_chunk_size, (stage + 1) * per_class_chunk_size
    if rule == COLD:
        return _start_cold(end, by_sample, state)
    if rule == IDEAL:  # what stage j - 1 left active was memorised, is released, and is active again
        state.held[:] = 0
    else:  # what was explained or is held stays so, unless it is forgotten
        state.active[:] = 0
        state.counts[:] = 0
    if rule == FORGET:
        state.held[:] &= ~released[stage]
        state.learned[:] &= ~forgotten[stage]
        first = 0
    _activate(first, end, tau, by_sample, state)
    return _count_bits(state.active)


@compiled
def _most_frequent(counts: Array, learned_bits: Array) -> tuple[int, int]:
    """Smallest index of an unlearned feature with the largest count, and that count (-1, -1 if none)."""
    best, best_count = -1, -1
    for feature in range(counts.shape[0]):
        known = (learned_bits[feature >> 6] >> np.uint64(feature & 63)) & np.uint64(1)
        if not known and counts[feature] > best_count:
            best, best_count = feature, counts[feature]
    return best, best_count


@compiled
def _learn_feature(
    shown_by: Array, first_word: int, end_word: int, tau: int, by_sample: Array, state: State
) -> None:
    """Count one more learned feature for the active samples that show it; drop those that reach tau."""
    one = np.uint64(1)
    for word in range(first_word, end_word):
        bits = shown_by[word] & state.active[word]
        while bits:
            lowest = _trailing_zeros(bits)
            bits &= bits - one
            sample = word * 64 + np.int64(lowest)
            state.hits[sample] += 1
            if state.hits[sample] >= tau:
                state.active[word] &= ~(one << lowest)
                _add_to_counts(state.counts, by_sample[sample], -1)


@compiled
def _new_state(num_features: int, num_samples: int) -> State:
    """Nothing learned, nothing memorised, nothing active."""
    words = (num_samples + 63) // 64
    return State(
        np.zeros((num_features + 63) // 64, dtype=np.uint64),
        np.zeros(words, dtype=np.uint64),
        np.zeros(words, dtype=np.uint64),
        np.zeros(num_samples, dtype=np.int32),
        np.zeros(num_features, dtype=np.int64),
        np.zeros(num_features, dtype=np.int64),
        np.zeros(1, dtype=np.int64),
    )


@compiled
def _run_stage(
    rule: int,
    stage: int,
    per_class_chunk_size: int,
    gamma: int,
    tau: int,
    by_feature: Array,
    by_sample: Array,
    released: Array,
    forgotten: Array,
    state: State,
    order: Array,
    order_counts: Array,
) -> int:
    """One stage of a class: learn, then memorise.

    Fills order and order_counts, int64 (K,).

    Returns:
        samples active at the start.
    """
    num_active = _start_stage(rule, stage, per_class_chunk_size, tau, by_sample, released, forgotten, state)
    first_word = stage * per_class_chunk_size // 64 if rule == WARM else 0
    end_word = ((stage + 1) * per_class_chunk_size + 63) // 64
    position = 0
    while True:
        feature, count = _most_frequent(state.counts, state.learned)
        if count < gamma:
            break
        state.learned[feature >> 6] |= np.uint64(1) << np.uint64(feature & 63)
        order[position] = feature
        order_counts[position] = count
        position += 1
        _learn_feature(by_feature[feature], first_word, end_word, tau, by_sample, state)
    order[position:] = -1
    order_counts[position:] = -1
    state.held[:] |= state.active
    return num_active


@compiled
def _unpack_bits(words: Array, bits: Array) -> None:
    """Set `bits[i]` (bool, False on entry) for every set bit i."""
    for word in range(words.shape[0]):
        left = words[word]
        while left:
            bits[word * 64 + np.int64(_trailing_zeros(left))] = True
            left &= left - np.uint64(1)


@compiled
def learn_class(
    label: int,
    by_feature: Array,
    by_sample: Array,
    per_class_chunk_size: int,
    num_stages: int,
    gamma: int,
    tau: int,
    rule: int,
    released: Array,
    forgotten: Array,
    learned: Array,
    memorized: Array,
    active_at_start: Array,
    order: Array,
    order_counts: Array,
) -> None:
    """Run all stages of class `label` and fill its part of the five output arrays (all zero on entry).

    Args:
        per_class_chunk_size: samples of each class in a chunk.
        label: index of the class in the output arrays.
        by_feature: uint64 (K, ceil(n/64)).
        by_sample: uint64 (n, ceil(K/64)); n = num_stages times per_class_chunk_size.
        num_stages: J.
        gamma: active samples that must show a feature for it to be learned.
        tau: learned features that give a sample a zero gradient.
        rule: number of the rule (COLD, WARM, IDEAL or FORGET).
        released: uint64 (J, ceil(n/64)), samples whose noise is forgotten before each stage.
        forgotten: uint64 (J, ceil(K/64)), features forgotten before each stage; read by rule FORGET alone.
        learned: bool (J, C, K), after each stage.
        memorized: bool (J, C, n), after each stage.
        active_at_start: int64 (J, C).
        order: int64 (J, C, K); the features learned in a stage, in order, and the count each had when it was
            learned; entries past the last one learned are -1.
        order_counts: int64 (J, C, K); the features learned in a stage, in order, and the count each had when it
            was learned; entries past the last one learned are -1.
    """
    state = _new_state(by_feature.shape[0], by_sample.shape[0])
    for stage in range(num_stages):
        active_at_start[stage, label] = _run_stage(
            rule, stage, per_class_chunk_size, gamma, tau, by_feature, by_sample, released, forgotten, state,
            order[stage, label], order_counts[stage, label],
        )  # fmt: skip
        _unpack_bits(state.learned, learned[stage, label])
        _unpack_bits(state.held, memorized[stage, label])


@compiled
def learn_class_at(
    stages: Array,
    by_feature: Array,
    by_sample: Array,
    per_class_chunk_size: int,
    gamma: int,
    tau: int,
    rule: int,
    released: Array,
    forgotten: Array,
    learned: Array,
    num_memorized: Array,
    active_at_start: Array,
) -> None:
    """Run one class and record chosen stages; cold, whose stages do not depend on each other, runs only those.

    Args:
        per_class_chunk_size: samples of each class in a chunk.
        stages: int64 (S,), indices of stages from 0, rising.
        by_feature: uint64 (K, ceil(n/64)).
        by_sample: uint64 (n, ceil(K/64)); n = num_stages times per_class_chunk_size.
        gamma: active samples that must show a feature for it to be learned.
        tau: learned features that give a sample a zero gradient.
        rule: number of the rule (COLD, WARM, IDEAL or FORGET).
        released: uint64 (J, ceil(n/64)), samples whose noise is forgotten before each stage.
        forgotten: uint64 (J, ceil(K/64)), features forgotten before each stage; read by rule FORGET alone.
        learned: bool (S, K), all False on entry.
        num_memorized: int64 (S,).
        active_at_start: int64 (S,).
    """
    num_features = by_feature.shape[0]
    state = _new_state(num_features, by_sample.shape[0])
    order = np.empty(num_features, dtype=np.int64)
    order_counts = np.empty(num_features, dtype=np.int64)
    place = 0
    for stage in range(stages[-1] + 1):
        wanted = stages[place] == stage
        if rule == COLD and not wanted:
            continue
        num_active = _run_stage(
            rule, stage, per_class_chunk_size, gamma, tau, by_feature, by_sample, released, forgotten, state,
            order, order_counts,
        )  # fmt: skip
        if wanted:
            active_at_start[place] = num_active
            num_memorized[place] = _count_bits(state.held)
            _unpack_bits(state.learned, learned[place])
            place += 1
