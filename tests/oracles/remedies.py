"""Published remedies entry by entry, in numpy, from their papers' formulas."""

from __future__ import annotations

import math

import numpy as np

from tests.oracles.shrink import Values


def newton_schulz(matrix: Values, steps: int) -> Values:
    """FIRE's iteration, on the tall form of a matrix."""
    x = matrix.T if matrix.shape[0] < matrix.shape[1] else matrix
    x = x / math.sqrt(sum(entry**2 for entry in x.ravel().tolist()))
    for _ in range(steps):
        x = 1.5 * x - 0.5 * (x @ x.T @ x)
    return x.T if matrix.shape[0] < matrix.shape[1] else x


def fire_by_hand(weight: Values, steps: int, groups: int = 1) -> Values:
    """FIRE of a linear weight or a kernel, group by group and place by place."""
    after = np.array(weight)
    out = weight.shape[0] // groups
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        for place in np.ndindex(weight.shape[2:]):
            index = (rows, slice(None), *place)
            scale = math.sqrt(out / weight.shape[1]) / math.prod(weight.shape[2:])
            after[index] = scale * newton_schulz(weight[index], steps)
    return after
