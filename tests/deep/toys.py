"""Small runs for the tests of the runner."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dashtheory.stream import Examples, Stream, cut

MLP: dict[str, Any] = {
    "model": "mlp",
    "model_options": ("widths=16+16",),
    "num_chunks": 2,
    "chunk_size": 60,
    "num_test": 100,
}
FAST: dict[str, Any] = {**MLP, "batch_size": 16, "max_epochs": 6, "learning_rate": 0.1}


def silent(share: float, text: str) -> None:
    """No progress."""


def labelled(count: int, num_chunks: int) -> Stream:
    """One-hot inputs, so that sign 1 is always right and sign -1 never."""
    labels = torch.arange(count) % 3
    examples = Examples(nn.functional.one_hot(labels, 3).float(), labels)
    return Stream(cut(examples, num_chunks), Examples(examples.inputs, (labels + 1) % 3))
