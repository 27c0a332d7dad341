"""Pictures and their classes: the one form in which every source hands over its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dashtheory._check import fail


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Pictures of one size and the class of each.

    Attributes:
        images: uint8 tensor (n, channels, height, width), grey levels 0 to 255.
        labels: int64 tensor (n,), each the rank of a class, 0, 1, 2, ...

    Raises:
        ValueError: for other types or shapes, for lengths that differ, for no picture, for a negative label.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            got = f"{self.images.dtype} of shape {tuple(self.images.shape)}"
            fail("images", "must be uint8 of shape (n, channels, height, width)", got, "Convert and reshape them.")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            got = f"{self.labels.dtype} of shape {tuple(self.labels.shape)}"
            fail("labels", f"must be int64 of shape ({len(self.images)},)", got, "Give one label per picture.")
        if not self.images.numel():
            got = f"shape {tuple(self.images.shape)}"
            fail("images", "must hold at least one pixel", got, "An empty set has nothing to learn.")
        if int(self.labels.min()) < 0:
            fail("labels", "must be >= 0", str(int(self.labels.min())), "Number the classes from 0.")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Tensor) -> ImageSet:
        """The pictures at `index` (int64), in that order."""
        return ImageSet(self.images[index], self.labels[index])


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set of pictures: what to train on, what to test on, and where both come from.

    Attributes:
        train: pictures of the same channels, height and width.
        test: pictures of the same channels, height and width.
        classes: name of each class, by its label.
        name: of the data set, for tables and figures.
        facts: what to keep with results: "source", "train" and "test" (numbers of pictures), "shape" of one
            picture, "sha256" of what was read. Numbers, strings, lists and dicts only (JSON).

    Raises:
        ValueError: if the shapes differ, a class has no name of its own, or a label has no class.
    """

    train: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    name: str
    facts: Mapping[str, object]

    def __post_init__(self) -> None:
        train, test = (tuple(part.images.shape[1:]) for part in (self.train, self.test))
        if train != test:
            fail("test", f"must hold pictures like those of train, {train}", str(test), "Resize one of them.")
        if len(set(self.classes)) < len(self.classes):
            fail("classes", "must be distinct names", str(self.classes), "Rename the one that repeats.")
        for part, images in (("train", self.train), ("test", self.test)):
            highest = int(images.labels.max())
            if highest >= len(self.classes):
                rule = f"must have labels below the number of classes, {len(self.classes)}"
                fail(part, rule, str(highest), "Name every class.")


def image_data(
    train: ImageSet, test: ImageSet, classes: tuple[str, ...], name: str, *, source: str, sha256: object
) -> ImageData:
    """An `ImageData` with the facts that every source records.

    Args:
        train: as in `ImageData`.
        test: as in `ImageData`.
        classes: as in `ImageData`.
        name: as in `ImageData`.
        source: where the data come from.
        sha256: of what was read, a hash or a dict of file name -> hash.
    """
    facts = {
        "source": source,
        "train": len(train),
        "test": len(test),
        "shape": list(train.images.shape[1:]),
        "sha256": sha256,
    }
    return ImageData(train, test, classes, name, facts)
