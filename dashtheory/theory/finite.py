"""Warm-starting on finite chunks: why it creeps upwards, and how far.

With every count at its expectation a warm learner stops dead after stage 1. Counts fluctuate, so now and then a
chunk shows a feature gamma times that shows it less often on average. What a warm learner holds or has explained
never comes back; it sees the active part of the new chunk alone, and chunks are independent: the learned set L is
a Markov chain with the same law at every stage. Per class, with n samples per chunk and independent features,

    A        ~ Binomial(n, F(L))        active samples of the new chunk                                (1)
    X_v | A  ~ Binomial(A, p_v)         of these, those that show v not in L, independently over v     (2)

because whether a sample is active depends on learned features alone. The stage learns something exactly if some
X_v reaches gamma; then the most frequent feature is learned, its samples move up one hit or drop out, and so on.
Hence

    P(v is learned in a stage | L) <= P(Binomial(n, p_v F(L)) >= gamma)                                (3)
    P(nothing is learned | L) = prod over classes of sum_A P(A) prod_v P(X_v < gamma | A)              (4)

(3) is an equality but for features that an earlier one in the same stage pushes below gamma. `warm_chain` draws
the chain itself from (1), (2) and the hypergeometric overlaps, exactly, at a cost that does not depend on n.
`warm_law` is a deterministic approximation: see there. Derived in docs/theory.md, "Finite chunks".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from dashtheory._check import fail, integer, numpy_generator
from dashtheory.discrete import fewer_than_tau
from dashtheory.discrete.accuracy import poisson_binomial_tail
from dashtheory.discrete.sample import check_probabilities
from dashtheory.discrete.simulate import least_count

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_LARGEST = 10**9 - 1  # of numpy's hypergeometric


def learning_chances(
    learned: NDArray[np.bool_],
    probabilities: ArrayLike,
    per_class_chunk_size: int,
    *,
    gamma: float = 50,
    tau: int = 3,
) -> Floats:
    """Chance that gamma active samples of one new chunk show a feature: the bound (3).

    Args:
        learned: bool (..., C, K), what the warm learner knows.
        probabilities: (C, K).
        per_class_chunk_size: samples of each class in a chunk: N / C.
        gamma: as in `dashtheory.discrete.simulate`.
        tau: as in `dashtheory.discrete.simulate`.

    Returns:
        float64 (..., C, K), 0 for learned features.

    Raises:
        ValueError: if an argument is out of range.
    """
    size = integer("per_class_chunk_size", per_class_chunk_size, minimum=1, fix="It counts samples per class.")
    share = fewer_than_tau(learned, probabilities, tau)[..., None] * check_probabilities(probabilities)
    return np.where(learned, 0.0, _reaches(least_count(gamma), size, share))


def chance_to_learn(
    learned: NDArray[np.bool_],
    probabilities: ArrayLike,
    per_class_chunk_size: int,
    *,
    gamma: float = 50,
    tau: int = 3,
) -> float:
    """Chance that a warm stage learns something, exactly: 1 minus equation (4), without cancellation.

    Time grows as the root of chunk_size.

    Args:
        learned: bool (C, K), what the warm learner knows.
        probabilities: (C, K).
        per_class_chunk_size: samples of each class in a chunk: N / C.
        gamma: as in `dashtheory.discrete.simulate`.
        tau: as in `dashtheory.discrete.simulate`.

    Raises:
        ValueError: if an argument is out of range.
    """
    learned = np.asarray(learned)
    if learned.ndim != 2:
        fail("learned", "must have shape (C, K)", f"shape {learned.shape}", "Ask for one learned set at a time.")
    size = integer("per_class_chunk_size", per_class_chunk_size, minimum=1, fix="It counts samples per class.")
    p, least = check_probabilities(probabilities), least_count(gamma)
    quiet = 0.0  # logarithm
    for label, share in enumerate(fewer_than_tau(learned, p, tau).tolist()):
        low, high = (int(stats.binom.ppf(chance, size, share)) for chance in (1e-18, 1 - 1e-16))
        active = np.arange(max(low, 0), high + 1)
        reaches = _reaches(least, active[:, None], p[label, ~learned[label]])  # (A, unlearned)
        something = -np.expm1(np.log1p(-np.minimum(reaches, 1 - 1e-16)).sum(axis=1))
        quiet += np.log1p(-min(float(stats.binom.pmf(active, size, share) @ something), 1 - 1e-16))
    return float(-np.expm1(quiet))


def quiet_probability(
    learned: NDArray[np.bool_],
    probabilities: ArrayLike,
    per_class_chunk_size: int,
    *,
    gamma: float = 50,
    tau: int = 3,
) -> float:
    """Chance that a warm stage learns nothing, equation (4): 1 - `chance_to_learn`. The wait is geometric.

    Args:
        learned: bool (..., C, K), what the warm learner knows.
        probabilities: (C, K).
        per_class_chunk_size: samples of each class in a chunk: N / C.
        gamma: as in `dashtheory.discrete.simulate`.
        tau: as in `dashtheory.discrete.simulate`.

    Raises:
        ValueError: if an argument is out of range.
    """
    return 1.0 - chance_to_learn(learned, probabilities, per_class_chunk_size, gamma=gamma, tau=tau)


@dataclass(frozen=True, kw_only=True, eq=False)
class WarmLaw:
    """What a warm learner is expected to know after each stage.

    Attributes:
        chances: float64 (..., J, C, K), chance that the feature has been learned.
        num_learned: float64 (..., J), expected learned features, all classes together.
        accuracy: float64 (..., J), expected test accuracy.
        num_memorized: float64 (..., J), expected memorised samples, all classes together.
        active_at_start: float64 (..., J), expected non-zero-gradient samples at the start of each stage.
    """

    chances: Floats
    num_learned: Floats
    accuracy: Floats
    num_memorized: Floats
    active_at_start: Floats


def warm_law(
    distribution: ArrayLike,
    per_class_chunk_size: ArrayLike,
    num_stages: int,
    *,
    gamma: ArrayLike = 50,
    tau: int = 3,
) -> WarmLaw:
    """Expected course of a warm learner on finite chunks, without sampling.

    Mean field: features are taken as learned independently of each other, with chance pi_v. Then the tail averaged
    over what is learned is that of p_v pi_v, and stage by stage, feature by feature in the order of p,

        pi_v <- pi_v + (1 - pi_v) P(Binomial(n, p_v F) >= gamma),   F over the other features                (5)

    with this stage's pi for the features before v and the last stage's for those after it. Stage 1 starts from
    pi = 0. Neglected: how learned sets vary together, and a feature that is learned because its chunk is unusual.
    Its error against the exact chain is measured in tests/theory/test_warm_law.py and in figures/warm_creep.

    Time: J K steps on arrays of all worlds.

    Args:
        distribution: probabilities (..., C, K) of independent features, leading axes for many worlds at once.
        per_class_chunk_size: samples of each class in a chunk, N / C, a number or (...).
        gamma: a number or (...).
        tau: >= 1.
        num_stages: J.

    Returns:
        `WarmLaw`.

    Raises:
        ValueError: if an argument is out of range.
    """
    try:
        p = np.asarray(distribution, dtype=np.float64)
    except (ValueError, TypeError) as error:
        fail("distribution", "must be numbers of shape (..., C, K)", "a ragged array", f"Mend it: {error}.")
    if p.ndim < 2:
        fail("distribution", "must have shape (..., C, K)", f"shape {p.shape}", "Add an axis for a single class.")
    check_probabilities(p.reshape(-1, p.shape[-1]), "distribution")
    num_stages = integer("num_stages", num_stages, minimum=1, fix="It counts stages.")
    tau = integer("tau", tau, minimum=1, fix="Give the number of learned features a sample needs.")
    tau = min(tau, p.shape[-1] + 1)  # no sample shows more
    size, least = _per_world(p.shape[:-2], per_class_chunk_size, gamma)
    order = np.argsort(-p, axis=-1, kind="stable")
    falling = np.moveaxis(np.take_along_axis(p, order, axis=-1), -1, 0)  # (K, ..., C)
    pi = np.zeros_like(falling)
    chances, tails = np.empty((num_stages, *falling.shape)), np.empty((num_stages, *falling.shape[1:]))
    for stage in range(num_stages):
        tails[stage] = _sweep_(pi, falling, size, least, tau)
        chances[stage] = pi
    back = np.argsort(order, axis=-1, kind="stable")
    ordered = np.moveaxis(chances, (0, 1), (-3, -1))  # (..., J, C, K)
    active = (tails * size).sum(axis=-1)  # (J, ...): active at the end of the stage, per chunk
    num_classes = p.shape[-2]
    first = np.broadcast_to(size[..., 0] * num_classes, active.shape[1:])[None]
    return WarmLaw(
        chances=np.take_along_axis(ordered, np.broadcast_to(back[..., None, :, :], ordered.shape), axis=-1),
        num_learned=np.moveaxis(chances.sum(axis=(1, -1)), 0, -1),
        accuracy=np.moveaxis(1 - (1 - 1 / num_classes) * tails.mean(axis=-1), 0, -1),
        num_memorized=np.moveaxis(np.cumsum(active, axis=0), 0, -1),
        active_at_start=np.moveaxis(np.concatenate([first, active[:-1]]), 0, -1),
    )


def _per_world(shape: tuple[int, ...], per_class_chunk_size: ArrayLike, gamma: ArrayLike) -> tuple[Floats, Floats]:
    """Chunk sizes and least counts, float64 (..., 1)."""
    for size in np.ravel(per_class_chunk_size).tolist():
        integer("per_class_chunk_size", size, minimum=1, fix="It counts samples per class.")
    least = np.array([least_count(one) for one in np.ravel(gamma).tolist()], dtype=np.float64)
    try:
        sizes = np.broadcast_to(np.asarray(per_class_chunk_size, dtype=np.float64), shape)[..., None]
        return sizes, np.broadcast_to(least.reshape(np.shape(gamma)), shape)[..., None]
    except ValueError:
        got = f"shapes {np.shape(per_class_chunk_size)} and {np.shape(gamma)}"
        fail(
            "per_class_chunk_size and gamma",
            f"must be numbers or fit the worlds {shape}",
            got,
            "One entry per world.",
        )


def _reaches(least: ArrayLike, size: ArrayLike, share: Floats) -> Floats:
    """P(Binomial(size, share) >= least), for least >= 1, as a regularised incomplete beta function."""
    least, size = np.asarray(least, dtype=np.float64), np.asarray(size, dtype=np.float64)
    chance = special.betainc(least, np.maximum(size - least + 1, 1.0), np.clip(share, 0.0, 1.0))
    return np.where(least > size, 0.0, chance)


def _sweep_(pi: Floats, p: Floats, size: Floats, least: Floats, tau: int) -> Floats:
    """One stage of equation (5); updates `pi` (K, ..., C), returns the tail F after it, (..., C)."""
    num_features = len(p)
    after = np.zeros((num_features + 1, tau, *p.shape[1:]))  # P(hits = s) among the features from k on
    after[-1, 0] = 1
    for k in reversed(range(num_features)):
        after[k] = _with_event(after[k + 1], p[k] * pi[k])
    before = np.zeros((tau, *p.shape[1:]))
    before[0] = 1
    for k in range(num_features):
        tail = (before * np.cumsum(after[k + 1], axis=0)[::-1]).sum(axis=0)  # hits before + after < tau
        pi[k] += (1 - pi[k]) * _reaches(least, size, p[k] * tail)
        before = _with_event(before, p[k] * pi[k])
    return np.asarray(np.minimum(before.sum(axis=0), 1.0))


def _with_event(states: Floats, chance: Floats) -> Floats:
    """P(hits = s), s < tau, with one more independent event."""
    later = states * (1 - chance)
    later[1:] += states[:-1] * chance
    return later


def warm_chain(
    distribution: ArrayLike,
    per_class_chunk_size: int,
    num_stages: int,
    *,
    gamma: float = 50,
    tau: int = 3,
    num_chains: int,
    generator: np.random.Generator,
    stages: Sequence[int] | None = None,
) -> NDArray[np.bool_]:
    """Draw warm learners from their exact law, by counts and without samples.

    Time: R C K binomial draws per stage, and K hypergeometric ones per learned feature, whatever the chunk size.
    Ties within a class go to the smallest feature.

    Args:
        distribution: probabilities (C, K) of independent features.
        per_class_chunk_size: samples of each class in a chunk, N / C, below 10^9.
        num_stages: J.
        gamma: as in `dashtheory.discrete.simulate`.
        tau: as in `dashtheory.discrete.simulate`.
        num_chains: R, independent learners.
        generator: source of all draws.
        stages: stages to record, from 1, rising; default: all.

    Returns:
        bool (R, S, C, K), learned features after the recorded stages.

    Raises:
        ValueError: if an argument is out of range.
    """
    p = check_probabilities(distribution, "distribution")
    size = integer("per_class_chunk_size", per_class_chunk_size, minimum=1, fix="It counts samples per class.")
    if size > _LARGEST:
        fail(
            "per_class_chunk_size",
            "must be below 10^9",
            str(size),
            "Use warm_law or population for larger chunks.",
        )
    num_stages = integer("num_stages", num_stages, minimum=1, fix="It counts stages.")
    num_chains = integer("num_chains", num_chains, minimum=1, fix="It counts learners.")
    generator = numpy_generator("generator", generator)
    least, tau = least_count(gamma), integer("tau", tau, minimum=1, fix="It counts learned features.")
    tau = min(tau, p.shape[1] + 1)  # no sample shows more
    if stages is not None and not isinstance(stages, Iterable):
        fail("stages", "must be a sequence", repr(stages), "Put it into a list.")
    wanted = list(range(1, num_stages + 1)) if stages is None else list(stages)
    wanted = [integer("stages", stage, minimum=1, fix="Stages count from 1.") for stage in wanted]
    if not wanted or wanted != sorted(set(wanted)) or wanted[-1] > num_stages:
        fail("stages", f"must rise within 1 to {num_stages}", str(wanted), "Name each stage once.")
    known = np.zeros((num_chains, *p.shape), dtype=np.bool_)
    tails = fewer_than_tau(known, p, tau)
    recorded = np.empty((num_chains, len(wanted), *p.shape), dtype=np.bool_)
    for stage in range(1, wanted[-1] + 1):
        active = generator.binomial(size, tails)
        counts = np.where(known, -1, generator.binomial(active[..., None], p))
        for chain, label in np.argwhere(counts.max(axis=-1) >= least).tolist():
            learner = known[chain, label]
            _learn_by_counts_(learner, p[label], active[chain, label], counts[chain, label], least, tau, generator)
            tails[chain, label] = poisson_binomial_tail(np.where(learner, p[label], 0.0), tau)
        if stage in wanted:
            recorded[:, wanted.index(stage)] = known
    return recorded


def _learn_by_counts_(
    known: NDArray[np.bool_],
    p: Floats,
    active: int,
    counts: Ints,
    least: int,
    tau: int,
    generator: np.random.Generator,
) -> None:
    """One stage of one class that learns something; updates `known`.

    Given how many active samples show an unlearned feature, which of them do is uniformly random, independently of
    the other features and of what else the samples show. So the samples that show the feature just learned spread
    over those of 0, 1, ... hits as a multivariate hypergeometric variable; those that reach tau drop out, and of
    every other feature a hypergeometric number with them.
    """
    sizes = _split_active(known, p, active, tau, generator)
    totals = np.maximum(counts, 0)
    while True:
        best = int(np.where(known, -1, totals).argmax())
        if known[best] or totals[best] < least:
            return
        known[best] = True
        shown = generator.multivariate_hypergeometric(sizes, totals[best])
        sizes -= shown
        sizes[1:] += shown[:-1]
        explained = int(shown[-1])
        totals -= generator.hypergeometric(totals, active - totals, explained)
        active -= explained


def _split_active(
    known: NDArray[np.bool_], p: Floats, active: int, tau: int, generator: np.random.Generator
) -> Ints:
    """How many of the active samples show 0, 1, ..., tau - 1 learned features: int64 (tau,)."""
    states = np.zeros(tau)
    states[0] = 1
    for chance in p[known]:
        states = _with_event(states, chance)
    return np.asarray(generator.multinomial(active, states / states.sum()), dtype=np.int64)
