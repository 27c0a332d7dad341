"""The form that all image models share: features, then one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dashtheory._check import fail, integer


class Classifier(nn.Module):
    """Logits of the classes: `head(features(inputs))`.

    Input (batch, *input_shape), output (batch, num_classes).

    A network whose batch norm sees a single number per example and channel (every MLP with batch norm; a
    convolutional one whose last feature map is 1 x 1) cannot normalise a batch of one example in training mode:
    it has no variance. Such a batch is refused with an error that says so. In evaluation mode any batch will do.

    Args:
        features: from inputs to (batch, num_features).
        num_features: their number.
        num_classes: at least 2.
        input_shape: shape of one example.
        min_batch: smallest batch in training mode, 1 or 2.

    Attributes:
        features: as above.
        head: the linear classifier.
        input_shape: as above.
        min_batch: as above.

    Raises:
        ValueError: if `num_classes` is no number of classes; in use, if the inputs have another shape or are too
            few to train on.
    """

    def __init__(
        self,
        features: nn.Module,
        num_features: int,
        num_classes: int,
        *,
        input_shape: Sequence[int],
        min_batch: int,
    ) -> None:
        super().__init__()
        integer("num_classes", num_classes, minimum=2, fix="A classifier tells two classes or more apart.")
        self.features = features
        self.head = nn.Linear(num_features, num_classes)
        self.input_shape = torch.Size(input_shape)
        self.min_batch = min_batch

    @property
    def core(self) -> nn.Module:
        """The layers, without the checks of inputs."""
        return nn.Sequential(self.features, self.head)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, num_classes) of inputs (batch, *input_shape)."""
        self._check(inputs)
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def _check(self, inputs: Tensor) -> None:
        if inputs.shape[1:] != self.input_shape:
            fail(
                "inputs",
                f"must have shape (batch, {', '.join(map(str, self.input_shape))})",
                str(tuple(inputs.shape)),
                "Put channels first, or build the model with input_shape= of these.",
            )
        if self.training and len(inputs) < self.min_batch:
            fail(
                "inputs",
                f"must hold at least {self.min_batch} examples in training mode with batch norm",
                str(len(inputs)),
                "Choose chunk and batch sizes whose last batch is not a single example.",
            )


class GlobalAverage(nn.Module):
    """Mean over the feature map: (batch, channels, height, width) to (batch, channels)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Mean over the last two axes."""
        return maps.mean(dim=(2, 3))


def convolutional(
    layers: Sequence[nn.Module],
    channels: int,
    num_classes: int,
    *,
    input_shape: Sequence[int],
    norm_map: Sequence[int],
) -> Classifier:
    """A classifier of feature maps: `layers`, global average pooling, linear.

    Args:
        layers: from images to maps of `channels` channels.
        channels: of the maps.
        num_classes: at least 2.
        input_shape: (channels, height, width) of an image.
        norm_map: (height, width) of the smallest map that batch norm sees.
    """
    return Classifier(
        nn.Sequential(*layers, GlobalAverage()),
        channels,
        num_classes,
        input_shape=input_shape,
        min_batch=1 if max(norm_map) > 1 else 2,
    )


def conv3x3(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution with padding 1 and no bias, for batch norm follows: 9 inputs outputs weights."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
