"""Concatenated rectifiers: every unit says both of its signs, so that none is ever silent.

    x -> (relu(x), relu(-x))

Source: Shang et al. (ICML 2016, arXiv:1603.05201); against loss of plasticity Abbas et al., "Loss of plasticity in
continual deep reinforcement learning" (CoLLAs 2023, arXiv:2303.07507).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dashtheory.rules.swaps import Doubling, SideBySide


class CReLU(SideBySide):
    """(relu(x), relu(-x)), side by side.

    Args:
        axis: of the features.
    """

    def both(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Both signs."""
        return inputs.relu(), (-inputs).relu()


@dataclass(frozen=True, kw_only=True)
class Concatenated(Doubling):
    """Train with concatenated rectifiers in place of all activations, layers before them half as wide.

    Cost: less than the network's own, since layers are narrower.

    Attributes:
        partly: as in `Doubling`.
    """

    name: ClassVar[str] = "crelu"

    def doubled(self, axis: int) -> CReLU:
        """CReLU."""
        return CReLU(axis)
