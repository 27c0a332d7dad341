"""A strategy with the order of hooks of Avalanche 0.6.0 (`BaseSGDTemplate._before_training_exp`), and no more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class SupervisedPlugin:
    """What plugins are made from."""

    def __init__(self) -> None:
        """Nothing to begin with."""


class Naive:
    """Trains on one experience after the other."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, criterion: Any, plugins: Any) -> None:
        self.model, self.optimizer, self._criterion, self.plugins = model, optimizer, criterion, plugins
        self.clock = SimpleNamespace(train_exp_counter=0)
        self.adapted_dataset: Any = None

    def train(self, experience: Dataset[Any]) -> None:
        """One epoch over an experience, in order."""
        self.model.train()
        self.adapted_dataset = experience
        loader = DataLoader(experience, batch_size=8)
        for plugin in self.plugins:
            plugin.before_training_exp(self)
        for inputs, labels, *_ in loader:
            self.optimizer.zero_grad()
            self._criterion(self.model(inputs), labels).backward()
            self.optimizer.step()
        self.clock.train_exp_counter += 1  # the clock comes last
        self.adapted_dataset = None
