"""Points, a network and a task for the protocol."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dashtheory.protocol import Task
from dashtheory.stream import Examples, Stream, cut


def blobs(num: int, seed: int, *, spread: float = 1.0) -> Examples:
    """Two classes of points in the plane."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(num) % 2
    inputs = torch.randn(num, 2, generator=generator) * spread + 2.0 * targets[:, None]
    return Examples(inputs, targets)


def make_net(generator: torch.Generator) -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)
    return net


def make_sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


TASK = Task(make_model=make_net, make_optimizer=make_sgd)
STREAM = Stream(cut(blobs(90, 0), 3), blobs(50, 1))


def bits(model: nn.Module) -> list[bytes]:
    return [value.detach().numpy().tobytes() for value in model.state_dict().values()]
