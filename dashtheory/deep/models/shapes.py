"""Checks of image shapes and options, and the size of feature maps."""

from __future__ import annotations

from collections.abc import Sequence

from dashtheory._check import fail, integer


def example_shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of one example: one or more positive integers."""
    if not isinstance(input_shape, Sequence) or isinstance(input_shape, str) or not input_shape:
        fail("input_shape", "must be a sequence of sizes", repr(input_shape), "An image's is (3, 32, 32).")
    return tuple(integer("input_shape", size, minimum=1, fix="It lists sizes.") for size in input_shape)


def image_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (channels, height, width)."""
    sizes = example_shape(input_shape)
    if len(sizes) != 3:
        fail("input_shape", "must be (channels, height, width)", repr(sizes), "Grey images have one channel.")
    return sizes[0], sizes[1], sizes[2]


def halved(image: tuple[int, int, int], num: int, *, round_up: bool) -> tuple[int, int]:
    """(height, width) of the map after `num` halvings of an image.

    A side of n becomes ceil(n / 2) under a convolution or pooling of size 3, stride 2 and padding 1 (`round_up`),
    and floor(n / 2) under a pooling of size 2 and stride 2.

    Raises:
        ValueError: if a side is a single pixel before a halving: nothing is left to halve.
    """
    height, width = image[1:]
    for done in range(num):
        if min(height, width) < 2:
            fail(
                "input_shape",
                f"must leave a map to halve {num} times",
                f"{image}, whose map is {height} x {width} after {done}",
                "Use larger images, or a model that halves less often.",
            )
        height, width = (height + round_up) // 2, (width + round_up) // 2
    return height, width


def flag(argument: str, value: object) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool):
        fail(argument, "must be True or False", repr(value), "It switches a part of the network.")
    return value
