"""Running statistics of normalisation layers, kept out of the way of extra forward passes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase


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


BATCH_SIZE = 1000


def has_statistics(model: nn.Module) -> bool:
    """Whether the model has batch normalisation with running statistics."""
    return any(isinstance(part, _BatchNorm) and part.track_running_stats for part in model.modules())


def reestimated(model: nn.Module, inputs: Tensor, *, batch_size: int = BATCH_SIZE) -> nn.Module:
    """A copy whose batch-norm statistics are the mean over batches of `inputs`, in evaluation mode.

    Only batch normalisation is put into training mode: dropout stays off. Each batch weighs the same, as in
    `torch.nn.BatchNorm` with momentum None; a last batch too small to have a variance is left out.

    Args:
        model: unchanged.
        inputs: (n, ...), on its device.
        batch_size: examples per batch.

    Returns:
        the copy.
    """
    again = copy.deepcopy(model)
    again.eval()
    norms = [part for part in again.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad(), same_streams(model):
        for batch in inputs.split(batch_size):
            if len(batch) > 1 or len(inputs) == 1:
                again(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return again


def same_streams(model: nn.Module) -> AbstractContextManager[Any]:
    """Put torch's random streams back afterwards."""
    cuda = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    streams: AbstractContextManager[Any] = torch.random.fork_rng(devices=cuda)
    return streams
