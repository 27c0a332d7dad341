"""The discrete framework without sampling: every count equals its expectation (the limit of large chunks).

Write n for the samples per class of a stage, p_k for the probability of feature k in its class, and F(L) for the
chance that a sample of the class shows fewer than tau features of the learned set L
(`dashtheory.discrete.fewer_than_tau`). Features are independent, so an unlearned feature k is shown by

    n p_k F(L)                                                                                      (1)

active samples, whatever L is. Within a class features are therefore learned in order of p (ties by index), and
with F_k = F(the k most probable features) a stage that starts from any such prefix learns up to

    m(n) = #{k : n p_(k+1) F_k >= gamma}                                                            (2)

of them, because p_(k+1) F_k never rises with k. Classes do not interact. With n_j = j chunks at stage j:

    rule    learned after      non-zero-gradient samples at the start       memorised after
    cold    m(n_j)             n_j                                          n_j F
    ideal   m(n_j)             n_j F, with the F of the stage before        n_j F
    warm    m(one chunk)       one chunk times F (from the second stage)    n_j F

A warm learner counts the new chunk alone, and has already found its n p F below gamma. Derived here; the framework
is that of Section 3 of arXiv:2410.23495.

For dependent features, `FeatureTable` gives the frequency of each combination of features, and the same learner
runs on frequencies instead of samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dashtheory._check import choice, fail, integer, real
from dashtheory.discrete import RULES
from dashtheory.discrete.sample import check_probabilities

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureTable:
    """A distribution of samples given as combinations of features with their frequencies.

    Attributes:
        combinations: bool (C, R, K); row r of class c shows these features.
        frequencies: float64 (C, R), >= 0, each class adding up to 1 (within 1e-9).
    Raises: ValueError if shapes or frequencies do not fit.
    """

    combinations: NDArray[np.bool_]
    frequencies: Floats

    def __post_init__(self) -> None:
        rows, shares = self.combinations, self.frequencies
        if rows.dtype != np.bool_ or rows.ndim != 3 or 0 in rows.shape:
            fail("combinations", "must be a bool array (C, R, K)", f"{rows.dtype} {rows.shape}", "Convert it.")
        if shares.shape != rows.shape[:2]:
            fail("frequencies", f"must have shape (C, R) = {rows.shape[:2]}", str(shares.shape), "One per row.")
        total = shares.sum(axis=1)
        if not (shares >= 0).all() or not np.allclose(total, 1, rtol=0, atol=1e-9):
            fail("frequencies", "must be >= 0 and add up to 1 in each class", f"{total}", "Divide by their sum.")

    @classmethod
    def independent(cls, probabilities: ArrayLike) -> FeatureTable:
        """All 2^K combinations of independent features, for small K.

        Args: probabilities: (C, K), K <= 16.
        Raises: ValueError if K is larger, or a probability is outside [0, 1].
        """
        p = check_probabilities(probabilities)
        num_features = p.shape[1]
        if num_features > 16:
            fail("probabilities", "must have at most 16 features", str(num_features), "Use population directly.")
        rows = (np.arange(2**num_features)[:, None] >> np.arange(num_features)) & 1 == 1
        chance = np.where(rows, p[:, None, :], 1 - p[:, None, :]).prod(axis=2)
        return cls(combinations=np.broadcast_to(rows, (len(p), *rows.shape)).copy(), frequencies=chance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """What the rule learns and memorises, stage by stage, when every count equals its expectation.

    Attributes:
        rule: its name.
        learned: bool (J, C, K), after each stage.
        accuracy: float64 (J,), expected test accuracy after each stage, in [1/C, 1].
        memorized: float64 (J,), samples whose noise is held after each stage, all classes together.
        active_at_start: float64 (J,), non-zero-gradient samples at the start of each stage.
    """

    rule: str
    learned: NDArray[np.bool_]
    accuracy: Floats
    memorized: Floats
    active_at_start: Floats

    @property
    def num_learned(self) -> NDArray[np.int64]:
        """int64 (J,): learned features after each stage, all classes together."""
        return np.asarray(np.count_nonzero(self.learned, axis=(1, 2)), dtype=np.int64)


def population(
    distribution: ArrayLike | FeatureTable,
    chunk_size: float,
    num_stages: int,
    *,
    gamma: float = 50,
    tau: int = 3,
    rule: str = "cold",
) -> Population:
    """Run the discrete framework in the limit of large chunks, with no sampling.

    Args:
        distribution: probabilities (C, K) of independent features, or a `FeatureTable`.
        chunk_size: samples per class per chunk, > 0, as large as you like; need not be whole.
        num_stages: J.
        gamma: active samples that must show a feature to learn it, > 0.
        tau: learned features that give a sample a zero gradient, >= 1.
        rule: "cold", "warm" or "ideal".
    Returns: `Population`.
    Raises: ValueError if an argument is out of range.
    Deterministic. Where a count equals gamma up to rounding, either side may win. Time: O(C K tau + J C K) for
    independent features; a FeatureTable takes one product of R x K numbers per learned feature and stage.
    """
    chunk_size = real("chunk_size", chunk_size, low=0, open_low=True, fix="It counts samples per class.")
    num_stages = integer("num_stages", num_stages, minimum=1, fix="It counts stages.")
    gamma = real("gamma", gamma, low=0, open_low=True, infinite=True, fix="It is a count.")
    tau = integer("tau", tau, minimum=1, fix="Give the number of learned features a sample needs.")
    choice("rule", rule, RULES)
    samples = chunk_size * np.arange(1, num_stages + 1, dtype=np.float64)
    if isinstance(distribution, FeatureTable):
        learned, unsure = _learn_table(distribution, samples, gamma, tau, rule)
    else:
        learned, unsure = _learn_independent(check_probabilities(distribution), samples, gamma, tau, rule)
    num_classes = unsure.shape[1]
    left = unsure.sum(axis=1)  # (J,): sum over classes of F after the stage
    return Population(
        rule=rule,
        learned=learned,
        accuracy=1 - (1 - 1 / num_classes) * left / num_classes,
        memorized=samples * left,
        active_at_start=_active_at_start(samples, left, num_classes, rule),
    )


def _active_at_start(samples: Floats, left: Floats, num_classes: int, rule: str) -> Floats:
    """Samples with a non-zero gradient when each stage starts, from F summed over classes after each stage."""
    before = np.concatenate([[float(num_classes)], left[:-1]])  # nothing is learned before the first stage
    if rule == "cold":
        return samples * num_classes
    return before * (samples if rule == "ideal" else samples[0])


def _learn_independent(
    p: Floats, samples: Floats, gamma: float, tau: int, rule: str
) -> tuple[NDArray[np.bool_], Floats]:
    """Learned sets (J, C, K) and F (J, C) of independent features, by equation (2)."""
    order = np.argsort(-p, axis=1, kind="stable")
    sorted_p = np.take_along_axis(p, order, axis=1)
    tails = prefix_tails(sorted_p, tau)
    gain = np.minimum.accumulate(sorted_p * tails[:, :-1], axis=1)  # rounding must not break the order
    seen = np.full_like(samples, samples[0]) if rule == "warm" else samples
    num_learned = (seen[:, None, None] * gain >= gamma).sum(axis=2)  # (J, C)
    rank = np.argsort(order, axis=1, kind="stable")
    learned = rank < num_learned[:, :, None]
    return learned, np.take_along_axis(tails, num_learned.T, axis=1).T


def prefix_tails(sorted_p: Floats, tau: int) -> Floats:
    """F_k = P(fewer than `tau` of the first k features are shown), for every k.

    Args:
        sorted_p: float64 (C, K), probabilities in the order in which features are learned. tau: >= 1.
    Returns: float64 (C, K + 1), never rising along k, F_0 = 1. All terms are non-negative: no cancellation.
    """
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


def _learn_table(
    table: FeatureTable, samples: Floats, gamma: float, tau: int, rule: str
) -> tuple[NDArray[np.bool_], Floats]:
    """Learned sets (J, C, K) and F (J, C) of a table of combinations, by the learner itself."""
    num_classes, _, num_features = table.combinations.shape
    learned = np.zeros((len(samples), num_classes, num_features), dtype=np.bool_)
    unsure = np.zeros((len(samples), num_classes))
    for label, (rows, shares) in enumerate(zip(table.combinations, table.frequencies, strict=True)):
        known = np.zeros(num_features, dtype=np.bool_)
        for stage, seen in enumerate(samples):
            if rule == "cold":
                known[:] = False
            counted = samples[0] if rule == "warm" else seen
            unsure[stage, label] = _learn_stage_(known, rows, shares, counted, gamma, tau)
            learned[stage, label] = known
    return learned, unsure


def _learn_stage_(
    known: NDArray[np.bool_], rows: NDArray[np.bool_], shares: Floats, samples: float, gamma: float, tau: int
) -> float:
    """Learn the most frequent feature until none reaches gamma; updates `known`, returns F."""
    while True:
        active = shares * ((rows & known).sum(axis=1) < tau)
        counts = np.where(known, -np.inf, samples * (active @ rows))
        best = int(counts.argmax())
        if not counts[best] >= gamma:
            return float(active.sum())
        known[best] = True
