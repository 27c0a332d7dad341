"""One root seed, spawned into named and independent streams of random numbers.

Every function of the package that draws takes a generator; this module makes them. The stream called `name`
with indices (i, j, ...) depends only on the root seed, the name and the indices, never on what else was drawn:
rules compared within a seed share their data, initialisation and order of batches.
"""

from __future__ import annotations

import random
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from dashtheory._check import integer

if TYPE_CHECKING:
    import torch


def _sequence(seed: int, name: str, index: tuple[int, ...]) -> np.random.SeedSequence:
    seed = integer("seed", seed, minimum=0, fix="Seeds are 0, 1, 2, ...")
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()), *index))


def numpy_stream(seed: int, name: str, *index: int) -> np.random.Generator:
    """Generator of the stream `name`, `index` under the root `seed`.

    Args:
        seed: root seed, >= 0.
        name: what the draws are for ("data", "test data", "init", "order", "perturbation").
        *index: further coordinates, such as the stage.

    Raises:
        ValueError: if `seed` is not an integer >= 0.
    """
    return np.random.default_rng(_sequence(seed, name, index))


def torch_stream(seed: int, name: str, *index: int) -> torch.Generator:
    """CPU generator of torch for the same stream (its draws differ from numpy's).

    Args:
        seed: root seed, >= 0.
        name: what the draws are for ("data", "test data", "init", "order", "perturbation").
        *index: further coordinates, such as the stage.

    Raises:
        ValueError: if `seed` is not an integer >= 0.
    """
    import torch  # here, so that level 1 never loads it

    state = _sequence(seed, name, index).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))


def torch_streams(seed: int, *index: int, prefix: str = "") -> Callable[[str], torch.Generator]:
    """What makes the streams of a seed and index by name, as `torch_stream` does.

    Args:
        seed: as `torch_stream`.
        *index: as `torch_stream`.
        prefix: of all names.
    """
    return lambda name: torch_stream(seed, prefix + name, *index)


@contextmanager
def seeded_globals(value: int) -> Iterator[None]:
    """Seed the global streams of numpy and of `random` inside, and put them back after.

    Code of the user's may draw from them; torch's are seeded by `dashtheory.protocol`.

    Args:
        value: seed, >= 0.
    """
    before, plain_before = np.random.get_state(), random.getstate()  # noqa: NPY002
    np.random.seed(value % 2**32)  # noqa: NPY002
    random.seed(value)
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
        random.setstate(plain_before)


@contextmanager
def untouched_streams() -> Iterator[None]:
    """Put the global random streams back as they were: those of `random`, numpy, and torch if it is there."""
    torch = sys.modules.get("torch")
    plain, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    tensors = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(numbers)  # noqa: NPY002
        if torch:
            torch.set_rng_state(tensors)
