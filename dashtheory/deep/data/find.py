"""Data sets by name, for command lines and scripts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dashtheory._check import choice, fail
from dashtheory._door import door
from dashtheory.deep.data.cifar import CIFAR10, cifar10, cifar100
from dashtheory.deep.data.fashion import fashion_mnist
from dashtheory.deep.data.folder import image_folder
from dashtheory.deep.data.handwritten import digits
from dashtheory.deep.data.images import ImageData
from dashtheory.deep.data.pickled import find_pickles
from dashtheory.deep.data.street_view import svhn
from dashtheory.deep.data.tiny import tiny_imagenet

CIFAR10_VARIABLE = "DASHTHEORY_CIFAR10"
_OFFICIAL: dict[str, Callable[..., ImageData]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "svhn": svhn,
    "fashion_mnist": fashion_mnist,
}
_CIFAR10_SHAPE = (3, 32, 32)


@door()
def find_data(
    name: str, *, size: int | None = None, download: bool = False, cache: Path | str | None = None
) -> ImageData:
    """The data set called `name`.

    Args:
        name: "digits"; "folder:PATH" (see `image_folder`); "cifar10:ROOT", "cifar100:ROOT", "svhn:ROOT",
            "fashion_mnist:ROOT" or "tiny_imagenet:ROOT" with the folder of the official files; or "cifar10" alone:
            what the environment variable DASHTHEORY_CIFAR10 points to (see `cifar10_available`).
        size: height and width to stretch every picture of a folder to (see `image_folder`); None keeps theirs,
            which must be one. Official pictures have one size, and `make_stream` shrinks them.
        download: whether to download official files that are missing.
        cache: folder for decoded pictures; see `cache_folder`.

    Raises:
        ValueError: if there is no such data set, or as its source.
    """
    kind, colon, place = name.partition(":")
    choice("name", kind, ("digits", "folder", *_OFFICIAL, "tiny_imagenet"))
    if size is not None and kind != "folder":
        fail("size", "must be left out for official pictures", str(size), "Give it to make_stream.")
    if kind == "digits" and not colon:
        return digits()
    if kind == "cifar10" and not colon:
        return _local_cifar10(cache)
    if kind == "digits" or not place:
        rule = "must be digits, cifar10, folder:PATH or KIND:ROOT"
        fail("name", rule, repr(name), f"Say {kind if kind == 'digits' else kind + ':' + 'PATH'}.")
    if kind == "folder":
        return image_folder(place, size=size, cache=cache)
    if kind == "tiny_imagenet":
        return tiny_imagenet(place, download=download, cache=cache)
    return _OFFICIAL[kind](place, download=download)


def cifar10_available() -> bool:
    """Whether DASHTHEORY_CIFAR10 points to something: then `find_data("cifar10")` reads it.

    It may be the official archive, binary or for Python (by its official name), or the folder that holds it, or a
    folder or archive of the pictures in class folders.
    """
    place = os.environ.get(CIFAR10_VARIABLE, "")
    return bool(place) and Path(place).expanduser().exists()


def cifar10_name() -> str:
    """What results on the local CIFAR-10 are called: "CIFAR-10" for the official pixels, else "CIFAR-10 (JPEG)".

    Pictures in class folders are re-encodings as far as is known, and never mixed with the official pixels.
    """
    return "CIFAR-10" if _official_folder() is not None else "CIFAR-10 (JPEG)"


def _official_folder() -> Path | None:
    """Where the official archive, binary or for Python, lies, if that is where the variable points."""
    place = Path(os.environ.get(CIFAR10_VARIABLE, "")).expanduser()
    if place.name == CIFAR10.file.name:
        return place.parent
    there = (place / CIFAR10.file.name).exists() or find_pickles(CIFAR10.pickled, place) is not None
    return place if there else None


def _local_cifar10(cache: Path | str | None) -> ImageData:
    if not cifar10_available():
        got = repr(os.environ.get(CIFAR10_VARIABLE))
        fail(
            CIFAR10_VARIABLE, "must point to CIFAR-10", got, "Set it to a picture archive, a folder or the binary."
        )
    official = _official_folder()
    if official is not None:
        return cifar10(official)
    place = Path(os.environ[CIFAR10_VARIABLE]).expanduser()
    data = image_folder(place, name=cifar10_name(), cache=cache)
    if len(data.classes) != 10 or data.train.images.shape[1:] != _CIFAR10_SHAPE:
        got = f"{len(data.classes)} classes, shape {tuple(data.train.images.shape[1:])} in '{place}'"
        fail(CIFAR10_VARIABLE, "must point to 10 classes of shape (3, 32, 32)", got, "Point it to CIFAR-10.")
    return data
