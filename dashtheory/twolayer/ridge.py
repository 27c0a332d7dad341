"""An honest ceiling: what a well-regularised linear classifier makes of the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashtheory._check import fail, integer, real
from dashtheory.seeds import numpy_stream
from dashtheory.twolayer.config import TwoLayerConfig
from dashtheory.twolayer.data import PatchData, sample_signal_noise

RIDGE = "ridge"
"""What tables call the ridge classifier on the same samples (`ridge_ceiling`)."""

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Penalties tried by default, times |xi|^2: seven of them over six decades."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RidgeCeiling:
    """What the ridge classifier reached on each seed.

    Attributes:
        test_accuracy: float64 (S,), with the penalty chosen on held-out samples.
        penalty: (S,), the one chosen, as a multiple of |xi|^2.
        held_out_accuracy: (S, P), of every penalty, on the held-out samples.
    """

    test_accuracy: FloatArray
    penalty: FloatArray
    held_out_accuracy: FloatArray


def ridge_ceiling(
    config: TwoLayerConfig,
    seeds: Sequence[int],
    *,
    penalties: Sequence[float] = PENALTIES,
    num_chunks: int | None = None,
    num_held_out: int = 2000,
) -> RidgeCeiling:
    """Ridge regression of the classes on whole samples x, with the data and test set of `run`.

        min over W, b of sum_i |W x_i + b - y_i|^2 + penalty |xi|^2 |W|^2,      y one-hot, b not penalised

    The penalty is the one with the best accuracy on `num_held_out` fresh samples of the stream "held out"; of
    equals the largest. It sees sums x, as the MLP does. The patch network gets the noise as a patch of its own,
    which is more: there it is a yardstick, no ceiling.

    Args:
        config: only data, chunks and test set matter.
        seeds: root seeds.
        penalties: grid, each > 0.
        num_chunks: chunks to train on; default all J.
        num_held_out: samples that choose, a multiple of C.

    Raises:
        ValueError: if an argument is out of range.
    """
    chunks = config.num_stages if num_chunks is None else num_chunks
    integer("num_chunks", chunks, minimum=1, fix="It counts chunks.")
    if not len(penalties):
        fail("penalties", "must have at least one", "none", "Leave it out for the usual grid.")
    for penalty in penalties:
        real("penalties", penalty, low=0, open_low=True, fix="They multiply |xi|^2.")
    scale = config.data.noise_norm**2 or 1.0
    accuracies, tests, chosen = [], [], []
    for seed in seeds:
        parts = [
            sample_signal_noise(config.data, config.chunk_size, numpy_stream(seed, "data", j + 1))
            for j in range(chunks)
        ]
        held = sample_signal_noise(config.data, num_held_out, numpy_stream(seed, "held out"))
        test = sample_signal_noise(config.data, config.num_test, numpy_stream(seed, "test data"))
        fits = _fits(parts, config.data.num_classes, [scale * penalty for penalty in penalties])
        found = [_accuracy(fit, held) for fit in fits]
        best = max(range(len(fits)), key=lambda place: (found[place], penalties[place]))
        accuracies.append(found)
        tests.append(_accuracy(fits[best], test))
        chosen.append(float(penalties[best]))
    return RidgeCeiling(
        test_accuracy=np.array(tests), penalty=np.array(chosen), held_out_accuracy=np.array(accuracies)
    )


def _fits(
    parts: Sequence[PatchData], num_classes: int, penalties: Sequence[float]
) -> list[tuple[FloatArray, FloatArray]]:
    """(W (axes, C), b (C,)) for every penalty, from one eigendecomposition of the centred Gram matrix."""
    x = np.concatenate([part.x().numpy() for part in parts])
    y = np.eye(num_classes)[np.concatenate([part.labels.numpy() for part in parts])]
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    values, vectors = np.linalg.eigh((x - mean_x) @ (x - mean_x).T)
    turned = vectors.T @ (y - mean_y)
    fits = []
    for penalty in penalties:
        weights = (x - mean_x).T @ (vectors @ (turned / (values.clip(min=0) + penalty)[:, None]))
        fits.append((weights, mean_y - mean_x @ weights))
    return fits


def _accuracy(fit: tuple[FloatArray, FloatArray], data: PatchData) -> float:
    weights, bias = fit
    return float(((data.x().numpy() @ weights + bias).argmax(axis=1) == data.labels.numpy()).mean())
