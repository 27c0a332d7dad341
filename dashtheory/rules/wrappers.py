"""Modules that wrap a model: what rules act on inside, whose processes share it, and what is refused by name."""

from __future__ import annotations

from typing import Any

from torch import nn

_INSIDE = {
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
}
"""Wrappers, and the attribute that holds the model."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of DistributedDataParallel, DataParallel and torch.compile; any other one itself.

    Its parameters are those that the wrapper trains.

    Args:
        model: wrapped or not.
    """
    while attribute := _INSIDE.get(f"{type(model).__module__}.{type(model).__qualname__}"):
        model = getattr(model, attribute)
    return model


def group_of(model: nn.Module) -> Any:
    """The processes that share a model in DistributedDataParallel; None if there is no such wrapper.

    Args:
        model: wrapped or not.
    """
    while attribute := _INSIDE.get(f"{type(model).__module__}.{type(model).__qualname__}"):
        if hasattr(model, "process_group"):
            return model.process_group
        model = getattr(model, attribute)
    return None
