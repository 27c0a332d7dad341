"""From pictures to a stream: a random subset of them in chunks, normalised, with wrong labels if asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dashtheory._check import fail, integer, numpy_generator, real
from dashtheory._door import door
from dashtheory.deep.data.draw import Ranks, draw_any, draw_balanced
from dashtheory.deep.data.images import ImageData, ImageSet
from dashtheory.stream import Examples, Stream, cut

_BLOCK = 4096  # pictures that are converted at once


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageStream:
    """A stream of pictures and what is known about it.

    Attributes:
        stream: inputs float32 (n, channels, height, width), normalised, or uint8 grey levels; targets int64 (n,).
        noisy: per chunk a bool tensor (n,): which of its labels were replaced by a wrong one.
        mean: of each channel over all pixels of all chunks, in grey levels 0 to 255, after resizing; std divides
            by the number of pixels. Inputs are (grey level - mean) / std.
        std: of each channel over all pixels of all chunks, in grey levels 0 to 255, after resizing; std divides by
            the number of pixels. Inputs are (grey level - mean) / std.
        classes: name of each class.
        facts: of the data, and how the stream was made (JSON).
    """

    stream: Stream
    noisy: tuple[Tensor, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    facts: Mapping[str, object]


@door()
def make_stream(
    data: ImageData,
    *,
    num_chunks: int,
    chunk_size: int,
    num_test: int | None = None,
    size: int | None = None,
    balanced: bool = False,
    label_noise: float = 0.0,
    raw: bool = False,
    generator: np.random.Generator,
) -> ImageStream:
    """Hand out a random subset of the training pictures as chunks, each picture at most once.

    The pictures of chunk j do not depend on the number of chunks, nor on `num_test` or `label_noise` (but the
    normalisation is over all chunks). The test pictures do not depend on the training pictures.

    Args:
        data: the pictures.
        num_chunks: J.
        chunk_size: pictures per chunk.
        num_test: number of test pictures, drawn at random; None takes all, in order.
        size: height and width to shrink to: each new pixel is the mean of those it covers (a block, if `size`
            divides the old size; else the blocks overlap by a pixel). None keeps the size.
        balanced: whether each chunk, and a test set with `num_test`, has every class equally often, or, where that
            does not divide, some of the classes once more. The chunks take turns, so that the classes differ by
            one picture at most in all of them together, too.
        label_noise: share of each chunk, rounded to the nearest number of pictures (half goes up), whose label is
            replaced by one of the OTHER classes, each equally likely. Test labels are never replaced.
        raw: whether inputs stay grey levels, to be normalised later by the mean and std returned: uint8, in a
            quarter of the memory, or float32 if they are shrunk.
        generator: of all draws; one call takes four numbers from it.

    Returns:
        the stream, which labels are wrong, and the normalisation.

    Raises:
        ValueError: if there are too few pictures, or a channel of the chunks is constant.
    """
    _check(data, num_chunks, chunk_size, num_test, size, label_noise)
    numpy_generator("generator", generator)
    seeds = generator.integers(2**63, size=4)  # so that no draw depends on how many others there are
    of_train, of_test, of_order, of_noise = (np.random.default_rng(seed) for seed in seeds)
    ranks = _ranks("chunk_size", data, data.train, (num_chunks, chunk_size), balanced, of_train)
    chosen = data.train.take(torch.from_numpy(np.concatenate([of_order.permutation(row) for row in ranks])))
    test = data.test
    if num_test is not None:
        held_out = _ranks("num_test", data, data.test, (1, num_test), balanced, of_test)
        test = data.test.take(torch.from_numpy(of_test.permutation(held_out[0])))
    whole = raw and size is None
    inputs = chosen.images if whole else _resized(chosen.images, size)
    mean, std = _mean_and_std(inputs)
    targets, noisy = _with_noise(chosen.labels, chunk_size, label_noise, len(data.classes), of_noise)
    held = test.images if whole else _resized(test.images, size)
    facts = {
        "data": {"name": data.name, **data.facts},
        "size": list(inputs.shape[2:]),
        "balanced": balanced,
        "label_noise": label_noise,
        "num_noisy_per_chunk": int(noisy[0].sum()),
        "mean": list(mean),
        "std": list(std),
    }
    return ImageStream(
        stream=Stream(
            chunks=cut(Examples(inputs if raw else _normalise_(inputs, mean, std), targets), num_chunks),
            test=Examples(held if raw else _normalise_(held, mean, std), test.labels),
        ),
        noisy=noisy,
        mean=mean,
        std=std,
        classes=data.classes,
        facts=facts,
    )


def _check(
    data: ImageData,
    num_chunks: int,
    chunk_size: int,
    num_test: int | None,
    size: int | None,
    label_noise: float,
) -> None:
    integer("num_chunks", num_chunks, minimum=1, fix="It counts chunks.")
    integer("chunk_size", chunk_size, minimum=1, fix="It counts pictures.")
    if num_test is not None:
        integer("num_test", num_test, minimum=1, fix="It counts pictures; None takes all.")
    if size is not None:
        integer("size", size, minimum=1, fix="It counts pixels.")
        height, width = data.train.images.shape[2:]
        if size > min(height, width):
            fail(
                "size", f"must be at most that of the pictures, {height} x {width}", str(size), "They only shrink."
            )
    real("label_noise", label_noise, low=0.0, high=1.0, fix="It is a share of the labels.")
    if label_noise and len(data.classes) < 2:
        fail("label_noise", "must be 0 if there is one class", str(label_noise), "There is no wrong label.")


def _ranks(
    name: str,
    data: ImageData,
    images: ImageSet,
    shape: tuple[int, int],
    balanced: bool,
    generator: np.random.Generator,
) -> Ranks:
    if balanced:
        return draw_balanced(name, images.labels.numpy(), len(data.classes), shape, generator)
    return draw_any(name, len(images), shape, generator)


def _resized(images: Tensor, size: int | None) -> Tensor:
    """`images` as float32, shrunk to `size`; a new tensor."""
    height, width = (size, size) if size is not None else images.shape[2:]
    result = torch.empty(*images.shape[:2], height, width)
    for new, old in zip(result.split(_BLOCK), images.split(_BLOCK), strict=True):
        new.copy_(old if size is None else interpolate(old.float(), (height, width), mode="area"))
    return result


def _mean_and_std(inputs: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of each channel, over pictures and pixels, in float64; the same bits for any number of threads."""
    count = inputs[:, 0].numel()
    blocks = inputs.split(_BLOCK)
    sums = [block.float().numpy().sum(axis=(0, 2, 3), dtype=np.float64) for block in blocks]
    mean = np.sum(sums, axis=0) / count
    squares = [((block.float().numpy() - mean[:, None, None]) ** 2).sum(axis=(0, 2, 3)) for block in blocks]
    std = np.sqrt(np.sum(squares, axis=0) / count)
    if not np.all(std > 0):
        channel = int(np.argmin(std))
        fail("data", "must vary in every channel", f"one grey level in channel {channel}", "Drop that channel.")
    return tuple(mean.tolist()), tuple(std.tolist())


def _normalise_(inputs: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    shift, scale = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return inputs.sub_(shift).div_(scale)


def _with_noise(
    labels: Tensor, chunk_size: int, share: float, num_classes: int, generator: np.random.Generator
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(labels of which that share of each chunk is wrong, per chunk which).

    The draws are the same for every share: a larger one replaces the same labels and more.
    """
    count = int(share * chunk_size + 0.5)
    noisy, shifts = [], []
    for _ in range(len(labels) // chunk_size):
        place = torch.from_numpy(generator.permutation(chunk_size))
        noisy.append(place < count)
        shifts.append(torch.from_numpy(generator.integers(1, max(num_classes, 2), size=chunk_size)))
    wrong = (labels + torch.cat(shifts)) % num_classes
    return torch.where(torch.cat(noisy), wrong, labels), tuple(noisy)
