"""Small data for streams: three classes around three points."""

from __future__ import annotations

import torch

from dashtheory.stream import Examples
from dashtheory.streams import Base


def toy_base(per_class: int = 15, places: int = 6, num_classes: int = 3) -> Base:
    """Separable classes; held-out examples of the same law."""
    generator = torch.Generator().manual_seed(0)
    centers = 2 * torch.randn(num_classes, places, generator=generator)

    def part(number: int) -> Examples:
        labels = torch.arange(num_classes).repeat_interleave(number)
        return Examples(centers[labels] + torch.randn(len(labels), places, generator=generator), labels)

    return Base(part(per_class), part(5), num_classes)
