"""Training goes on after a rule as if there had been no pass: streams, modes and gradients are put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dashtheory.batchnorm import same_streams
from dashtheory.seeds import seeded_globals


@contextmanager
def undisturbed(model: nn.Module, loaders: Iterable[object], seed: int) -> Iterator[None]:
    """Seed all global streams inside, without autocast; put back what a pass over loaders may move.

    That is the streams of torch, numpy and `random`, generators of the loaders and of their samplers, the mode of
    every module, and gradients: there are none inside.

    Args:
        model: that the rule changes.
        loaders: that are gone through.
        seed: of the streams inside, >= 0.
    """
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(value, value.grad) for value in model.parameters()]
    generators = [(one, one.get_state()) for one in _generators(loaders)]
    kinds = {value.device.type for value in model.parameters()} or {"cpu"}
    for value, _ in gradients:
        value.grad = None
    try:
        with same_streams(model), seeded_globals(seed), torch.autocast(kinds.pop(), enabled=False):
            seed_(model, seed)
            yield
    finally:
        for module, training in modes:
            module.training = training
        for value, gradient in gradients:
            value.grad = gradient
        for one, state in generators:
            one.set_state(state)


def seed_(model: nn.Module, seed: int) -> None:
    """Seed torch's global streams, those of the CPU and of the model's GPUs alone.

    Args:
        model: that tells which these are.
        seed: >= 0.
    """
    torch.default_generator.manual_seed(seed)
    for device in {value.device for value in model.parameters() if value.device.type == "cuda"}:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _generators(loaders: Iterable[object]) -> list[torch.Generator]:
    """Of loaders, their samplers and batch samplers, each once."""
    found: dict[int, Any] = {}
    for loader in loaders:
        batch_sampler = getattr(loader, "batch_sampler", None)
        for one in (loader, getattr(loader, "sampler", None), getattr(batch_sampler, "sampler", None)):
            generator = getattr(one, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
    return list(found.values())
