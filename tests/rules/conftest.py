"""Every test of rules starts from the same random numbers."""

import warnings
from collections.abc import Iterator

import pytest
import torch

from dashtheory.rules import PartlyShrunk


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _toys_of_embeddings() -> Iterator[None]:
    """Some toys hold more embeddings than layers, so that rules warn, which test_left.py watches for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartlyShrunk)
        yield
