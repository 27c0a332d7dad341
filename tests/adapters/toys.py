"""A small network, two chunks, and what `dash_` by hand makes of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.rules import dash_

LOSS = functional.cross_entropy


def chunk(seed: int, number: int = 24) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(number, 5, generator=stream), torch.randint(3, (number,), generator=stream)


OLD, NEW = chunk(1), chunk(2)


def network(*, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(5, 16), *[nn.BatchNorm1d(16)] * norm, nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)]
    return nn.Sequential(*layers)


def shrunk(model: nn.Module, chunks: Sequence[Any] = (OLD, NEW), **options: Any) -> nn.Module:
    again = copy.deepcopy(model)
    dash_(again, chunks, LOSS, **{"lam": 0.05, **options})
    return again


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        LOSS(model(OLD[0]), OLD[1]).backward()
        optimizer.step()
    optimizer.zero_grad()


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
