"""R networks of one shape in one tensor, with gradients by hand, and Adam for all of them.

    z_l = a_{l-1} W_l^T + b_l,   a_l = max(z_l, 0),   the last layer without the maximum

A row of `weights` (R, P) is one network: W_1, b_1, W_2, b_2, ... flattened, in the order of the parameters of its
readable twin, `nn.Sequential(nn.Linear, nn.ReLU, ..., nn.Linear)`. One batched product serves all replicas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

BETAS, EPS = (0.9, 0.999), 1e-8
"""Adam's, as everywhere."""


@dataclass(frozen=True)
class Shape:
    """The shape of a network.

    Attributes:
        sizes: inputs, widths of hidden layers, outputs.
    """

    sizes: tuple[int, ...]

    @property
    def num_layers(self) -> int:
        """Linear layers."""
        return len(self.sizes) - 1

    @property
    def spans(self) -> tuple[tuple[int, int, int], ...]:
        """Of each layer: where its weights begin, where its biases begin, where it ends."""
        found, at = [], 0
        for inputs, outputs in pairwise(self.sizes):
            found.append((at, at + inputs * outputs, at + (inputs + 1) * outputs))
            at = found[-1][2]
        return tuple(found)

    @property
    def num_weights(self) -> int:
        """P."""
        return self.spans[-1][2]

    def layers(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Views of (R, P): weights (R, outputs, inputs) and biases (R, outputs) of each layer."""
        return [
            (flat[:, start:bias].unflatten(1, (outputs, inputs)), flat[:, bias:end])
            for (start, bias, end), (inputs, outputs) in zip(self.spans, pairwise(self.sizes), strict=True)
        ]

    def draw(self, generator: torch.Generator) -> Tensor:
        """First weights of one network (P,): uniform within 1/sqrt(inputs), torch's own initialisation."""
        parts = []
        for inputs, outputs in pairwise(self.sizes):
            uniform = torch.rand((inputs + 1) * outputs, generator=generator)
            parts.append((2 * uniform - 1) / inputs**0.5)
        return torch.cat(parts)

    def module(self, row: Tensor) -> nn.Sequential:
        """The readable twin of a row (P,), with weights of its own."""
        layers: list[nn.Module] = []
        for (weight, bias), (inputs, outputs) in zip(self.layers(row[None]), pairwise(self.sizes), strict=True):
            linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
            with torch.no_grad():
                linear.weight.copy_(weight[0])
                linear.bias.copy_(bias[0])
            layers += [linear, nn.ReLU()]
        return nn.Sequential(*layers[:-1]).to(row.dtype)


def forward(shape: Shape, weights: Tensor, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Outputs (R, n, L) of inputs (R, n, D), and what enters each layer."""
    entering = [inputs]
    last = shape.num_layers - 1
    for place, (weight, bias) in enumerate(shape.layers(weights)):
        found = torch.baddbmm(bias.unsqueeze(1), entering[-1], weight.mT)
        if place == last:
            return found, entering
        entering.append(found.clamp_min_(0))
    raise AssertionError


def backward(shape: Shape, weights: Tensor, entering: Sequence[Tensor], slope: Tensor, out: Tensor) -> Tensor:
    """Gradient by the weights, into `out` (R, P), from that by the outputs, (R, n, L)."""
    gradients = shape.layers(out)
    for place, (weight, _) in reversed(list(enumerate(shape.layers(weights)))):
        of_weight, of_bias = gradients[place]
        of_weight.copy_(slope.mT @ entering[place])
        torch.sum(slope, dim=1, out=of_bias)
        if place:
            slope = torch.ops.aten.threshold_backward(slope @ weight, entering[place], 0)
    return out


class Adam:
    """Adam with decoupled weight decay for R networks, each with moments and counters of its own.

    Attributes:
        averages: of the gradient, (R, P).
        squares: of its square, (R, P).
        counts: steps of each layer since its moments began, int64 (R, layers).
    """

    def __init__(self, shape: Shape, weights: Tensor, *, learning_rate: float, weight_decay: Tensor) -> None:
        """Begin with moments of zero.

        Args:
            shape: of the networks.
            weights: (R, P), as many rows as networks.
            learning_rate: of all.
            weight_decay: of each, (R,); multiplied by the learning rate, off the moments.
        """
        self.shape, self.learning_rate, self.weight_decay = shape, learning_rate, weight_decay
        self.averages, self.squares = torch.zeros_like(weights), torch.zeros_like(weights)
        self.counts = torch.zeros(len(weights), shape.num_layers, dtype=torch.int64)
        self._room = torch.empty_like(weights)

    @torch.no_grad()
    def step(self, weights: Tensor, gradient: Tensor) -> None:
        """Change `weights` in place."""
        self.counts += 1
        if bool(self.weight_decay.any()):
            weights.mul_((1 - self.learning_rate * self.weight_decay)[:, None])
        self.averages.lerp_(gradient, 1 - BETAS[0])
        self.squares.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        counts = self.counts.double()
        sizes = (self.learning_rate / (1 - BETAS[0] ** counts)).to(weights.dtype)
        roots = (1 - BETAS[1] ** counts).sqrt().to(weights.dtype)
        move = torch.sqrt(self.squares, out=self._room)
        for layer, (start, _, end) in enumerate(self.shape.spans):
            part = move[:, start:end].div_(roots[:, layer, None]).add_(EPS)
            torch.div(self.averages[:, start:end], part, out=part).mul_(sizes[:, layer, None])
        weights.sub_(move)

    def twin(self, row: int, module: nn.Sequential) -> torch.optim.Adam:
        """The Adam of torch for the readable twin of a network, with copies of its moments."""
        optimizer = torch.optim.Adam(module.parameters(), lr=self.learning_rate, betas=BETAS, eps=EPS)
        averages = self.shape.layers(self.averages[row : row + 1])
        squares = self.shape.layers(self.squares[row : row + 1])
        linear = [layer for layer in module if isinstance(layer, nn.Linear)]
        for place, layer in enumerate(linear):
            for kind, parameter in enumerate((layer.weight, layer.bias)):
                optimizer.state[parameter] = {
                    "step": self.counts[row, place].float(),
                    "exp_avg": averages[place][kind][0].clone(),
                    "exp_avg_sq": squares[place][kind][0].clone(),
                }
        return optimizer

    def take(self, row: int, module: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
        """Put the moments that torch's Adam keeps for a twin into a row; what it has not begun is zero."""
        averages = self.shape.layers(self.averages[row : row + 1])
        squares = self.shape.layers(self.squares[row : row + 1])
        linear = [layer for layer in module if isinstance(layer, nn.Linear)]
        for place, layer in enumerate(linear):
            for kind, parameter in enumerate((layer.weight, layer.bias)):
                state = optimizer.state.get(parameter, {})
                averages[place][kind].copy_(state.get("exp_avg", torch.zeros_like(parameter))[None])
                squares[place][kind].copy_(state.get("exp_avg_sq", torch.zeros_like(parameter))[None])
                self.counts[row, place] = int(state.get("step", 0))
