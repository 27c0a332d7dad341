"""Residual networks of basic blocks: the paper's ResNet-18, and a narrow one for a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory._check import integer
from dashtheory.deep.models.classifier import Classifier, conv3x3, convolutional
from dashtheory.deep.models.initialize import drawn
from dashtheory.deep.models.shapes import flag, halved, image_shape


class BasicBlock(nn.Module):
    """relu(residual(x) + shortcut(x)): two 3x3 convolutions beside a shortcut (He et al. 2016).

    residual = conv, batch norm, ReLU, conv, batch norm, the first convolution with the stride; shortcut = the
    identity, or a 1x1 convolution with the stride and batch norm where the stride is not 1 or the channels
    change ("option B"). Convolutions have no bias. Parameters: 9 a b + 9 b^2 + 4 b from a to b channels, and
    a b + 2 b more with a convolution in the shortcut.

    Args:
        inputs: channels.
        outputs: channels.
        stride: 1 or 2; 2 takes maps (height, width) to half, rounded up.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv3x3(inputs, outputs, stride=stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            conv3x3(outputs, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        return functional.relu(self.residual(maps) + self.shortcut(maps))


def narrow_resnet(
    input_shape: Sequence[int],
    num_classes: int,
    generator: torch.Generator,
    *,
    width: int = 16,
    blocks: int = 1,
) -> Classifier:
    """A ResNet of three stages for small images: the one that shows the effect of warm-starting on a CPU.

    3x3 convolution, batch norm, ReLU; three stages of `blocks` basic blocks with width, 2 width and 4 width
    channels, stride 2 from the second stage on; average pooling; linear. 78,042 parameters by default for
    3 channels and 10 classes.

    Args:
        input_shape: (channels, height, width).
        num_classes: at least 2.
        generator: CPU stream of the initialisation (`draw_weights_`).
        width: channels of the first stage.
        blocks: per stage.

    Raises:
        ValueError: if an argument is out of range, or the image too small to be halved twice.
    """
    integer("blocks", blocks, minimum=1, fix="It counts blocks per stage.")
    return _resnet(input_shape, num_classes, generator, width=width, blocks=(blocks,) * 3, max_pool=False)


def resnet18(
    input_shape: Sequence[int],
    num_classes: int,
    generator: torch.Generator,
    *,
    max_pool: bool = True,
    width: int = 64,
) -> Classifier:
    """ResNet-18 (He et al. 2016) as in the experiments of Shin et al. 2024.

    A 3x3 convolution with stride 1, batch norm, ReLU; a max-pool of size 3 and stride 2 unless `max_pool` is off;
    four stages of two basic blocks with width x (1, 2, 4, 8) channels, stride 2 from the second stage on; average
    pooling; linear. 11,173,962 parameters by default for 3 channels and 10 classes, with or without the max-pool.

    Args:
        input_shape: (channels, height, width).
        num_classes: at least 2.
        generator: CPU stream of the initialisation (`draw_weights_`).
        max_pool: kept in the paper's standard setting; dropped in its "state of the art" setting, as codes for
            CIFAR usually do.
        width: channels of the first stage; 64 is ResNet-18, less is for tests.

    Raises:
        ValueError: if an argument is out of range, or the image too small to be halved four times (three without
            the max-pool).
    """
    flag("max_pool", max_pool)
    return _resnet(input_shape, num_classes, generator, width=width, blocks=(2,) * 4, max_pool=max_pool)


def _resnet(
    input_shape: Sequence[int],
    num_classes: int,
    generator: torch.Generator,
    *,
    width: int,
    blocks: tuple[int, ...],
    max_pool: bool,
) -> Classifier:
    image = image_shape(input_shape)
    integer("width", width, minimum=1, fix="It counts channels.")
    last_map = halved(image, len(blocks) - 1 + max_pool, round_up=True)

    def make() -> Classifier:
        layers: list[nn.Module] = [conv3x3(image[0], width), nn.BatchNorm2d(width), nn.ReLU()]
        if max_pool:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        channels = width
        for stage, num_blocks in enumerate(blocks):
            for index in range(num_blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(BasicBlock(channels, width * 2**stage, stride=stride))
                channels = width * 2**stage
        return convolutional(layers, channels, num_classes, input_shape=image, norm_map=last_map)

    return drawn(make, generator)
