"""All chunks of few samples with their chances, and the chain of a warm learner on them."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def combinations(num_features: int) -> Bools:
    """All 2^K combinations, (2^K, K); the index of a combination has feature k as bit k."""
    return np.asarray((np.arange(2**num_features)[:, None] >> np.arange(num_features)) % 2 == 1)


def index_of(learned: Bools) -> NDArray[np.int64]:
    """The number of a set of features, as in `combinations`: (..., K) -> (...)."""
    return np.asarray(learned @ (1 << np.arange(learned.shape[-1])))


def every_chunk(p: Floats, size: int) -> tuple[NDArray[np.int64], Floats]:
    """All chunks of `size` samples of one class, up to order: copies (M, 2^K), and the chance of each, (M,)."""
    rows = combinations(len(p))
    copies = np.array(
        [
            np.bincount(chunk, minlength=len(rows))
            for chunk in itertools.combinations_with_replacement(range(len(rows)), size)
        ]
    )
    factorial = np.array([math.factorial(i) for i in range(size + 1)], dtype=np.float64)
    arrangements = factorial[size] / factorial[copies].prod(axis=1)
    return copies, arrangements * (np.where(rows, p, 1 - p).prod(axis=1) ** copies).prod(axis=1)


def exact_transitions(p: Floats, size: int, gamma: int, tau: int) -> Floats:
    """P(L' | L) of one class of a warm learner, (2^K, 2^K), from every chunk that can come.

    A warm learner sees the new samples that show fewer than tau learned features: recounted after every step.
    """
    return _exact_transitions(tuple(p.tolist()), size, gamma, tau)


@functools.cache
def _exact_transitions(chances_of_features: tuple[float, ...], size: int, gamma: int, tau: int) -> Floats:
    p, rows = np.array(chances_of_features), combinations(len(chances_of_features))
    copies, chances = every_chunk(p, size)
    matrix = np.zeros((len(rows), len(rows)))
    for start, learned in enumerate(rows):
        known = np.repeat(learned[None], len(copies), axis=0)
        busy = np.arange(len(copies))
        while len(busy):
            active = copies[busy] * (known[busy] @ rows.T.astype(float) < tau)
            counts = np.where(known[busy], -1, active @ rows.astype(float))
            learns = counts.max(axis=1) >= gamma
            busy, best = busy[learns], counts[learns].argmax(axis=1)  # ties: smallest feature
            known[busy, best] = True
        matrix[start] = np.bincount(index_of(known), weights=chances, minlength=len(rows))
    return matrix


CLASSES = np.array([[0.5, 0.5, 0.3, 0.15], [0.25, 0.6, 0.25, 0.4]])
"""Two classes of four features, with equal ones, so that ties between counts are common."""
