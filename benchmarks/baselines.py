"""Level 1 as a competent numpy user writes it: whole-array operations, everything recounted at each step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dashtheory.discrete import Simulation

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


def simulate_with_numpy(
    features: Bools, per_class_chunk_size: int, *, gamma: float, tau: int, rule: str
) -> Simulation:
    """Run all stages with two matrix products per learning step.

    Args:
        features: bool (C, K, n): class, feature, sample of that class in order of arrival.
        per_class_chunk_size: samples of each class in a chunk: N / C; divides n.
        gamma: active samples that must show a feature for it to be learned.
        tau: learned features that give a sample a zero gradient.
        rule: "cold", "warm" or "ideal".

    Returns:
        what `dashtheory.discrete.simulate` returns. Arguments are not checked.
    """
    num_classes, num_features, num_samples = features.shape
    table = features.astype(np.float32)  # counts below 2^24 are exact, and float32 multiplies fastest
    known = np.zeros((num_classes, num_features), dtype=np.bool_)
    held = np.zeros((num_classes, num_samples), dtype=np.bool_)
    learned, memorized, active_at_start, order = [], [], [], []
    for end in range(per_class_chunk_size, num_samples + 1, per_class_chunk_size):
        if rule == "cold":
            known[:] = False
        if rule != "warm":
            held[:] = False
        present = table[:, :, :end]
        active_at_start.append(np.count_nonzero(active_samples(present, known, held[:, :end], tau)))
        order.append(learn_stage_(known, present, held[:, :end], gamma, tau))
        held[:, :end] |= active_samples(present, known, held[:, :end], tau)
        learned.append(known.copy())
        memorized.append(held.copy())
    return Simulation(
        rule=rule,
        learned=np.array(learned),
        memorized=np.array(memorized),
        active_at_start=np.array(active_at_start, dtype=np.int64),
        order=tuple(order),
    )


def active_samples(present: Floats, known: Bools, held: Bools, tau: int) -> Bools:
    """Bool (C, m): the samples with a non-zero gradient.

    Args:
        present: float32 (C, K, m), the samples of the stage.
        known: bool (C, K), learned features.
        held: bool (C, m), memorised samples.
        tau: learned features that give a sample a zero gradient.
    """
    shown = np.matmul(known[:, None, :].astype(np.float32), present)[:, 0]
    active: Bools = (shown < tau) & ~held
    return active


def learn_stage_(known: Bools, present: Floats, held: Bools, gamma: float, tau: int) -> NDArray[np.int64]:
    """Learn the most frequent feature until none is shown by `gamma` active samples; updates `known` in place.

    Args:
        known: bool (C, K), learned features.
        present: float32 (C, K, m), the samples of the stage.
        held: bool (C, m), memorised samples.
        gamma: the count that is needed.
        tau: learned features that give a sample a zero gradient.

    Returns:
        int64 (m, 2), the pairs (class, feature) in the order learned.
    """
    order: list[tuple[int, int]] = []
    while True:
        active = active_samples(present, known, held, tau)
        counts = np.matmul(present, active[:, :, None].astype(np.float32))[:, :, 0]
        counts[known] = -1
        label, feature = divmod(int(counts.argmax()), counts.shape[1])  # the first of equal counts
        if counts[label, feature] < gamma:
            return np.array(order, dtype=np.int64).reshape(-1, 2)
        known[label, feature] = True
        order.append((label, feature))
