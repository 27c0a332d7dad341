"""Hold out a test set that has every class in its share."""

from __future__ import annotations

import numpy as np
import torch

from dashtheory._check import fail, numpy_generator, real
from dashtheory.deep.data.images import ImageSet


def stratified_split(
    images: ImageSet, test_share: float, generator: np.random.Generator
) -> tuple[ImageSet, ImageSet]:
    """Split `images` at random into (train, test), class by class.

    Of a class with n pictures, `test_share` * n go to the test set, rounded to the nearest integer (half goes
    up). Both parts keep the order of `images`.

    Args:
        images: what to split.
        test_share: in (0, 1).
        generator: of the choice.

    Raises:
        ValueError: if a part of some class would be empty.
    """
    real("test_share", test_share, low=0.0, high=1.0, open_low=True, fix="Give the share to hold out.")
    numpy_generator("generator", generator)
    labels = images.labels.numpy()
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = int(test_share * len(members) + 0.5)
        if not 0 < count < len(members):
            rule = "must leave each class at least one picture in train and one in test"
            got = f"{test_share:g} of the {len(members)} pictures of class {label}"
            fail("test_share", rule, got, "Choose another share, or add pictures.")
        held_out[generator.permutation(members)[:count]] = True
    chosen = torch.from_numpy(held_out)
    return images.take((~chosen).nonzero()[:, 0]), images.take(chosen.nonzero()[:, 0])
