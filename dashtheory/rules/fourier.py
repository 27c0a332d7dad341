"""Deep Fourier features: a sine and a cosine in the place of every activation, one of them nearly linear anywhere.

    x -> (sin x, cos x)

Source: Lewandowski, Schuurmans & Machado, "Plastic learning with deep Fourier features" (ICLR 2025,
arXiv:2410.20634).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dashtheory.rules.swaps import Doubling, SideBySide


class Fourier(SideBySide):
    """(sin x, cos x), side by side.

    Args:
        axis: of the features.
    """

    def both(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Sine and cosine."""
        return inputs.sin(), inputs.cos()


@dataclass(frozen=True, kw_only=True)
class DeepFourier(Doubling):
    """Train with sines and cosines in place of all activations, layers before them half as wide.

    Cost: less than the network's own, since layers are narrower.

    Attributes:
        partly: as in `Doubling`.
    """

    name: ClassVar[str] = "fourier"

    def doubled(self, axis: int) -> Fourier:
        """Sine and cosine."""
        return Fourier(axis)
