"""VGG-16 with batch norm, for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dashtheory._check import integer
from dashtheory.deep.models.classifier import Classifier, convolutional
from dashtheory.deep.models.initialize import drawn
from dashtheory.deep.models.shapes import halved, image_shape

# Channels of the convolutions in units of the first layer's; a max-pool after every group (configuration D).
_GROUPS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))


def vgg16(
    input_shape: Sequence[int],
    num_classes: int,
    generator: torch.Generator,
    *,
    width: int = 64,
) -> Classifier:
    """The 13 convolutions of VGG-16 (Simonyan & Zisserman 2015, configuration D), then one linear layer.

    Every convolution is 3x3 with a bias, followed by batch norm and ReLU; after 2, 4, 7, 10 and 13 of them comes a
    max-pool of size 2 and stride 2; channels are width x (1, 1, 2, 2, 4, 4, 4, 8, ..., 8). What is left (1 x 1 for
    32 x 32 images) is averaged. This is the variant usual for CIFAR: one linear classifier in place of the three
    layers of the ImageNet network, without dropout. 14,728,266 parameters by default for 3 channels, 10 classes.
    The biases of convolutions start at 0.

    Args:
        input_shape: (channels, height, width), sides of 32 or more.
        num_classes: at least 2.
        generator: CPU stream of the initialisation (`draw_weights_`).
        width: channels of the first convolution; 64 is VGG-16, less is for tests.

    Raises:
        ValueError: if an argument is out of range, or the image too small to be halved five times.
    """
    image = image_shape(input_shape)
    integer("width", width, minimum=1, fix="It counts channels.")
    halved(image, len(_GROUPS), round_up=False)
    norm_map = halved(image, len(_GROUPS) - 1, round_up=False)

    def make() -> Classifier:
        layers: list[nn.Module] = []
        channels = image[0]
        for group in _GROUPS:
            for factor in group:
                conv = nn.Conv2d(channels, width * factor, 3, padding=1)
                channels = width * factor
                layers += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        return convolutional(layers, channels, num_classes, input_shape=image, norm_map=norm_map)

    return drawn(make, generator)
