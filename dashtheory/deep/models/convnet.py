"""A small convolutional network without shortcuts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dashtheory._check import integer
from dashtheory.deep.models.classifier import Classifier, conv3x3, convolutional
from dashtheory.deep.models.initialize import drawn
from dashtheory.deep.models.shapes import halved, image_shape


def convnet(
    input_shape: Sequence[int],
    num_classes: int,
    generator: torch.Generator,
    *,
    depth: int = 3,
    width: int = 16,
) -> Classifier:
    """`depth` layers of 3x3 convolution, batch norm, ReLU; then average pooling and linear.

    Layer i = 1 .. depth has width 2^(i-1) channels; from the second on it has stride 2. With c_0 = the image's
    channels, c_i those of layer i and C classes: sum_i (9 c_{i-1} c_i + 2 c_i) + c_depth C + C parameters, 24,346
    by default for 3 channels and 10 classes. Convolutions have no bias.

    Args:
        input_shape: (channels, height, width).
        num_classes: at least 2.
        generator: CPU stream of the initialisation (`draw_weights_`).
        depth: number of convolutions.
        width: channels of the first.

    Raises:
        ValueError: if an argument is out of range, or the image too small to be halved depth - 1 times.
    """
    image = image_shape(input_shape)
    integer("depth", depth, minimum=1, fix="It counts convolutions.")
    integer("width", width, minimum=1, fix="It counts channels.")
    last_map = halved(image, depth - 1, round_up=True)

    def make() -> Classifier:
        layers: list[nn.Module] = []
        inputs = image[0]
        for index in range(depth):
            outputs = width * 2**index
            conv = conv3x3(inputs, outputs, stride=1 if index == 0 else 2)
            layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        return convolutional(layers, inputs, num_classes, input_shape=image, norm_map=last_map)

    return drawn(make, generator)
