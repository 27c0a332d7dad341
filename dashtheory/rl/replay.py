"""Transitions of R replicas, all of them kept, and the numbers that they are drawn by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dashtheory.rl.environment import Outcome
from dashtheory.seeds import numpy_stream


@dataclass(frozen=True, eq=False)
class Transitions:
    """Transitions of R replicas, n each.

    Attributes:
        observed: before the action, (R, n) or (R, n, features).
        actions: int64 (R, n).
        rewards: float (R, n).
        following: after it, as `observed`.
        terminal: bool (R, n): no value follows.
    """

    observed: Tensor
    actions: Tensor
    rewards: Tensor
    following: Tensor
    terminal: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return self.observed, self.actions, self.rewards, self.following, self.terminal


class Replay:
    """A buffer that every replica fills at the same pace.

    Attributes:
        size: transitions of each replica so far.
    """

    def __init__(self, observed: Tensor, capacity: int) -> None:
        """Begin empty.

        Args:
            observed: (R, ...), of the kind that will be kept.
            capacity: transitions of each replica.
        """
        number = len(observed)

        def room(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
            return torch.empty((number, capacity, *shape), dtype=dtype)

        self.size, self.capacity = 0, capacity
        self._kept = Transitions(
            room(observed.shape[1:], observed.dtype),
            room((), torch.int64),
            room((), torch.float32),
            room(observed.shape[1:], observed.dtype),
            room((), torch.bool),
        )
        self._offset = torch.arange(number)[:, None] * capacity

    def add(self, observed: Tensor, actions: Tensor, outcome: Outcome) -> None:
        """One transition of each replica."""
        found = (observed, actions, outcome.reward, outcome.following, outcome.terminal)
        for room, value in zip(self._kept.tensors(), found, strict=True):
            room[:, self.size] = value
        self.size += 1

    def at(self, places: Tensor) -> Transitions:
        """Transitions at places (R, n), of 0, ..., size - 1."""
        rows = (places + self._offset).flatten()
        return Transitions(*(room.flatten(0, 1)[rows].unflatten(0, places.shape) for room in self._kept.tensors()))

    def drawn(self, uniform: Tensor) -> Transitions:
        """Transitions with replacement, by numbers uniform on [0, 1), (R, n)."""
        return self.at((uniform * self.size).long())

    def all_of(self, row: int) -> Transitions:
        """All of one replica, oldest first, R = 1."""
        return Transitions(*(room[row : row + 1, : self.size] for room in self._kept.tensors()))

    def of(self, rows: Tensor) -> Replay:
        """A buffer with what these replicas have."""
        copy = Replay(self._kept.observed[rows, 0], self.capacity)
        copy.size = self.size
        for room, value in zip(copy._kept.tensors(), self._kept.tensors(), strict=True):
            room.copy_(value[rows])
        return copy


class Draws:
    """Uniform numbers by seed, drawn ahead in blocks; replicas of a seed get the same ones.

    What comes is the stream `name` of each seed in order, however long the blocks are.
    """

    def __init__(self, seeds: Sequence[int], name: str, shape: tuple[int, ...], *, block: int = 256) -> None:
        """Begin streams.

        Args:
            seeds: one per stream.
            name: of the streams (`dashtheory.seeds`).
            shape: of what is drawn at once.
            block: how many of these are drawn ahead.
        """
        self._streams = [numpy_stream(seed, name) for seed in seeds]
        self._shape, self._block, self._at = (block, *shape), block, block
        self._ahead = torch.empty(0)

    def next(self) -> Tensor:
        """(seeds, *shape), float64, uniform on [0, 1)."""
        if self._at == self._block:
            self._ahead = torch.from_numpy(np.stack([stream.random(self._shape) for stream in self._streams], 1))
            self._at = 0
        self._at += 1
        return self._ahead[self._at - 1]
