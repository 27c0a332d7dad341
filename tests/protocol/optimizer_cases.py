"""A network, batches and steps for optimizers."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.batchnorm import frozen_running_statistics


def net(*, norm: bool = True, seed: int = 0) -> nn.Sequential:
    """A small network with more than one parameter tensor."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norms = [nn.BatchNorm1d(6)] if norm else []
        return nn.Sequential(nn.Linear(4, 6), *norms, nn.Tanh(), nn.Linear(6, 3))


def batches(num: int, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 4, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(num)
    ]


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor]) -> None:
    """A step as one training loop makes it for every optimizer."""
    calls = 0

    def closure() -> float:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        with frozen_running_statistics(model) if calls > 1 else nullcontext():
            loss = loss_of(model, batch)
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)


def bits(model: nn.Module) -> list[bytes]:
    return [value.numpy().tobytes() for value in model.state_dict().values()]


def scalars(*values: float) -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor([value], dtype=torch.float64)) for value in values]
