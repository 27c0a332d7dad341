"""Build a network without touching torch's global random stream, and draw its weights from an explicit one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from dashtheory._check import fail
from dashtheory.deep.models.classifier import Classifier


def drawn(make: Callable[[], Classifier], generator: torch.Generator) -> Classifier:
    """Build a network on the CPU and draw its weights from `generator`.

    The network is made without memory first (on torch's "meta" device), where its layers' own initialisation
    draws nothing; `draw_weights_` then sets every number. The global random stream is neither read nor moved.

    Args:
        make: builds the network.
        generator: CPU generator; its state decides all weights.
    """
    with torch.device("meta"):
        network = make()
    network.to_empty(device="cpu")
    draw_weights_(network, generator)
    return network


@torch.no_grad()
def draw_weights_(network: nn.Module, generator: torch.Generator) -> None:
    """Set every parameter and buffer of `network`, drawing in module order, a layer's weight before its bias.

        convolution    weights normal with variance 2 / (outputs x kernel height x kernel width): Kaiming, fan-out,
                       gain of ReLU (He et al. 2015); biases, where there are any, 0
        linear         weights and biases uniform on ± 1 / sqrt(inputs), as PyTorch starts them
        batch norm     weights 1, biases 0, running mean 0 and variance 1, no batches tracked

    torch fills CPU tensors in one thread, so the number of threads changes nothing.

    Raises:
        TypeError: if a layer of another kind holds numbers, which would stay unset.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            module.weight.uniform_(-bound, bound, generator=generator)
            module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.reset_parameters()
        elif [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            raise TypeError(f"no rule to initialise {type(module).__name__}: add one to draw_weights_")


def cpu_generator(generator: object) -> torch.Generator:
    """Return `generator` if it is torch's, on the CPU."""
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        fail(
            "generator",
            "must be a torch.Generator of the CPU",
            repr(generator),
            "Make one: dashtheory.seeds.torch_stream(seed, 'init', 1). Move the model to its device afterwards.",
        )
    return generator
