"""A stream of chunks in order of arrival, and a test set that never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from dashtheory._check import choice, fail
from dashtheory._door import door

Kind = TypeVar("Kind")

SEEN = ("all", "new")
"""What a stage trains on: all chunks that have arrived, or the newest alone."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and targets that belong together along their first axis.

    Attributes:
        inputs: tensor (n, ...), whatever the model takes.
        targets: int64 tensor (n, ...), class labels; more axes than one if the model predicts at several positions
            of an input (the next character at each place of a window, say).

    Raises:
        ValueError: if there is no example or the lengths differ.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            value = getattr(self, name)
            if not isinstance(value, Tensor):
                fail(name, "must be a tensor", type(value).__name__, "Take torch.as_tensor of it.")
        if not self.inputs.ndim or not self.targets.ndim or len(self.inputs) != len(self.targets):
            got = f"{tuple(self.inputs.shape)} and {tuple(self.targets.shape)}"
            fail("inputs and targets", "must have the same first axis", got, "Give one target per input.")
        if not len(self.inputs):
            fail("inputs", "must hold at least one example", "none", "An empty chunk has nothing to train on.")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index: Tensor) -> Examples:
        """The examples at `index` (int64), in that order."""
        return Examples(self.inputs[index], self.targets[index])

    def to(self, device: torch.device | str) -> Examples:
        """The same examples on a device."""
        return Examples(self.inputs.to(device), self.targets.to(device))


@door()
def join(parts: Sequence[Examples]) -> Examples:
    """All examples of `parts`, in order."""
    if not parts:
        fail("parts", "must hold at least one part", "none", "Give the chunks to join.")
    return Examples(torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts]))


@dataclass(frozen=True, eq=False)
class Stream:
    """Chunks in order of arrival, and the test set.

    Attributes:
        chunks: what arrives at once; chunk j is new at stage j.
        test: held-out examples.
        seen: what a stage trains on, of `SEEN`.

    Raises:
        ValueError: if there is no chunk.
    """

    chunks: tuple[Examples, ...]
    test: Examples
    seen: str = "all"

    def __post_init__(self) -> None:
        choice("seen", self.seen, SEEN)
        if not self.chunks:
            fail("chunks", "must hold at least one chunk", "none", "A stream without data trains nothing.")
        for name, part in (*(("chunks", chunk) for chunk in self.chunks), ("test", self.test)):
            if not isinstance(part, Examples):
                fail(name, "must be of Examples", type(part).__name__, "Say Examples(inputs, targets).")

    def to(self, device: torch.device | str) -> Stream:
        """The same stream on a device."""
        return Stream(tuple(chunk.to(device) for chunk in self.chunks), self.test.to(device), self.seen)

    def at(self, stage: int, parts: Sequence[Kind]) -> tuple[Kind, ...]:
        """Those of `parts` (the chunks, or something of each) that a stage trains on, the newest last.

        Args:
            stage: from 1.
            parts: one per chunk; fewer are taken to be unknown from there on.
        """
        return tuple(parts[0 if self.seen == "all" else stage - 1 : stage])


@door()
def cut(examples: Examples, num_chunks: int) -> tuple[Examples, ...]:
    """Cut `examples` into `num_chunks` equal chunks, in order; what is left over is an error.

    Raises:
        ValueError: if the chunks cannot be equal.
    """
    if num_chunks < 1 or len(examples) % num_chunks:
        fail(
            "num_chunks",
            f"must be >= 1 and divide the {len(examples)} examples",
            str(num_chunks),
            "Drop the examples left over, or choose a divisor.",
        )
    size = len(examples) // num_chunks
    return tuple(
        Examples(examples.inputs[i * size : (i + 1) * size], examples.targets[i * size : (i + 1) * size])
        for i in range(num_chunks)
    )
