"""Handwritten digits that come with scikit-learn: nothing is downloaded."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import import_module

import numpy as np
import torch

from dashtheory._check import fail
from dashtheory.deep.data.images import ImageData, ImageSet, image_data
from dashtheory.deep.data.split import stratified_split
from dashtheory.seeds import numpy_stream

_TEST_SHARE = 0.2
_LEVELS = 15  # grey levels per step: 0..16 becomes 0..240


@cache
def digits() -> ImageData:
    """The 1,797 digits of `sklearn.datasets.load_digits`: grey, 8 x 8, values 0..16 stored as 0..240.

    A fifth of each class is the test set. The split is the same everywhere and always: its draws come from the
    stream "digits split" of the seed 0.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (the test part).

    Raises:
        ValueError: if scikit-learn is not installed.
    """
    try:
        found = import_module("sklearn.datasets").load_digits()
    except ImportError:
        fail("digits", "must come with scikit-learn", "no such package", "Install it: pip install scikit-learn.")
    values = np.ascontiguousarray(found.images * _LEVELS).astype(np.uint8)
    labels = np.ascontiguousarray(found.target, dtype=np.int64)
    pictures = ImageSet(torch.from_numpy(values)[:, None], torch.from_numpy(labels))
    train, test = stratified_split(pictures, _TEST_SHARE, numpy_stream(0, "digits split"))
    return image_data(
        train,
        test,
        tuple(map(str, range(10))),
        "digits",
        source="sklearn.datasets.load_digits",
        sha256=hashlib.sha256(values.tobytes() + labels.tobytes()).hexdigest(),
    )
