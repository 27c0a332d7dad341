"""What a rule does to optimizers: their objects stay, because schedules, scalers and strategies hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def cleared(optimizers: Sequence[Any], value: Tensor | None = None) -> torch.optim.Optimizer:
    """The first of some optimizers, with the state of all cleared, that of those inside of them too.

    Args:
        optimizers: at least one.
        value: the tensor whose state is cleared; None for that of all.
    """
    for one in optimizers:
        layer = one
        while layer is not None:
            if value is None:
                layer.state.clear()
            else:
                layer.state.pop(value, None)
            layer = getattr(layer, "optimizer", None) or getattr(layer, "base_optimizer", None)
    first: torch.optim.Optimizer = optimizers[0]
    return first


@contextmanager
def touched_cleared(model: nn.Module, optimizers: Sequence[Any]) -> Iterator[None]:
    """Clear the state of the parameters that change inside.

    Args:
        model: whose parameters.
        optimizers: of these.
    """
    before = [(value, value.detach().clone()) for value in model.parameters()]
    yield
    for value, old in before:
        if not torch.equal(value, old):
            cleared(optimizers, value)
