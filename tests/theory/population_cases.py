"""Exactly stationary chunks: tables of combinations and their copies."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from dashtheory.theory import FeatureTable


def stationary_data(table: FeatureTable, copies: NDArray[np.int64], num_stages: int) -> NDArray[np.bool_]:
    """Bool (C, K, n): every chunk shows row r of class c exactly copies[c, r] times."""
    chunks = [np.repeat(rows, number, axis=0) for rows, number in zip(table.combinations, copies, strict=True)]
    return np.stack([np.tile(chunk, (num_stages, 1)).T for chunk in chunks])


@st.composite
def stationary_cases(draw: st.DrawFn) -> tuple[FeatureTable, NDArray[np.int64], int, int, float, int]:
    """Chunks that repeat exactly: a table, copies of its rows, chunk size, stages, gamma, tau."""
    num_classes, num_features = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    num_rows, per_class_chunk_size = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    bits = draw(st.lists(st.booleans(), min_size=num_classes * num_rows * num_features, max_size=100))
    rows = np.array(bits[: num_classes * num_rows * num_features]).reshape(num_classes, num_rows, num_features)
    picks = draw(
        st.lists(
            st.integers(0, num_rows - 1),
            min_size=num_classes * per_class_chunk_size,
            max_size=num_classes * per_class_chunk_size,
        )
    )
    copies = np.stack([np.bincount(part, minlength=num_rows) for part in np.reshape(picks, (num_classes, -1))])
    table = FeatureTable(combinations=rows, frequencies=copies / per_class_chunk_size)
    # gamma lies off the integers, so that rounding in frequencies cannot tip a tie.
    gamma = draw(st.integers(0, 3 * per_class_chunk_size)) + 0.5
    return table, copies, per_class_chunk_size, draw(st.integers(1, 4)), gamma, draw(st.integers(1, 4))
