"""Distributions given as a table: each combination of features with its frequency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dashtheory._check import fail, integer, numpy_generator
from dashtheory.discrete import Mixture
from dashtheory.discrete.sample import check_probabilities

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureTable:
    """A distribution of samples given as combinations of features with their frequencies.

    Attributes:
        combinations: bool (C, R, K); row r of class c shows these features.
        frequencies: float64 (C, R), >= 0, each class adding up to 1 (within 1e-9).

    Raises:
        ValueError: if shapes or frequencies do not fit.
    """

    combinations: NDArray[np.bool_]
    frequencies: Floats

    def __post_init__(self) -> None:
        rows, shares = np.asarray(self.combinations), np.asarray(self.frequencies)
        if rows.dtype != np.bool_ or rows.ndim != 3 or 0 in rows.shape:
            fail("combinations", "must be a bool array (C, R, K)", f"{rows.dtype} {rows.shape}", "Convert it.")
        if shares.shape != rows.shape[:2]:
            fail("frequencies", f"must have shape (C, R) = {rows.shape[:2]}", str(shares.shape), "One per row.")
        total = shares.sum(axis=1)
        if not (shares >= 0).all() or not np.allclose(total, 1, rtol=0, atol=1e-9):
            fail("frequencies", "must be >= 0 and add up to 1 in each class", f"{total}", "Divide by their sum.")
        object.__setattr__(self, "combinations", rows)
        object.__setattr__(self, "frequencies", shares.astype(np.float64))

    @classmethod
    def independent(cls, probabilities: ArrayLike) -> FeatureTable:
        """All 2^K combinations of independent features, for small K.

        Args:
            probabilities: (C, K), K <= 16.

        Raises:
            ValueError: if K is larger, or a probability is outside [0, 1].
        """
        p = check_probabilities(probabilities)
        num_features = p.shape[1]
        if num_features > 16:
            fail("probabilities", "must have at most 16 features", str(num_features), "Use population directly.")
        rows = (np.arange(2**num_features)[:, None] >> np.arange(num_features)) & 1 == 1
        chance = np.where(rows, p[:, None, :], 1 - p[:, None, :]).prod(axis=2)
        return cls(combinations=np.broadcast_to(rows, (len(p), *rows.shape)).copy(), frequencies=chance)

    @classmethod
    def sampled(
        cls, distribution: ArrayLike | Mixture, num_rows: int, generator: np.random.Generator
    ) -> FeatureTable:
        """Equally frequent combinations drawn from a world, for many features.

        A share estimated from the rows is off by about 1 / sqrt(num_rows).

        Args:
            distribution: probabilities (C, K) or a `Mixture` (training samples).
            num_rows: R.
            generator: source of draws.

        Raises:
            ValueError: if an argument is out of range.
        """
        mixture = distribution if isinstance(distribution, Mixture) else Mixture.independent(distribution)
        num_rows = integer("num_rows", num_rows, minimum=1, fix="It counts combinations.")
        generator = numpy_generator("generator", generator)
        num_classes, num_components, num_features = mixture.shape
        rows = np.empty((num_classes, num_rows, num_features), dtype=np.bool_)
        for label in range(num_classes):
            component = generator.choice(num_components, size=num_rows, p=mixture.weights[label])
            rows[label] = generator.random((num_rows, num_features)) < mixture.probabilities[label, component]
        return cls(combinations=rows, frequencies=np.full((num_classes, num_rows), 1 / num_rows))
