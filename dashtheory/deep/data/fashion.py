"""Fashion-MNIST from the four official idx files."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dashtheory._check import fail
from dashtheory.deep.data.fetch import OfficialFile, obtain
from dashtheory.deep.data.images import ImageData, ImageSet, image_data

_PAGE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_UNSIGNED_BYTE = 8  # the idx format's code of the type
_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True, kw_only=True)
class FashionPart:
    """A file of pictures (count, 28, 28) and one of labels (count,), both idx and compressed by gzip."""

    images: OfficialFile
    labels: OfficialFile
    count: int


def _file(name: str, md5: str) -> OfficialFile:
    return OfficialFile(name=name, url=_PAGE + name, md5=md5)


TRAIN = FashionPart(
    images=_file("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    labels=_file("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    count=60_000,
)
TEST = FashionPart(
    images=_file("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
    labels=_file("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    count=10_000,
)


def fashion_mnist(root: Path | str, *, download: bool = False) -> ImageData:
    """Fashion-MNIST: 60,000 + 10,000 grey pictures, 28 x 28, of 10 kinds of clothing.

    Source: H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747.

    Args:
        root: folder with the four `.gz` files.
        download: whether to get what is not there (30 MB).

    Raises:
        ValueError: if a file is missing, another file, or not laid out as its source says.
    """
    return read_fashion(TRAIN, TEST, root, download=download)


def read_fashion(train: FashionPart, test: FashionPart, root: Path | str, *, download: bool = False) -> ImageData:
    """Read the files described by `train` and `test`; arguments and errors as `fashion_mnist`."""
    sha256: dict[str, str] = {}

    def read(file: OfficialFile, shape: tuple[int, ...]) -> torch.Tensor:
        found = obtain(file, root, download=download)
        sha256[file.name] = found.sha256
        return torch.from_numpy(read_idx(found.path, shape))

    def pictures(part: FashionPart) -> ImageSet:
        images, labels = read(part.images, (part.count, 28, 28)), read(part.labels, (part.count,))
        return ImageSet(images[:, None], labels.to(torch.int64))

    return image_data(pictures(train), pictures(test), _CLASSES, "Fashion-MNIST", source=_PAGE, sha256=sha256)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Read unsigned bytes of a known shape from an idx file compressed by gzip.

    The file is: two zero bytes, the type code 8, the number of axes, each axis as a big-endian 4-byte integer,
    then the values, the last axis fastest. Not a byte more than the shape needs is unpacked, save one.

    Raises:
        ValueError: if the file is damaged, or holds another type, shape or length.
    """
    header = struct.pack(f">HBB{len(shape)}I", 0, _UNSIGNED_BYTE, len(shape), *shape)
    size = int(np.prod(shape))
    try:
        with gzip.open(path) as file:
            found = file.read(len(header))
            content = file.read(size + 1)
    except (EOFError, zlib.error, OSError) as error:
        fail("file", "must be whole", f"'{path}' ({error})", "Get it again: it is damaged or truncated.")
    if found != header or len(content) != size:
        rule = f"must be an idx file of bytes with shape {shape} (header {header.hex()})"
        got = f"'{path}' (header {found.hex()}, {len(content):,} bytes)"
        fail("file", rule, got, "Get the official file.")
    return np.frombuffer(content, np.uint8).reshape(shape).copy()
