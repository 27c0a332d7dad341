"""Networks for DASH: the smallest ones, and linear layers whose descent is known."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from tests.oracles.shrink import NUM_CLASSES, Chunk


def pair(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Two linear layers, the smallest network with something before and something after."""
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, NUM_CLASSES)).to(dtype)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def equal_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[name].nan_to_num(7.0), right[name].nan_to_num(7.0)) for name in left
    )


class OnlyFirst(nn.Module):
    """A network that never calls its second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(2, 2), nn.Conv1d(2, 2, 2)

    def forward(self, value: Tensor) -> Tensor:
        """Output of the first layer."""
        out: Tensor = self.used(value)
        return out


# A linear layer on the rows of a matrix D, with the loss -sum_i <w_i, d_i>: its descent is D itself.


def holding(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    layer.weight = nn.Parameter(weight.clone())
    return layer


def toward(descent: Tensor) -> Chunk:
    return descent, torch.eye(len(descent), dtype=descent.dtype)


def minus_inner(output: Tensor, target: Tensor) -> Tensor:
    return -(output * target).sum()


# Two decimals: a random direction, whose norm is never so small that cancellation drowns it.
ENTRIES = st.integers(-999, 999).map(lambda n: n / 100)
MATRICES = arrays(np.float64, (2, 3), elements=ENTRIES)
