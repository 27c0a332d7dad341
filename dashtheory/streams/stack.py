"""Many small networks as one tensor, with gradients by hand.

A network is linear layers with ReLUs between them. All weights of all networks are one tensor (S, P, D): S seeds,
P replicas of a seed, D numbers of a network, layer by layer, weights (row by row) before biases. Replicas of a
seed see the same examples. A layer of all networks is one batched product, and so is its gradient; steps of an
optimizer are passes over the one tensor.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory._check import fail


class Layer(NamedTuple):
    """Views of one layer of all networks: weights (S P, out, in) and biases (S P, out)."""

    weight: Tensor
    bias: Tensor


class Pass(NamedTuple):
    """A forward pass: outputs of each hidden layer after its ReLU, (S P, n, units), and the network's."""

    hidden: tuple[Tensor, ...]
    outputs: Tensor


@dataclass(frozen=True)
class NetworkStack:
    """The kind of network.

    Attributes:
        sizes: inputs, widths of the hidden layers, outputs.
        regression: whether the loss is the squared error, else cross-entropy; either is a mean over examples (and
            outputs).
    """

    sizes: tuple[int, ...]
    regression: bool = False

    @cached_property
    def bounds(self) -> tuple[tuple[int, int, int], ...]:
        """Where each layer's weights and biases begin, and where the latter end."""
        found, start = [], 0
        for inputs, outputs in itertools.pairwise(self.sizes):
            found.append((start, start + inputs * outputs, start + (inputs + 1) * outputs))
            start += (inputs + 1) * outputs
        return tuple(found)

    @property
    def length(self) -> int:
        """D, numbers of a network."""
        return self.bounds[-1][2]

    def layers(self, flat: Tensor) -> list[Layer]:
        """Views of the layers.

        Args:
            flat: (..., D), contiguous.
        """
        rows = flat.view(-1, self.length)
        shapes = itertools.pairwise(self.sizes)
        return [
            Layer(rows[:, start:middle].unflatten(1, (outputs, inputs)), rows[:, middle:end])
            for (inputs, outputs), (start, middle, end) in zip(shapes, self.bounds, strict=True)
        ]

    def module(self) -> nn.Sequential:
        """One network as an ordinary module, with weights that are not set."""
        parts: list[nn.Module] = []
        with torch.device("meta"):
            for inputs, outputs in itertools.pairwise(self.sizes):
                parts += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*parts[:-1]).to_empty(device="cpu")

    def draw(self, generator: torch.Generator) -> Tensor:
        """Initial numbers of one network, (D,): uniform on ± 1 / sqrt(inputs), as PyTorch starts linear layers.

        Args:
            generator: CPU stream; layer by layer, weights before biases.
        """
        found = torch.empty(self.length)
        for inputs, (start, middle, end) in zip(self.sizes, self.bounds, strict=False):
            found[start:middle].uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
            found[middle:end].uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
        return found

    def as_module(self, numbers: Tensor) -> nn.Sequential:
        """The module of one network's numbers, which are copied.

        Args:
            numbers: (D,).
        """
        made = self.module().to(numbers.dtype)
        nn.utils.vector_to_parameters(numbers.detach().clone(), made.parameters())
        return made

    def from_module(self, module: nn.Module) -> Tensor:
        """The numbers of a module, (D,), copied.

        Raises:
            ValueError: if it is not a network of this stack.
        """
        values = [value.detach() for value in module.parameters()]
        shapes = [
            shape
            for inputs, outputs in itertools.pairwise(self.sizes)
            for shape in ((outputs, inputs), (outputs,))
        ]
        if [tuple(value.shape) for value in values] != shapes:
            got = str([tuple(value.shape) for value in values])
            fail(
                "module", f"must have the parameters {shapes}", got, "A rule must leave the network's shape alone."
            )
        return torch.cat([value.reshape(-1) for value in values])

    def run(self, flat: Tensor, inputs: Tensor) -> Pass:
        """A forward pass of all networks.

        Args:
            flat: (S, P, D).
            inputs: (S, n, in).
        """
        seeds, replicas = flat.shape[:2]
        now = inputs.unsqueeze(1).expand(seeds, replicas, -1, -1).reshape(-1, *inputs.shape[1:])
        found = []
        layers = self.layers(flat)
        for layer in layers:
            now = torch.baddbmm(layer.bias.unsqueeze(1), now, layer.weight.mT)
            if layer is not layers[-1]:
                now = now.relu_()
                found.append(now)
        return Pass(tuple(found), now)

    def gradient_(self, flat: Tensor, inputs: Tensor, targets: Tensor, into: Tensor) -> Tensor:
        """Write the gradient of each network's mean loss into a tensor.

        Args:
            flat: (S, P, D).
            inputs: (S, n, in).
            targets: int64 (S, n), or (S, n, out) for regression.
            into: like `flat`.

        Returns:
            outputs (S P, n, out), before any step.
        """
        replicas = flat.shape[1]
        hidden, outputs = self.run(flat, inputs)
        back = self._slope(outputs, targets.repeat_interleave(replicas, dim=0))
        layers, slopes = self.layers(flat), self.layers(into)
        for place in reversed(range(len(layers))):
            below = hidden[place - 1] if place else inputs.repeat_interleave(replicas, dim=0)
            slopes[place].weight.copy_(torch.bmm(back.mT, below))
            slopes[place].bias.copy_(back.sum(dim=1))
            if place:
                back = torch.bmm(back, layers[place].weight)
                back = torch.ops.aten.threshold_backward(back, below, 0)
        return outputs

    def _slope(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Derivative of each network's mean loss by its outputs."""
        if self.regression:
            return (outputs - targets) * (2 / targets[0].numel())
        slope = torch.softmax(outputs, dim=-1)
        slope.scatter_add_(-1, targets.unsqueeze(-1), slope.new_full((), -1.0).expand(*targets.shape, 1))
        return slope.div_(targets.shape[1])

    def score(self, outputs: Tensor, targets: Tensor, shape: torch.Size) -> Tensor:
        """Sum over examples of right predictions, or of squared errors (mean over outputs), (S, P), float64.

        Args:
            outputs: (S P, n, out).
            targets: (S, n) or (S, n, out).
            shape: (S, P).
        """
        each = targets.repeat_interleave(shape[1], dim=0)
        if self.regression:
            found = (outputs - each).double().square().mean(dim=-1).sum(dim=-1)
        else:
            found = (outputs.argmax(dim=-1) == each).sum(dim=-1).double()
        return found.view(shape)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of one network's outputs, for rules that differentiate it.

        Args:
            outputs: (n, out).
            targets: (n,) or (n, out).
        """
        return (
            functional.mse_loss(outputs, targets)
            if self.regression
            else functional.cross_entropy(outputs, targets)
        )
