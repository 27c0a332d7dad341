"""A network and chunks for measures of any model, and the traces that a measure may not leave."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dashtheory.stream import Examples


def net(seed: int = 0) -> nn.Module:
    """Convolutions, batch norm, dropout and a linear layer, in training mode after a few batches."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 2, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(6, 3),
    )
    for _ in range(3):
        model(torch.randn(8, 1, 4, 4))
    return model


def examples(number: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 1, 4, 4, generator=generator)
    return Examples(inputs, torch.randint(3, (number,), generator=generator))


CHUNKS = (examples(12, 1), examples(9, 2), examples(7, 3))


def traces(model: nn.Module) -> list[Tensor]:
    """Everything that a measure could have touched."""
    states = [value.clone() for value in model.state_dict().values()]
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    modes = torch.tensor([part.training for part in model.modules()])
    hooks = torch.tensor([len(part._forward_hooks) for part in model.modules()])
    return [*states, *grads, torch.get_rng_state(), modes, hooks]
