"""Street View House Numbers, cropped digits, from the official MATLAB files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat

from dashtheory._check import fail
from dashtheory.deep.data.fetch import OfficialFile, obtain
from dashtheory.deep.data.images import ImageData, ImageSet, image_data

_PAGE = "http://ufldl.stanford.edu/housenumbers/"


@dataclass(frozen=True, kw_only=True)
class SvhnPart:
    """A MATLAB file with X (32, 32, 3, count) uint8 and y (count, 1), labels 1 to 10, where 10 is the digit 0."""

    file: OfficialFile
    count: int


TRAIN = SvhnPart(
    file=OfficialFile(
        name="train_32x32.mat", url=f"{_PAGE}train_32x32.mat", md5="e26dedcc434d2e4c54c9b2d4a06d8373"
    ),
    count=73_257,
)
TEST = SvhnPart(
    file=OfficialFile(name="test_32x32.mat", url=f"{_PAGE}test_32x32.mat", md5="eb5a983be6a315427106f1b164d9cef3"),
    count=26_032,
)


def svhn(root: Path | str, *, download: bool = False) -> ImageData:
    """SVHN, cropped: 73,257 + 26,032 colour pictures, 32 x 32, of the digits 0 to 9.

    Source: Y. Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011.

    Args:
        root: folder with `train_32x32.mat` and `test_32x32.mat`.
        download: whether to get what is not there (174 MB and 61 MB).

    Raises:
        ValueError: if a file is missing, another file, or not laid out as its source says.
    """
    return read_svhn(TRAIN, TEST, root, download=download)


def read_svhn(train: SvhnPart, test: SvhnPart, root: Path | str, *, download: bool = False) -> ImageData:
    """Read the two files described by `train` and `test`; arguments and errors as `svhn`."""
    found = [obtain(part.file, root, download=download) for part in (train, test)]
    return image_data(
        _read(found[0].path, train.count),
        _read(found[1].path, test.count),
        tuple(map(str, range(10))),
        "SVHN",
        source=_PAGE,
        sha256={file.path.name: file.sha256 for file in found},
    )


def _read(path: Path, count: int) -> ImageSet:
    try:
        content = loadmat(path, variable_names=["X", "y"])
        pixels, labels = np.asarray(content["X"]), np.asarray(content["y"]).ravel()
    except Exception as error:  # scipy raises whatever the bytes lead to
        fail("file", "must be a MATLAB file with X and y", f"'{path}' ({error})", "Get the official file.")
    good = pixels.dtype == np.uint8 and pixels.shape == (32, 32, 3, count) and labels.shape == (count,)
    if not good or not np.isin(labels, range(1, 11)).all():
        rule = f"must hold X of shape (32, 32, 3, {count}) and {count} labels from 1 to 10"
        got = f"X {pixels.dtype} {pixels.shape}, y {labels.shape} in '{path}'"
        fail("file", rule, got, "Get the official file.")
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)))
    return ImageSet(images, torch.from_numpy(labels.astype(np.int64) % 10))
