"""Convolutions onto maps of a few pixels, one matrix product per pixel: the same numbers up to rounding, on a CPU.

Where a 3x3 kernel with padding gives a map of 2x2, most of its entries meet the border: 20 of 36 products are with
zeros. The kernels of PyTorch's CPU library make them all. Here each output pixel is one product of the inputs that
it does see with the entries of the kernel that meet them, in all three directions:

    y_p = x_S(p) W_T(p)',   grad x_S(p) += g_p W_T(p),   grad W_T(p) += g_p' x_S(p)

with S(p) the input pixels that output pixel p sees and T(p) the entries of the kernel that meet them. The sums
over p are float32 or wider. `benchmarks/cpu_step.py` measures what it saves, and where.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MOST_PIXELS = 4
"""Pixels of the output up to which this is taken; with 16 it was no faster."""
FEWEST_WEIGHTS = 2**17
"""Entries of a kernel from which on it is taken: 128 by 128 channels were faster, 64 by 64 were not."""


class Sight(NamedTuple):
    """What an output pixel sees."""

    row: int
    column: int
    inputs: tuple[slice, slice]
    kernel: tuple[slice, slice]


def sights(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> list[Sight]:
    """What each output pixel sees, in order.

    Args:
        size: height and width of the input.
        kernel: height and width.
        stride: of rows and columns.
        padding: of rows and columns, with zeros.
    """
    axes = [
        [_seen(place * step - pad, width, length) for place in range((length + 2 * pad - width) // step + 1)]
        for length, width, step, pad in zip(size, kernel, stride, padding, strict=True)
    ]
    return [
        Sight(row, column, (rows[0], columns[0]), (rows[1], columns[1]))
        for row, rows in enumerate(axes[0])
        for column, columns in enumerate(axes[1])
    ]


def _seen(first: int, width: int, length: int) -> tuple[slice, slice]:
    """Which of the inputs, and of the kernel, meet where the kernel begins at `first`."""
    low, high = max(first, 0), max(min(first + width, length), max(first, 0))
    return slice(low, high), slice(low - first, high - first)


class _Products(torch.autograd.Function):
    """The convolution as products; inputs and kernel with channels last."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, seen: list[Sight], dtype: torch.dtype) -> Tensor:
        """(batch, channels, height, width) in `dtype`."""
        maps, kernel = (value.to(dtype).permute(0, 2, 3, 1) for value in (inputs, weight))
        ctx.save_for_backward(maps, kernel)
        ctx.seen, ctx.dtypes = seen, (inputs.dtype, weight.dtype)
        out = maps.new_empty(len(maps), seen[-1].row + 1, seen[-1].column + 1, len(kernel))
        for one in seen:
            out[:, one.row, one.column] = _flat(maps, one.inputs) @ _flat(kernel, one.kernel).T
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients by data and by weights."""
        maps, kernel = ctx.saved_tensors
        wide = torch.promote_types(maps.dtype, torch.float32)
        by_maps, by_kernel = (
            torch.zeros(value.shape, dtype=wide, device=value.device) if needed else None
            for value, needed in zip((maps, kernel), ctx.needs_input_grad[:2], strict=True)
        )
        for one in ctx.seen:
            here = gradient[:, :, one.row, one.column].contiguous()
            if by_maps is not None:
                part = by_maps[:, *one.inputs]
                part += (here @ _flat(kernel, one.kernel)).view(part.shape)
            if by_kernel is not None:
                part = by_kernel[:, *one.kernel]
                part += (here.T @ _flat(maps, one.inputs)).view(part.shape)
        found = [
            None if value is None else value.to(dtype).permute(0, 3, 1, 2)
            for value, dtype in zip((by_maps, by_kernel), ctx.dtypes, strict=True)
        ]
        return found[0], found[1], None, None


def _flat(values: Tensor, place: tuple[slice, slice]) -> Tensor:
    """(rows, all entries at a place) of values with channels last."""
    return values[:, *place].flatten(1)


class SmallMapConv2d(nn.Conv2d):
    """A convolution by products where its output has few pixels and is on a CPU; else it is `nn.Conv2d`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, channels, height, width) to the same of the output."""
        if inputs.device.type != "cpu" or inputs.ndim != 4:
            return super().forward(inputs)
        kernel, stride, padding = self.kernel_size, self.stride, self.padding
        assert not isinstance(padding, str)
        seen = sights((inputs.shape[2], inputs.shape[3]), kernel, stride, padding)  # type: ignore[arg-type]
        if not 0 < len(seen) <= MOST_PIXELS or not len(inputs):
            return super().forward(inputs)
        half = torch.is_autocast_enabled("cpu") and inputs.dtype != torch.float64  # which autocast leaves alone
        dtype = torch.get_autocast_dtype("cpu") if half else inputs.dtype
        out: Tensor = _Products.apply(inputs, self.weight, seen, dtype)  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias.to(dtype)[:, None, None]


def take_products_(network: nn.Module) -> nn.Module:
    """Let the convolutions of `network` take products where their outputs are small, in place; returns it.

    Names, parameters and their bits stay. Convolutions that are grouped, dilated, padded by other things than
    zeros or of a class of their own stay as they are; so do 1x1 kernels, which meet no border, and narrow layers.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = SmallMapConv2d
    return network


def _fits(module: nn.Conv2d) -> bool:
    zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    plain = zeros and module.groups == 1 and set(module.dilation) == {1}
    return plain and max(module.kernel_size) > 1 and module.weight.numel() >= FEWEST_WEIGHTS
