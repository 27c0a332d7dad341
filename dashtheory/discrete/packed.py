"""Bit-packed data sets: one bit per (feature, sample), for millions of samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashtheory._check import fail, integer


@dataclass(frozen=True, kw_only=True)
class PackedFeatures:
    """A data set of shape (C, K, n), packed along its samples.

    Sample i of class c shows feature k if bit `i % 64` of `words[c, k, i // 64]` is set. Bits past the last
    sample must be zero.

    Attributes:
        words: uint64 (C, K, ceil(n / 64)).
        num_samples: n, samples per class, in order of arrival.

    Raises:
        ValueError: if the words do not fit `num_samples`, or a bit past the last sample is set.
    """

    words: NDArray[np.uint64]
    num_samples: int

    def __post_init__(self) -> None:
        count = integer("num_samples", self.num_samples, minimum=1, fix="Give the number of samples per class.")
        object.__setattr__(self, "num_samples", count)  # a Python int: numpy's small ones wrap around
        words = self.words
        if not isinstance(words, np.ndarray) or words.dtype != np.uint64 or words.ndim != 3:
            shape = getattr(words, "shape", None)
            fail(
                "words",
                "must be a uint64 array (C, K, ceil(n / 64))",
                f"{getattr(words, 'dtype', type(words).__name__)} of shape {shape}",
                "Use pack_features(features) to build it.",
            )
        if 0 in words.shape[:2]:
            fail("words", "must have at least one class and one feature", f"shape {words.shape}", "Give samples.")
        if words.shape[2] != -(-self.num_samples // 64):
            fail(
                "words",
                f"must have ceil(num_samples / 64) = {-(-self.num_samples // 64)} words per feature",
                f"shape {words.shape}",
                "Give num_samples= as it was packed.",
            )
        spare = self.num_samples % 64
        if spare and np.any(words[:, :, -1] >> np.uint64(spare)):
            fail("words", "must be zero past the last sample", "set bits", "Use pack_features(features).")

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return int(self.words.shape[0])

    @property
    def num_features(self) -> int:
        """K, the number of features per class."""
        return int(self.words.shape[1])

    def unpack(self) -> NDArray[np.bool_]:
        """Return the data set as bool (C, K, n)."""
        little = np.ascontiguousarray(self.words, dtype="<u8").view(np.uint8)
        bits = np.unpackbits(little, axis=-1, count=self.num_samples, bitorder="little")
        return bits.astype(np.bool_)


def pack_features(features: NDArray[np.bool_]) -> PackedFeatures:
    """Pack bool (C, K, n) into one bit per entry.

    Deterministic: draws nothing.

    Args:
        features: bool (C, K, n): class, feature, sample of that class in order of arrival.

    Returns:
        `PackedFeatures`; `.unpack()` gives `features` back.

    Raises:
        ValueError: if `features` is not a three-dimensional Boolean array with n >= 1.
    """
    check_features("features", features)
    num_classes, num_features, num_samples = features.shape
    packed = np.zeros((num_classes, num_features, -(-num_samples // 64) * 8), dtype=np.uint8)
    packed[:, :, : -(-num_samples // 8)] = np.packbits(features, axis=-1, bitorder="little")
    words = packed.view("<u8").astype(np.uint64, copy=False)
    return PackedFeatures(words=words, num_samples=num_samples)


def check_features(argument: str, features: object) -> None:
    """Refuse anything but a non-empty bool array (C, K, n)."""
    if not isinstance(features, np.ndarray) or features.dtype != np.bool_ or features.ndim != 3:
        got = f"{getattr(features, 'dtype', type(features).__name__)} of shape {getattr(features, 'shape', None)}"
        fail(
            argument,
            "must be a bool array (class, feature, sample)",
            got,
            "Convert it with np.asarray(...).astype(bool), or sample one with sample_features.",
        )
    if 0 in features.shape:
        fail(
            argument,
            "must have at least one class, one feature and one sample",
            f"shape {features.shape}",
            "An empty chunk has nothing to train on; give samples.",
        )
