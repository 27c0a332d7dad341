"""Parseval regularization: the rows of hidden weights stay orthogonal and of one length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import integer, real
from dashtheory.rules.matrices import LayerWeight, layer_weights
from dashtheory.rules.rule import RuleState, WhileTraining, ablation, flag


@dataclass(frozen=True, kw_only=True)
class Parseval(WhileTraining):
    """Parseval regularization: rows of hidden weights are pulled to be orthogonal and of one length.

    Kernels are laid out in rows, one an output; width is the number of rows (the paper has one width for its
    networks). Where there are more rows than columns, they cannot all be orthogonal, and the penalty stays above
    zero, as published.

    Formula: loss + strength x sum over layers of (64 / width)^2 ||W W' - s I||_F^2, in every stage.

    Published: s=2, on all but the last layer, with a strength of 1e-3 for gridworlds and 1e-4 for others.

    Cost: a product of each weight matrix with itself a step; no pass over the data.

    Source: Chung, Cherif, Precup & Meger (NeurIPS 2024, arXiv:2412.07224) and the facts of its code.

    Elsewhere: the paper adds a learnable diagonal layer to keep the network expressive; the network is left as it
    is here. FIRE's comparison has s=1, all layers and no factor of width: `parseval:s=1:last=yes:by_width=no`; it
    also pulls scales of norm layers to 1, which is not done here.

    Attributes:
        strength: >= 0; published 1e-3 for gridworlds, 1e-4 for others.
        s: squared length of a row, > 0; 2 as published (the square of the gain of ReLU).
        last: whether the last layer counts; not as published.
        by_width: whether there is the factor (64 / width)^2.
        groups: rows are cut into so many groups of neighbours, as even as can be, and pulled to be orthogonal to
            those of their own group alone (a block-diagonal Gram matrix), an option of the paper's code; 1: all.
        angles: whether rows are divided by their lengths first, another option there, so that angles between
            them count and lengths do not; s plays no part then.
    """

    strength: float = ablation(1e-3)
    s: float = ablation(2.0)
    last: bool = ablation(False)
    by_width: bool = ablation(True)
    groups: int = ablation(1)
    angles: bool = ablation(False)
    name: ClassVar[str] = "parseval"
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        real("s", self.s, low=0, open_low=True, fix="It is the squared length of a row.")
        flag("last", self.last)
        flag("by_width", self.by_width)
        integer("groups", self.groups, minimum=1, fix="1 takes all rows together.")
        flag("angles", self.angles)

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The penalty of the model's weights at the time of the call; None for a network of one layer."""
        weights = layer_weights(model, last=self.last)
        if not self.strength or not weights:
            return None
        return lambda: torch.stack([self._of(weight) for weight in weights]).sum() * self.strength

    def _of(self, weight: LayerWeight) -> Tensor:
        matrix = weight.matrix()
        factor = (64 / len(matrix)) ** 2 if self.by_width else 1.0
        s = 1.0 if self.angles else self.s
        rows = nn.functional.normalize(matrix, dim=1) if self.angles else matrix
        parts = rows.tensor_split(min(self.groups, len(rows)))
        return factor * torch.stack([gram_defect(part, s) for part in parts]).sum()


def gram_defect(matrix: Tensor, s: float = 1.0) -> Tensor:
    """||W W' - s I||_F^2 of a matrix (rows, columns)."""
    gram = matrix @ matrix.T
    found: Tensor = (gram - s * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).square().sum()
    return found
