"""Forgetting between stages: the rule of which cold, warm and ideal are corners.

Before every stage from the second on, each memorised sample is forgotten with probability `phi_noise` and each
learned feature with probability `phi_feature`, independently. A forgotten sample is memorised again, or learned
from; a sample that had been explained by features that are now forgotten is active again.

    (phi_noise, phi_feature) = (0, 0) warm    (1, 0) ideal    (1, 1) cold    (0, 1) keeps the noise alone

Shrinking all weights by one factor cannot tell noise from features (phi_noise = phi_feature); shrinking by
direction is meant to forget noise faster. Derived here, from the three rules of Section 3 of arXiv:2410.23495.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashtheory._check import real


@dataclass(frozen=True)
class Forgetting:
    """What is forgotten between two stages.

    Attributes:
        phi_noise: chance that a memorised sample is forgotten, in [0, 1].
        phi_feature: chance that a learned feature is forgotten, in [0, 1].

    Raises:
        ValueError: if a chance lies outside [0, 1].
    """

    phi_noise: float
    phi_feature: float

    def __post_init__(self) -> None:
        for name in ("phi_noise", "phi_feature"):
            object.__setattr__(self, name, real(name, getattr(self, name), low=0, high=1, fix="It is a chance."))

    def __str__(self) -> str:
        """Name of the rule in tables."""
        return f"forget({_shortest(self.phi_noise)},{_shortest(self.phi_feature)})"


def _shortest(chance: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(chance).removesuffix(".0")


def draw_bits(chance: float, num_stages: int, num_bits: int, generator: np.random.Generator) -> NDArray[np.uint64]:
    """Bits that are set with probability `chance`, independently.

    Args:
        chance: that a bit is set, in [0, 1].
        num_stages: rows.
        num_bits: bits per row.
        generator: source of num_stages * num_bits uniform draws.

    Returns:
        uint64 (num_stages, ceil(num_bits / 64)), zero past the last bit.
    """
    chosen = generator.random((num_stages, num_bits)) < chance
    packed = np.zeros((num_stages, -(-num_bits // 64) * 8), dtype=np.uint8)
    packed[:, : -(-num_bits // 8)] = np.packbits(chosen, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)
