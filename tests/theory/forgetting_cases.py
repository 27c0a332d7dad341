"""A world whose features depend on each other."""

from __future__ import annotations

import numpy as np

from dashtheory.theory import FeatureTable

DEPENDENT = FeatureTable(
    combinations=np.array([[[1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1], [0, 0, 0, 1]]]) == 1,
    frequencies=np.array([[0.43, 0.04, 0.14, 0.08, 0.31]]),
)
"""Here what is learned depends on what was forgotten. With gamma 0.306 n no choice of the limit is closer than
0.01 n: neither between two features nor between a count and gamma."""
