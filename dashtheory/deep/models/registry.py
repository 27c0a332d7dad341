"""The image models by name.

mlp             linear, batch norm, ReLU
convnet         a small stack of convolutions with batch norm
narrow_resnet   three stages of basic blocks, for a CPU
resnet18        the paper's ResNet-18
vgg16           VGG-16 with batch norm, one linear classifier
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from dashtheory._check import choice, fail
from dashtheory.deep.models.classifier import Classifier
from dashtheory.deep.models.convnet import convnet
from dashtheory.deep.models.initialize import cpu_generator
from dashtheory.deep.models.mlp import mlp
from dashtheory.deep.models.resnet import narrow_resnet, resnet18
from dashtheory.deep.models.vgg import vgg16


@dataclass(frozen=True)
class Model:
    """A family of networks.

    Attributes:
        factory: `factory(input_shape, num_classes, generator, **options)`.
        description: one line.
    """

    factory: Callable[..., Classifier]
    description: str

    @property
    def options(self) -> dict[str, object]:
        """The names of the factory's options, and their defaults."""
        parameters = inspect.signature(self.factory).parameters.values()
        return {item.name: item.default for item in parameters if item.kind is item.KEYWORD_ONLY}


MODELS: dict[str, Model] = {
    "mlp": Model(mlp, "multilayer perceptron: linear, batch norm, ReLU"),
    "convnet": Model(convnet, "small stack of 3x3 convolutions with batch norm"),
    "narrow_resnet": Model(narrow_resnet, "ResNet of three narrow stages, for small images on a CPU"),
    "resnet18": Model(resnet18, "ResNet-18 with a 3x3 stem; its max-pool can be dropped"),
    "vgg16": Model(vgg16, "13 convolutions of VGG-16 with batch norm, one linear classifier"),
}
"""Image models by name."""


def build_model(
    name: str, input_shape: Sequence[int], num_classes: int, generator: torch.Generator, **options: object
) -> Classifier:
    """Build the model called `name` on the CPU, its weights drawn from `generator` alone.

    The same state of the generator gives the same weights, whatever the global random stream and the number of
    threads; the global stream is neither read nor moved.

    Args:
        name: of `MODELS`.
        input_shape: of one example; (channels, height, width) for the convolutional ones.
        num_classes: at least 2.
        generator: CPU stream of the initialisation.
        **options: of the factory (`MODELS[name].options`).

    Returns:
        a `Classifier` in training mode.

    Raises:
        ValueError: if an argument is out of range, there is no such model, or it has no such option.
    """
    model = MODELS[choice("name", name, MODELS)]
    for option in options:
        if option not in model.options:
            fail(
                "options",
                f"of model {name} must be among {sorted(model.options)}",
                repr(option),
                "Drop it or choose another model.",
            )
    return model.factory(input_shape, num_classes, cpu_generator(generator), **options)
