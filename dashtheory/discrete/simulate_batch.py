"""Thousands of simulations in one call: each draws its own data and runs every rule on them, on all cores.

A simulation here is what `dashtheory.discrete.simulate` does, bit for bit, on the data of `draw_data`; but only
counts are kept, of chosen stages, and data are drawn 64 samples at a time by compiled code. Cold, whose stages do
not depend on each other, runs only the chosen ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dashtheory._check import fail, integer
from dashtheory.discrete import _draw, _kernel
from dashtheory.discrete.distribution import Mixture
from dashtheory.discrete.forgetting import Forgetting
from dashtheory.discrete.packed import PackedFeatures
from dashtheory.discrete.simulate import DISCRETE_RULES, kernel_rule_of, least_count
from dashtheory.parallel import usable_cores
from dashtheory.seeds import numpy_stream

Ints = NDArray[np.int64]
Distributions = ArrayLike | Mixture | Sequence[Mixture]
_BLOCK = 8  # simulations that a thread takes at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What B simulations learned under R rules, after S chosen stages.

    Attributes:
        rules: names, (R,).
        stages: the stages recorded, from 1, (S,).
        learned: bool (B, R, S, C, K), features known after the stage.
        num_memorized: int64 (B, R, S, C), samples whose noise is held after the stage.
        active_at_start: int64 (B, R, S, C), samples with a non-zero gradient at the start of the stage.
        accuracy: float64 (B, R, S, C), expected test accuracy in each class, in closed form.
    """

    rules: tuple[str, ...]
    stages: tuple[int, ...]
    learned: NDArray[np.bool_]
    num_memorized: Ints
    active_at_start: Ints
    accuracy: NDArray[np.float64]

    @property
    def num_learned(self) -> Ints:
        """int64 (B, R, S): learned features, all classes together."""
        return np.asarray(np.count_nonzero(self.learned, axis=(3, 4)), dtype=np.int64)


def simulate_batch(
    distribution: Distributions,
    per_class_chunk_size: ArrayLike,
    num_stages: int,
    *,
    seeds: ArrayLike,
    gamma: ArrayLike = 50,
    tau: ArrayLike = 3,
    rules: Sequence[str | Forgetting] = DISCRETE_RULES,
    stages: Sequence[int] | None = None,
    num_threads: int | None = None,
    report: Callable[[float, str], None] | None = None,
) -> Batch:
    """Run B simulations, each with every rule on the same data.

    Deterministic given the seeds, whatever num_threads is.

    Args:
        distribution: probabilities (C, K) or (B, C, K) of independent features, a `Mixture`, or B of them of one
            shape.
        per_class_chunk_size: samples of each class in a chunk, N / C: one number, (B,), or (B, C) or (1, C) for
            unequal classes.
        num_stages: J.
        seeds: integers >= 0, one for all or (B,). A seed has one stream of data: simulations of equal seed,
            distribution and sizes see the same samples, whatever their gamma and tau.
        gamma: as in `simulate`; a number or (B,).
        tau: as in `simulate`; a number or (B,).
        rules: names or `Forgetting`s. Forgetting draws from the seed's own stream, the same for every rule.
        stages: stages to record, from 1, rising; default: the last alone.
        num_threads: default: all cores.
        report: called as `report(share_done, text)` while the batch runs.

    Returns:
        a `Batch`.

    Raises:
        ValueError: if an argument is out of range or the lengths do not fit.
    """
    plan = _Plan.check(distribution, per_class_chunk_size, num_stages, seeds, gamma, tau, rules, stages)
    num_classes, _, num_features = plan.mixtures[0].shape
    shape = (len(plan.seeds), len(plan.rules), len(plan.stages), num_classes)
    learned = np.zeros((*shape, num_features), dtype=np.bool_)
    num_memorized, active = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)

    def run_block(first: int) -> int:
        last = min(first + _BLOCK, len(plan.seeds))
        for one in range(first, last):
            _run_one(plan, one, learned[one], num_memorized[one], active[one])
        return last - first

    threads = usable_cores() if num_threads is None else num_threads
    threads = integer("num_threads", threads, minimum=1, fix="It counts threads.")
    with ThreadPoolExecutor(threads) as pool:
        done = 0
        try:
            for finished in pool.map(run_block, range(0, len(plan.seeds), _BLOCK)):
                done += finished
                if report is not None:
                    report(done / len(plan.seeds), f"{done} of {len(plan.seeds)} simulations")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return Batch(
        rules=tuple(map(str, plan.rules)),
        stages=plan.stages,
        learned=learned,
        num_memorized=num_memorized,
        active_at_start=active,
        accuracy=_accuracy(plan, learned),
    )


def draw_data(distribution: ArrayLike | Mixture, num_samples: ArrayLike, seed: int) -> list[PackedFeatures]:
    """The training data that `simulate_batch` draws for a seed.

    Args:
        distribution: probabilities (C, K) or a `Mixture`.
        num_samples: per class, a number or (C,).
        seed: >= 0.

    Returns:
        C packed data sets of one class each, (1, K, n_c).

    Raises:
        ValueError: if an argument is out of range.
    """
    mixtures = _mixtures(distribution)
    if len(mixtures) > 1 or np.ndim(np.asarray(distribution, dtype=object)) == 3:
        fail(
            "distribution", "must be a single one", f"{len(mixtures)}", "Give probabilities (C, K) or one Mixture."
        )
    mixture = mixtures[0]
    sizes = _whole("num_samples", num_samples, (mixture.shape[0],))
    state = _data_state(seed)
    return [
        PackedFeatures(words=_draw_class(mixture, label, int(size), state)[None], num_samples=int(size))
        for label, size in enumerate(sizes)
    ]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Checked arguments, all of length B."""

    mixtures: tuple[Mixture, ...]
    per_class_chunk_size: Ints  # (B, C)
    num_stages: int
    seeds: Ints
    gamma: Ints
    tau: Ints
    rules: tuple[str | Forgetting, ...]
    stages: tuple[int, ...]

    @classmethod
    def check(
        cls,
        distribution: Distributions,
        per_class_chunk_size: ArrayLike,
        num_stages: int,
        seeds: ArrayLike,
        gamma: ArrayLike,
        tau: ArrayLike,
        rules: Sequence[str | Forgetting],
        stages: Sequence[int] | None,
    ) -> _Plan:
        mixtures = _mixtures(distribution)
        num_stages = integer("num_stages", num_stages, minimum=1, fix="It counts stages.")
        wanted = (num_stages,) if stages is None else _several("stages", stages)
        for stage in wanted:
            integer("stages", stage, minimum=1, fix="Stages count from 1.")
        if not wanted or list(wanted) != sorted(set(wanted)) or wanted[-1] > num_stages:
            fail("stages", f"must rise within 1 to {num_stages}", str(wanted), "Name each stage once.")
        chosen = _several("rules", rules)
        for rule in chosen:
            kernel_rule_of(rule)
        if not chosen or len(set(chosen)) < len(chosen):
            fail(
                "rules", "must name at least one, each once", str([str(rule) for rule in chosen]), "Drop doubles."
            )
        sizes, gammas = _entries("per_class_chunk_size", per_class_chunk_size), _entries("gamma", gamma)
        if gammas.ndim > 1:
            fail("gamma", "must be a number or have shape (B,)", f"shape {gammas.shape}", "One per simulation.")
        lengths = {
            "distribution": len(mixtures),
            "per_class_chunk_size": len(sizes) if sizes.ndim else 1,
            "gamma": gammas.size,
            **{name: _entries(name, value).size for name, value in (("seeds", seeds), ("tau", tau))},
        }
        length = max(lengths.values())
        if sizes.ndim == 1 and len(sizes) > max(
            found for name, found in lengths.items() if name != "per_class_chunk_size"
        ):
            rule = "must be a number, one per simulation, or of shape (1, C) for classes of unequal size"
            fail(
                "per_class_chunk_size",
                rule,
                f"{len(sizes)} in a row for one simulation",
                "Write [[900, 100]], say.",
            )
        for name, found in lengths.items():
            if found not in (1, length):
                fail(name, f"must have one entry, or one per simulation ({length})", str(found), f"{lengths}")
        num_classes, _, num_features = mixtures[0].shape
        return cls(
            mixtures=mixtures * (length if len(mixtures) == 1 else 1),
            per_class_chunk_size=_whole(
                "per_class_chunk_size", sizes[:, None] if sizes.ndim == 1 else sizes, (length, num_classes)
            ),
            num_stages=num_stages,
            seeds=_whole("seeds", seeds, (length,), minimum=0),
            gamma=np.broadcast_to([least_count(one) for one in gammas.ravel()], length),
            tau=_whole("tau", tau, (length,), cap=num_features + 1),
            rules=chosen,
            stages=wanted,
        )


def _run_one(plan: _Plan, one: int, learned: NDArray[np.bool_], num_memorized: Ints, active: Ints) -> None:
    """Draw the data of simulation `one` and run every rule; fills (R, S, C, K) and (R, S, C)."""
    world, stages = plan.mixtures[one], np.array(plan.stages) - 1
    state = _data_state(int(plan.seeds[one]))
    for label, size in enumerate(plan.per_class_chunk_size[one].tolist()):
        by_feature = _draw_class(world, label, size * plan.num_stages, state)
        by_sample = _kernel.transpose_bits(by_feature, size * plan.num_stages)
        for place, rule in enumerate(plan.rules):
            numbers = (size, int(plan.gamma[one]), int(plan.tau[one]), kernel_rule_of(rule))
            results = (learned[place, :, label], num_memorized[place, :, label], active[place, :, label])
            lost = _draw_lost(rule, plan, one, label, by_sample.shape[0], by_feature.shape[0])
            _kernel.learn_class_at(stages, by_feature, by_sample, *numbers, *lost, *results)


def _draw_class(world: Mixture, label: int, num_samples: int, state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Packed samples (K, ceil(n/64)) of one class; advances `state`."""
    weights = world.weights[label]
    left = np.maximum(1 - np.concatenate([[0.0], np.cumsum(weights)[:-1]]), weights)  # rounding: never below
    shares = np.divide(weights, left, out=np.zeros_like(weights), where=left > 0)
    features, components = _draw.thresholds(world.probabilities[label]), _draw.thresholds(shares)
    return np.asarray(_draw.draw_class(num_samples, features, components, state))


def _draw_lost(
    rule: str | Forgetting, plan: _Plan, one: int, label: int, num_samples: int, num_features: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Bits of the samples and features that are forgotten before each stage; empty for a named rule."""
    if not isinstance(rule, Forgetting):
        return np.empty((0, 0), dtype=np.uint64), np.empty((0, 0), dtype=np.uint64)
    state = _words(int(plan.seeds[one]), "forgetting", label)
    noise, feature = _draw.thresholds([rule.phi_noise, rule.phi_feature])
    released = _draw.draw_lost(noise, plan.num_stages, num_samples, state)
    return released, _draw.draw_lost(feature, plan.num_stages, num_features, state)


def _data_state(seed: int) -> NDArray[np.uint64]:
    return _words(seed, "batch data")


def _words(seed: int, name: str, *index: int) -> NDArray[np.uint64]:
    """State of the compiled generator, uint64 (4,), from a named stream of the seed."""
    return numpy_stream(seed, name, *index).integers(0, 2**64, size=4, dtype=np.uint64)


def _accuracy(plan: _Plan, learned: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Expected test accuracy (B, R, S, C), world by world and tau by tau."""
    accuracy = np.empty(learned.shape[:-1])
    groups: dict[tuple[int, int], list[int]] = {}
    for one, (world, tau) in enumerate(zip(plan.mixtures, plan.tau.tolist(), strict=True)):
        groups.setdefault((id(world), tau), []).append(one)
    for (_, tau), members in groups.items():
        accuracy[members] = plan.mixtures[members[0]].expected_accuracy(learned[members], tau)
    return accuracy


def _mixtures(distribution: Distributions) -> tuple[Mixture, ...]:
    """One mixture for all simulations, or one for each."""
    if isinstance(distribution, Mixture):
        return (distribution,)
    if (
        isinstance(distribution, Sequence)
        and distribution
        and all(isinstance(one, Mixture) for one in distribution)
    ):
        mixtures = tuple(one for one in distribution if isinstance(one, Mixture))
        if len({one.shape for one in mixtures}) > 1:
            fail(
                "distribution",
                "must be of one shape (C, G, K)",
                str({one.shape for one in mixtures}),
                "Run them apart.",
            )
        return mixtures
    try:
        values = np.asarray(distribution, dtype=np.float64)
    except (ValueError, TypeError) as error:
        rule = "must be probabilities (C, K) or (B, C, K), a Mixture, or Mixtures alone"
        fail("distribution", rule, type(distribution).__name__, f"Mend them: {error}.")
    return tuple(map(Mixture.independent, values)) if values.ndim == 3 else (Mixture.independent(values),)


def _several(name: str, values: object) -> tuple[Any, ...]:
    """The entries of a sequence that is not text."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        fail(name, "must be a sequence", repr(values), "Put it into a list.")
    return tuple(values)


def _entries(name: str, values: ArrayLike) -> NDArray[np.object_]:
    """An array of Python's own numbers, which do not wrap around."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    try:
        plain = np.array(values, dtype=object)
    except ValueError as error:
        fail(name, "must be a number or a regular array", "a ragged one", f"Mend it: {error}.")
    return plain


def _whole(
    name: str, values: ArrayLike, shape: tuple[int, ...], *, minimum: int = 1, cap: int | None = None
) -> Ints:
    """Integers >= minimum as int64, at most `cap`, broadcast to `shape`."""
    array = _entries(name, values)
    largest = int(np.iinfo(np.int64).max)
    for place, value in np.ndenumerate(array):
        whole = integer(name, value, minimum=minimum, fix="Give whole numbers.")
        if cap is None and whole > largest:
            fail(name, "must be below 2^63", str(whole), "Choose a smaller one.")
        array[place] = whole if cap is None else min(whole, cap)
    try:
        return np.broadcast_to(array.astype(np.int64), shape)
    except ValueError:
        fail(name, f"must fit the shape {shape}", f"shape {array.shape}", "One entry, or one per simulation.")
