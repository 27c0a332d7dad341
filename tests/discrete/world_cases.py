"""Tables, and features learned at random in a world."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dashtheory.discrete import Mixture

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def learned_in(world: Mixture, seed: int) -> Bools:
    num_classes, _, num_features = world.shape
    return np.random.default_rng(seed).random((num_classes, num_features)) < 0.7
