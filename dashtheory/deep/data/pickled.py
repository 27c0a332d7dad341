"""CIFAR in the form that torchvision and others keep it: pickles of Python 2, in an archive or unpacked.

A pickle can run any code. These are read only if their published checksum is right, and even then nothing but
numbers, texts, lists, dictionaries and plain arrays is made of them. The checksums are those of torchvision.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from dashtheory._check import fail
from dashtheory.deep.data.archive import read_members
from dashtheory.deep.data.fetch import hashes
from dashtheory.deep.data.images import ImageSet

_SHAPE = (3, 32, 32)
_ROW_BYTES = 3072 + 128  # of a picture, with its label and the name of its file
_TEXT_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PickledFormat:
    """How a data set of the CIFAR page is laid out in pickles.

    Attributes:
        archive: name of the archive.
        folder: name of the folder in it.
        train: names of files and their published md5, in order.
        test: the same.
        meta: the same, of the file with the names of the classes.
        labels: key of the labels of a file.
        classes: key of the names of the classes.
    """

    archive: str
    folder: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    meta: Mapping[str, str]
    labels: str
    classes: str

    @property
    def files(self) -> dict[str, str]:
        """All of them."""
        return {**self.train, **self.test, **self.meta}


CIFAR10_PICKLES = PickledFormat(
    archive="cifar-10-python.tar.gz",
    folder="cifar-10-batches-py",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
    meta={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
    labels="labels",
    classes="label_names",
)
CIFAR100_PICKLES = PickledFormat(
    archive="cifar-100-python.tar.gz",
    folder="cifar-100-python",
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    meta={"meta": "7973b15100ade9c7d40fb424638fde48"},
    labels="fine_labels",
    classes="fine_label_names",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class PickledPictures:
    """What was read, and the sha256 of what it was read from, by file name."""

    train: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    sha256: dict[str, str]


def find_pickles(form: PickledFormat, root: Path) -> Path | None:
    """The archive or the unpacked folder: below `root`, or `root` itself."""
    if root.name == form.archive and root.is_file():
        return root
    if root.name == form.folder and root.is_dir():
        return root
    there = [root / name for name in (form.archive, form.folder) if (root / name).exists()]
    return there[0] if there else None


def read_pickles(form: PickledFormat, place: Path, num_train: int, num_test: int) -> PickledPictures:
    """Read all pictures.

    Args:
        form: what is there.
        place: the archive or the folder.
        num_train: pictures for training.
        num_test: pictures for testing.

    Raises:
        ValueError: if a file is missing, damaged, or another than the official one.
    """
    bound = (num_train + num_test) * _ROW_BYTES + _TEXT_BYTES
    contents = _files(form, place, bound)
    for name, md5 in form.files.items():
        if name not in contents:
            fail(
                "file", f"must be there: {form.folder}/{name}", f"'{place}' without it", "Get the official files."
            )
        found = hashlib.md5(contents[name], usedforsecurity=False).hexdigest()
        if found != md5:
            rule = f"must be the official '{name}' (md5 {md5})"
            fail("file", rule, f"another in '{place}' (md5 {found})", "Get the official files.")
    read = {name: _Plain(io.BytesIO(content), encoding="latin1").load() for name, content in contents.items()}
    (meta,) = form.meta
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return PickledPictures(
        train=_pictures(form, [read[name] for name in form.train], num_train, place),
        test=_pictures(form, [read[name] for name in form.test], num_test, place),
        classes=tuple(read[meta][form.classes]),
        sha256={place.name: hashes(place)[1]} if place.is_file() else sha256,
    )


def _files(form: PickledFormat, place: Path, bound: int) -> dict[str, bytes]:
    """Contents of the files that are known, by name."""
    if not place.is_dir():
        wanted = {PurePosixPath(form.folder) / name: name for name in form.files}
        return {wanted[name]: content for name, content in read_members(place, max_bytes=bound) if name in wanted}
    try:
        there = {name: place / name for name in form.files if (place / name).is_file()}
        if sum(path.stat().st_size for path in there.values()) > bound:
            fail(
                "file", f"must be of at most {bound:,} bytes with the others", f"more in '{place}'", "Get others."
            )
        return {name: path.read_bytes() for name, path in there.items()}
    except OSError as error:
        reason = error.strerror or str(error)
        fail("file", "must be one that can be read", f"'{error.filename}' ({reason})", "Check the folder.")


class _Plain(pickle.Unpickler):
    """Makes numbers, texts, lists, dictionaries and arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle names."""
        if (module, name) not in _KNOWN:
            fail("pickle", "must hold plain arrays", f"{module}.{name}", "Do not trust this file.")
        return _KNOWN[module, name]


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def _pictures(form: PickledFormat, parts: list[dict[str, Any]], count: int, place: Path) -> ImageSet:
    pixels = np.concatenate([np.asarray(part["data"]) for part in parts])
    labels = np.concatenate([np.asarray(part[form.labels], np.int64) for part in parts])
    if pixels.dtype != np.uint8 or pixels.shape != (count, 3072) or labels.shape != (count,):
        got = f"{pixels.dtype} {pixels.shape} and {labels.shape} in '{place}'"
        fail("file", f"must hold {count:,} pictures of 3072 bytes and labels", got, "Get the official files.")
    return ImageSet(torch.from_numpy(pixels.copy()).reshape(count, *_SHAPE), torch.from_numpy(labels))
