"""Random crops, flips and rotations of whole batches on their device, from draws made on the CPU.

All three are one map of coordinates: each pixel of the result takes one pixel of the picture, or black where the
map leads outside. So a batch is augmented by one gather, on bytes, before normalisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dashtheory._check import integer, real


@dataclass(frozen=True, kw_only=True)
class PictureAugmentation:
    """Crop from a black border, mirror, rotate: in this order, as published code for CIFAR does.

    Attributes:
        pad: pixels of the border; the crop of the old size lies anywhere in it, all places being equally likely.
        flip: whether left and right are swapped with chance 1/2.
        rotation: largest angle in degrees; uniform between - and +, about the centre, each pixel of the result
            taking the nearest one of the picture.

    Raises:
        ValueError: if a value is out of range.
    """

    pad: int = field(default=4, metadata={"help": "pixels of the border that crops are taken from"})
    flip: bool = field(default=True, metadata={"help": "whether half of the pictures are mirrored"})
    rotation: float = field(default=0.0, metadata={"help": "largest angle in degrees"})

    def __post_init__(self) -> None:
        integer("pad", self.pad, minimum=0, fix="It counts pixels; 0 does not crop.")
        real("rotation", self.rotation, low=0, high=180, fix="It is an angle in degrees.")

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Draws for `number` pictures: float32 (number, 4) with columns down, right, mirrored (0 or 1), radians.

        Down and right are what the crop moves by, from -pad to pad.
        """
        moves = torch.randint(-self.pad, self.pad + 1, (number, 2), generator=generator)
        mirrored = torch.randint(0, 2, (number, 1), generator=generator) * int(self.flip)
        angles = (2 * torch.rand((number, 1), generator=generator) - 1) * math.radians(self.rotation)
        return torch.cat([moves.float(), mirrored.float(), angles], dim=1)

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """The pictures, changed.

        Args:
            inputs: (n, channels, height, width).
            draws: (n, 4), as `draw` makes them, on the same device.

        Returns:
            the same shape and type.
        """
        number, channels, height, width = inputs.shape
        rows, columns = self._rotated(draws[:, 3], height, width)
        inside = _within(rows, columns, height, width)
        mirrored = draws[:, 2, None, None] > 0
        columns = torch.where(mirrored, width - 1 - columns, columns)
        rows = rows + draws[:, 0, None, None].long()
        columns = columns + draws[:, 1, None, None].long()
        inside = inside & _within(rows, columns, height, width)
        place = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).view(number, 1, -1)
        taken = inputs.flatten(2).gather(2, place.expand(-1, channels, -1))
        return (taken * inside.view(number, 1, -1)).view(inputs.shape)

    def _rotated(self, angles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Rows and columns of the unrotated picture that each pixel of the result shows, int64 (n, h, w)."""
        down = torch.arange(height, device=angles.device)[None, :, None]
        right = torch.arange(width, device=angles.device)[None, None, :]
        if not self.rotation:
            shape = (len(angles), height, width)
            return down.expand(shape), right.expand(shape)
        y, x = down - (height - 1) / 2, right - (width - 1) / 2
        cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
        rows = (cos * y + sin * x + (height - 1) / 2).round().long()
        columns = (cos * x - sin * y + (width - 1) / 2).round().long()
        return rows, columns


def _within(rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    return (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
