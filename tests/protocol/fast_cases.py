"""Examples and a network of bytes for fast training, and when two models are the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dashtheory.deep.models import PictureNetwork, build_model
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)


def pictures(number: int, size: int = 8) -> Examples:
    generator = torch_stream(0, "data")
    images = torch.randint(0, 256, (number, 3, size, size), generator=generator, dtype=torch.uint8)
    return Examples(images, torch.randint(0, 4, (number,), generator=generator))


def network(**options: Any) -> PictureNetwork:
    inner = build_model("narrow_resnet", (3, 8, 8), 4, torch_stream(0, "init"), width=4)
    return PictureNetwork(inner, MEAN, STD, **options)


def same(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def examples(number: int) -> Examples:
    generator = torch_stream(0, "data")
    return Examples(torch.randn(number, 2, generator=generator), torch.randint(3, (number,), generator=generator))
