"""Data sets of independent features, and the feature probabilities of the paper."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dashtheory._check import fail, integer, numpy_generator, real
from dashtheory.discrete.packed import PackedFeatures


def paper_probabilities(
    generator: np.random.Generator,
    *,
    num_classes: int = 2,
    num_features: int = 50,
    max_probability: float = 0.2,
) -> NDArray[np.float64]:
    """Draw the feature probabilities of the paper's synthetic setting.

    Each class: K values uniform on [0, max_probability], sorted downwards (the authors' notebook).

    Args:
        generator: source of the C * K draws, class by class.
        num_classes: C.
        num_features: K.
        max_probability: upper end, in [0, 1].

    Returns:
        float64 (C, K).

    Raises:
        ValueError: if a size is not positive or `max_probability` lies outside [0, 1].
    """
    generator = numpy_generator("generator", generator)
    num_classes = integer("num_classes", num_classes, minimum=1, fix="Give the number of classes.")
    num_features = integer("num_features", num_features, minimum=1, fix="Give the features per class.")
    top = real("max_probability", max_probability, low=0, high=1, fix="It is a probability.")
    return np.sort(generator.uniform(0, top, size=(num_classes, num_features)), axis=1)[:, ::-1].copy()


def check_probabilities(probabilities: ArrayLike, argument: str = "probabilities") -> NDArray[np.float64]:
    """Return `probabilities` as float64 (C, K), or raise ValueError, naming the argument, if they are none."""
    try:
        values = np.asarray(probabilities, dtype=np.float64)
    except (ValueError, TypeError) as error:
        fail(argument, "must be numbers of shape (C, K)", repr(probabilities), f"Mend the array: {error}.")
    if values.ndim != 2 or 0 in values.shape:
        fail(
            argument,
            "must have shape (C, K), class and feature",
            f"shape {values.shape}",
            "Add a class axis for a single class: probabilities[None].",
        )
    inside = (values >= 0) & (values <= 1)  # False for NaN
    if not inside.all():
        where = tuple(int(i) for i in np.argwhere(~inside)[0])
        fail(
            argument,
            "must lie in [0, 1]",
            f"{values[where]} at class {where[0]}, feature {where[1]}",
            "Clip or rescale the values.",
        )
    return values


def sample_packed(probabilities: ArrayLike, num_samples: int, generator: np.random.Generator) -> PackedFeatures:
    """Draw samples whose features are independent Bernoulli variables, packed.

    Args:
        probabilities: (C, K), the chance that a sample of class c shows feature k.
        num_samples: n, samples per class.
        generator: source of C * K * n uniform draws, in that order of axes.

    Returns:
        `PackedFeatures` of shape (C, K, n).

    Raises:
        ValueError: for probabilities outside [0, 1] or n < 1.
    """
    values = check_probabilities(probabilities)
    generator = numpy_generator("generator", generator)
    num_samples = integer("num_samples", num_samples, minimum=1, fix="Give the samples per class.")
    packed = np.zeros((*values.shape, -(-num_samples // 64) * 8), dtype=np.uint8)
    for index, probability in np.ndenumerate(values):
        shown = generator.random(num_samples) < probability
        packed[index][: -(-num_samples // 8)] = np.packbits(shown, bitorder="little")
    return PackedFeatures(words=packed.view("<u8").astype(np.uint64, copy=False), num_samples=num_samples)


def sample_features(
    probabilities: ArrayLike, num_samples: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw the same samples as `sample_packed`, unpacked.

    Args:
        probabilities: (C, K), the chance that a sample of class c shows feature k.
        num_samples: n, samples per class.
        generator: source of the draws.

    Returns:
        bool (C, K, n).

    Raises:
        ValueError: for probabilities outside [0, 1] or n < 1.
    """
    return sample_packed(probabilities, num_samples, generator).unpack()
