"""Compiled drawing of packed samples: 64 Bernoulli variables at a time, from a small generator of random words.

`bernoulli_word` compares 64 uniform numbers with p, digit by digit from the highest, all of them at once: a lane
is decided at the first digit where its number differs from p, so that about eight random words decide 64 lanes.
The chance is exact to 2^-64. The words come from xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom
number generators", ACM TOMS 47, 2021), seeded by a numpy stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dashtheory.discrete._compiled import compiled

Array = Any  # numba infers the types of what it compiles; docstrings say them


def thresholds(chances: ArrayLike) -> NDArray[np.uint64]:
    """Chances in [0, 1) as multiples of 2^-64, rounded down; 1 becomes 2^64 - 1.

    Returns:
        uint64, of the same shape. An event of chance 1 is missed with probability 2^-64.
    """
    scaled = np.ldexp(np.minimum(np.asarray(chances, dtype=np.float64), 1 - 2.0**-53), 64).astype(np.uint64)
    return np.where(np.asarray(chances) >= 1, np.uint64(2**64 - 1), scaled)


@compiled
def _rotate(word: Any, by: int) -> Any:
    return (word << np.uint64(by)) | (word >> np.uint64(64 - by))


@compiled
def next_word(state: Array) -> Any:
    """One uint64 of xoshiro256++; advances `state`, uint64 (4,)."""
    result = _rotate(state[0] + state[3], 23) + state[0]
    shifted = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = _rotate(state[3], 45)
    return result


@compiled
def bernoulli_word(threshold: Any, state: Array) -> Any:
    """64 independent bits (uint64), each set with probability threshold / 2^64."""
    one = np.uint64(1)
    result = np.uint64(0)
    open_lanes = ~np.uint64(0)  # digits so far equal those of the threshold
    rest = threshold
    while open_lanes and rest:  # with no digit of the threshold left, an open lane is not below it
        digits = next_word(state)
        if rest >> np.uint64(63):
            result |= open_lanes & ~digits
            open_lanes &= digits
        else:
            open_lanes &= ~digits
        rest <<= one
    return result


@compiled
def draw_class(num_samples: int, features: Array, components: Array, state: Array) -> Any:
    """Draw the samples of one class.

    Args:
        num_samples: n.
        features: uint64 (G, K), thresholds.
        components: uint64 (G,), thresholds of component g among those that are not of an earlier one; the last is
            taken by all that are left.
        state: uint64 array of the random generator; it is advanced.

    Returns:
        uint64 (K, ceil(n/64)), zero past the last sample.
    """
    num_components, num_features = features.shape
    num_words = (num_samples + 63) // 64
    drawn = np.zeros((num_features, num_words), dtype=np.uint64)
    for word in range(num_words):
        left = ~np.uint64(0)
        if word == num_words - 1 and num_samples % 64:
            left = (np.uint64(1) << np.uint64(num_samples % 64)) - np.uint64(1)
        for component in range(num_components):
            lanes = left
            if component < num_components - 1:
                lanes = left & bernoulli_word(components[component], state)
            left &= ~lanes
            if lanes:
                for feature in range(num_features):
                    drawn[feature, word] |= lanes & bernoulli_word(features[component, feature], state)
    return drawn


@compiled
def draw_lost(threshold: Any, num_stages: int, num_bits: int, state: Array) -> Any:
    """Bits set with probability threshold / 2^64, past the end too: uint64 (num_stages, ceil(num_bits/64))."""
    num_words = (num_bits + 63) // 64
    lost = np.empty((num_stages, num_words), dtype=np.uint64)
    for stage in range(num_stages):
        for word in range(num_words):
            lost[stage, word] = bernoulli_word(threshold, state)
    return lost
