"""The one order in which every rule learns a world, when every chunk is alike.

A stage that counts s samples learns the feature that most of its active samples show, again and again. Which one
that is depends on shares alone, not on s: the order v_1, v_2, ... is the same for every stage and rule, and s only
decides where it stops (docs/theory.md, "The greedy order").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashtheory._check import fail, integer
from dashtheory.discrete import Mixture

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class GreedyOrder:
    """Order, gains and tails of a world; equation (1) of `dashtheory.theory.population`.

    Attributes:
        order: int64 (C, K), feature learned as k-th (from 0).
        gains: float64 (C, K), never rising along k.
        tails: float64 (C, K + 1), F of the first k features among training samples.
        test_tails: float64 (C, K + 1), the same among test samples.
    """

    order: NDArray[np.int64]
    gains: Floats
    tails: Floats
    test_tails: Floats

    def learned(self, num_learned: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Bool (..., C, K): the first `num_learned` (..., C) features of the order."""
        rank = np.argsort(self.order, axis=1, kind="stable")
        return np.asarray(rank < num_learned[..., None])


def greedy_order(distribution: Mixture, tau: int) -> GreedyOrder:
    """The order in which every rule learns the features of a world, and what each step gains.

    Args:
        distribution: C classes, G components, K features.
        tau: >= 1.

    Returns:
        `GreedyOrder`. Ties go to the smallest index.
        Time: O(C G K (K + tau)).

    Raises:
        ValueError: if an argument is out of range.
    """
    if not isinstance(distribution, Mixture):
        fail(
            "distribution", "must be a Mixture", type(distribution).__name__, "Build one: Mixture.independent(p)."
        )
    tau = integer("tau", tau, minimum=1, fix="Give the number of learned features a sample needs.")
    num_classes, num_components, num_features = distribution.shape
    states = np.zeros((min(tau, num_features + 1), num_classes, num_components))
    states[0] = 1
    order = np.empty((num_classes, num_features), dtype=np.int64)
    gains = np.empty((num_classes, num_features))
    tails, test_tails = np.ones((2, num_classes, num_features + 1))
    left = np.ones((num_classes, num_features), dtype=np.bool_)
    classes = np.arange(num_classes)
    for k in range(num_features):
        unsure = distribution.weights * states.sum(axis=0)
        shares = np.where(left, np.matmul(unsure[:, None], distribution.probabilities)[:, 0], -1.0)
        best = shares.argmax(axis=1)
        order[:, k], gains[:, k] = best, shares[classes, best]
        left[classes, best] = False
        shown = distribution.probabilities[classes, :, best]
        states[1:] = states[1:] * (1 - shown) + states[:-1] * shown
        states[0] *= 1 - shown
        after = states.sum(axis=0)
        tails[:, k + 1] = (distribution.weights * after).sum(axis=1)
        test_tails[:, k + 1] = (distribution.test_weights * after).sum(axis=1)
    falling = [np.minimum.accumulate(values, axis=1) for values in (gains, tails, test_tails)]  # but for rounding
    return GreedyOrder(order=order, gains=falling[0], tails=falling[1], test_tails=falling[2])


def prefix_tails(sorted_p: Floats, tau: int) -> Floats:
    """F_k = P(fewer than `tau` of the first k features are shown), for every k.

    Args:
        sorted_p: float64 (C, K), probabilities in the order in which features are learned.
        tau: >= 1.

    Returns:
        float64 (C, K + 1), never rising along k, F_0 = 1.
        All terms are non-negative: no cancellation.
    """
    tau = integer("tau", tau, minimum=1, fix="Give the number of learned features a sample needs.")
    num_classes, num_features = sorted_p.shape
    states = np.zeros((min(tau, num_features + 1), num_classes))
    states[0] = 1
    tails = np.ones((num_classes, num_features + 1))
    for k in range(num_features):
        shown = sorted_p[:, k]
        states[1:] = states[1:] * (1 - shown) + states[:-1] * shown
        states[0] *= 1 - shown
        tails[:, k + 1] = states.sum(axis=0)
    return np.minimum.accumulate(np.minimum(tails, 1), axis=1)
