"""Streams of noise for shrink and perturb, and when two models are the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def everything(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
