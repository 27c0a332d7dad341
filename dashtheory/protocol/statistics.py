"""Running statistics of normalisation layers, kept out of the way of extra forward passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@contextmanager
def frozen_running_statistics(model: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch and instance norm as they are while training-mode passes run inside.

    SAM's second pass sees the batch of the first at other weights; without this it would count twice. Outputs and
    gradients are those of training mode, from the batch's own statistics. Inside, the layers that were in training
    mode on entry have no running statistics (so do not evaluate or save the model there); after, they have the
    tensors that they had.
    """
    names = ("running_mean", "running_var", "num_batches_tracked")
    layers = [layer for layer in model.modules() if isinstance(layer, _NormBase) and layer.training]
    kept = [(layer, name, getattr(layer, name)) for layer in layers for name in names]
    try:
        for layer, name, _ in kept:
            setattr(layer, name, None)
        yield
    finally:
        for layer, name, value in kept:
            setattr(layer, name, value)
