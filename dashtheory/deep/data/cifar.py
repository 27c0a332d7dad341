"""CIFAR-10 and CIFAR-100 from the official archives: the binary one, or else the one for Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from dashtheory._check import fail
from dashtheory.deep.data.archive import read_members
from dashtheory.deep.data.fetch import OfficialFile, obtain
from dashtheory.deep.data.images import ImageData, ImageSet, image_data
from dashtheory.deep.data.pickled import (
    CIFAR10_PICKLES,
    CIFAR100_PICKLES,
    PickledFormat,
    find_pickles,
    read_pickles,
)
from dashtheory.errors import NotDownloaded

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_TEXT_BYTES = 1 << 20  # room for the archive's texts and headers


@dataclass(frozen=True, kw_only=True)
class CifarFormat:
    """How an archive of the CIFAR page is laid out.

    A record is `label_bytes` labels, of which the last is used, and then 3 x 32 x 32 grey levels: red, green
    and blue planes, row by row.

    Attributes:
        file: the archive.
        name: of the data set.
        names: member with one class name per line.
        train: members with the records, in order.
        test: members with the records, in order.
        num_train: pictures in them.
        num_test: pictures in them.
        label_bytes: per record.
        pickled: the same pictures in the archive for Python.
    """

    file: OfficialFile
    name: str
    names: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    num_train: int = 50_000
    num_test: int = 10_000
    label_bytes: int = 1
    pickled: PickledFormat


_PAGE = "https://www.cs.toronto.edu/~kriz/"
CIFAR10 = CifarFormat(
    file=OfficialFile(
        name="cifar-10-binary.tar.gz",
        url=f"{_PAGE}cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
    ),
    name="CIFAR-10",
    names="cifar-10-batches-bin/batches.meta.txt",
    train=tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
    test=("cifar-10-batches-bin/test_batch.bin",),
    pickled=CIFAR10_PICKLES,
)
CIFAR100 = CifarFormat(
    file=OfficialFile(
        name="cifar-100-binary.tar.gz",
        url=f"{_PAGE}cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
    ),
    name="CIFAR-100",
    names="cifar-100-binary/fine_label_names.txt",
    train=("cifar-100-binary/train.bin",),
    test=("cifar-100-binary/test.bin",),
    label_bytes=2,
    pickled=CIFAR100_PICKLES,
)


def cifar10(root: Path | str, *, download: bool = False) -> ImageData:
    """CIFAR-10: 50,000 + 10,000 colour pictures, 32 x 32, of 10 classes, from `cifar-10-binary.tar.gz`.

    Where that is not, what torchvision keeps will do, `cifar-10-python.tar.gz` or `cifar-10-batches-py`: the
    same pictures, in the same order (`dashtheory.deep.data.pickled`).

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    Args:
        root: folder with the archive, or the archive.
        download: whether to get the binary one if it is not there (162 MB).

    Raises:
        ValueError: if the archive is missing, another file, or not laid out as its source says.
    """
    return read_cifar(CIFAR10, root, download=download)


def cifar100(root: Path | str, *, download: bool = False) -> ImageData:
    """CIFAR-100 with its 100 fine classes, from `cifar-100-binary.tar.gz` (161 MB); else as `cifar10`."""
    return read_cifar(CIFAR100, root, download=download)


def read_cifar(form: CifarFormat, root: Path | str, *, download: bool = False) -> ImageData:
    """Read an archive laid out as `form` says; arguments and errors as `cifar10`."""
    root = Path(root).expanduser()
    if not root.is_dir() and (
        root.name == form.file.name or (root.name == form.pickled.archive and not root.exists())
    ):
        root = root.parent  # the archive was named in place of its folder
    pickles = find_pickles(form.pickled, root)
    if pickles is not None and not (root / form.file.name).exists():
        read = read_pickles(form.pickled, pickles, form.num_train, form.num_test)
        url = f"{_PAGE}{form.pickled.archive}"
        return image_data(read.train, read.test, read.classes, form.name, source=url, sha256=read.sha256)
    unpacked = root / PurePosixPath(form.names).parts[0]
    if unpacked.is_dir() and not download and not (root / form.file.name).exists():
        fix = f"Put it there (from {form.file.url}), or say download=True."
        got = f"'{unpacked}', unpacked, whose checksums are not published"
        fail("root", f"must hold '{form.file.name}' itself", got, fix, error=NotDownloaded)
    found = obtain(form.file, root, download=download)
    wanted = {form.names, *form.train, *form.test}
    bound = (form.num_train + form.num_test) * (form.label_bytes + _PIXELS) + _TEXT_BYTES
    members = {
        str(name): content for name, content in read_members(found.path, max_bytes=bound) if str(name) in wanted
    }
    missing = sorted(wanted - set(members))
    if missing:
        fail("archive", f"must hold {missing[0]}", f"'{found.path}' without it", "Get the official file.")
    classes = tuple(line.strip() for line in members[form.names].decode().splitlines() if line.strip())
    return image_data(
        _records(form, members, form.train, form.num_train),
        _records(form, members, form.test, form.num_test),
        classes,
        form.name,
        source=form.file.url,
        sha256={form.file.name: found.sha256},
    )


def _records(form: CifarFormat, members: Mapping[str, bytes], names: tuple[str, ...], count: int) -> ImageSet:
    content = b"".join(members[name] for name in names)
    length = form.label_bytes + _PIXELS
    if len(content) != count * length:
        rule = f"must hold {count:,} records of {length} bytes in {', '.join(names)}"
        fail("archive", rule, f"{len(content):,} bytes", "Get the official file.")
    records = np.frombuffer(content, np.uint8).reshape(count, length)
    images = torch.from_numpy(records[:, form.label_bytes :].copy()).reshape(count, *_SHAPE)
    return ImageSet(images, torch.from_numpy(records[:, form.label_bytes - 1].astype(np.int64)))
