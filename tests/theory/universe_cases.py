"""Small universes of exactly stationary chunks."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from dashtheory.theory.stationary import Universe


def universe_of(
    rows: list[list[int]], copies: list[int], *, num_features: int, num_stages: int, gamma: int, tau: int = 1
) -> Universe:
    """One class; each row lists the features it shows, from 1."""
    shown = [[k + 1 in row for k in range(num_features)] for row in rows]
    return Universe(
        combinations=np.array([shown]), copies=np.array([copies]), num_stages=num_stages, gamma=gamma, tau=tau
    )


def one_sample(num_stages: int, gamma: int = 2) -> Universe:
    """One class, one feature, and one sample per chunk that shows it."""
    return universe_of([[1]], [1], num_features=1, num_stages=num_stages, gamma=gamma)


@st.composite
def universes(draw: st.DrawFn, same_size: bool = False) -> Universe:
    """Up to 3 classes, 5 features, 6 rows with up to 6 copies each, 5 stages."""
    num_classes, num_rows = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    num_features = draw(st.integers(1, 5))
    cells = num_classes * num_rows
    masks = draw(st.lists(st.integers(0, 2**num_features - 1), min_size=cells, max_size=cells))
    copies = np.reshape(draw(st.lists(st.integers(0, 6), min_size=cells, max_size=cells)), (num_classes, -1))
    copies[:, 0] += copies.sum(axis=1) == 0
    if same_size:
        copies[:, 0] += copies.sum(axis=1).max() - copies.sum(axis=1)
    largest = int(copies.sum(axis=1).max())
    num_stages = draw(st.integers(1, 5))
    return Universe(
        combinations=(np.reshape(masks, (num_classes, num_rows, 1)) >> np.arange(num_features)) & 1 == 1,
        copies=copies,
        num_stages=num_stages,
        gamma=draw(st.integers(1, largest + 1) | st.integers(1, largest * num_stages + 1)),
        tau=draw(st.integers(1, 4)),
    )
