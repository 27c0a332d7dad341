"""A multilayer perceptron with batch norm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn

from dashtheory._check import fail, integer
from dashtheory.deep.models.classifier import Classifier
from dashtheory.deep.models.initialize import drawn
from dashtheory.deep.models.shapes import example_shape, flag


def mlp(
    input_shape: Sequence[int],
    num_classes: int,
    generator: torch.Generator,
    *,
    widths: Sequence[int] = (256, 256),
    batch_norm: bool = True,
) -> Classifier:
    """Hidden layers of linear, batch norm, ReLU; then linear.

    The paper's MLP has batch norm and ReLU (Shin et al. 2024); the default widths are this package's choice.
    Every linear layer has a bias. With n_0 = the inputs, hidden widths n_1 .. n_L and C classes the network has
    sum_l (n_{l-1} n_l + n_l) + (n_L C + C) parameters, and 2 sum_l n_l more with batch norm: 856,074 by default
    for 3 x 32 x 32 inputs and 10 classes.

    Args:
        input_shape: of one example, any number of axes; they are flattened.
        num_classes: at least 2.
        generator: CPU stream of the initialisation (`draw_weights_`).
        widths: of the hidden layers, from the inputs to the classes; empty: a linear classifier.
        batch_norm: with it, training refuses a batch of one example (see `Classifier`).

    Raises:
        ValueError: if an argument is out of range.
    """
    shape = example_shape(input_shape)
    sizes = [math.prod(shape), *_widths(widths)]
    flag("batch_norm", batch_norm)

    def make() -> Classifier:
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(sizes):
            norm = [nn.BatchNorm1d(outputs)] if batch_norm else []
            layers += [nn.Linear(inputs, outputs), *norm, nn.ReLU()]
        min_batch = 2 if batch_norm and len(sizes) > 1 else 1
        return Classifier(nn.Sequential(*layers), sizes[-1], num_classes, input_shape=shape, min_batch=min_batch)

    return drawn(make, generator)


def _widths(widths: Sequence[int]) -> list[int]:
    if not isinstance(widths, Sequence) or isinstance(widths, str):
        fail("widths", "must be a sequence of sizes", repr(widths), "Two hidden layers: (256, 256).")
    return [integer("widths", width, minimum=1, fix="It lists the sizes of hidden layers.") for width in widths]
