"""A loop with an EMA copy of the weights, as trainers of detectors keep: the rule reaches the copy too."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from dashtheory import dash_
from dashtheory.rules import anchored, check_after_step


class ModelEMA:
    """The average that is evaluated and saved: `ema` is a copy of the model."""

    def __init__(self, model: nn.Module, decay: float = 0.99) -> None:
        self.ema, self.decay = copy.deepcopy(model).eval(), decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the weights."""
        for average, value in zip(self.ema.parameters(), model.parameters(), strict=True):
            average.lerp_(value, 1 - self.decay)


def main() -> None:
    """Train on one chunk, shrink model and average, and train on."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer, average = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), ModelEMA(model)
    chunks = [(torch.randn(50, 8), torch.randint(3, (50,))) for _ in range(2)]

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            functional.cross_entropy(model(chunks[0][0]), chunks[0][1]).backward()
            optimizer.step()
            average.update(model)

    train(20)
    with anchored(optimizer, average, model=model):
        report = dash_(model, chunks, functional.cross_entropy)
    train(1)
    left = [check_after_step(report, one).share for one in (model, average.ema)]
    print(f"of the shrink is left: {left[0]:.0%} in the model, {left[1]:.0%} in the average")


if __name__ == "__main__":
    main()
