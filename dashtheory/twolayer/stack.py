"""Stacks of networks with gradients by hand: a linear map of known inputs, and a head.

Every tensor of parameters has leading axes (S, R): seeds, and replicas of a seed. Replicas of a seed see the same
samples, so one matrix product per seed serves all their neurons:

    z = W x    (S, R, rows, n)        W (S, R, rows, I), x (S, n, I)
    logits, and from d loss / d logits the gradients of z and of what the head owns

    patch network    x = noise;                   the head owns the weights on features
    ReLU MLP         x = (features, noise, 1);    the head owns the second layer; W has the bias as last column

The gradient of W is P x with P = d loss / d z (S, R, rows, n), whatever the network: training needs no more.
The names and shapes behind (S, R) are those of the readable modules' state_dict.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dashtheory.twolayer.activation import value_and_slope
from dashtheory.twolayer.config import MLPConfig, PatchConfig, TwoLayerConfig
from dashtheory.twolayer.data import PatchData, SignalNoise
from dashtheory.twolayer.modules import PatchNetwork, TwoLayerMLP

Params = dict[str, Tensor]
"""Parameters by the names of the module's state_dict, each with leading axes (S, R)."""

Backward = Callable[[Tensor], tuple[Tensor, Params]]
"""From d loss / d outputs (S, R, L, n) to d loss / d z (S, R, rows, n) and the gradients of the head."""

HIDDEN, BIAS, OUTPUT = "hidden.weight", "hidden.bias", "output.weight"


@dataclass(frozen=True, eq=False)
class Samples:
    """What a stack is fed, per seed.

    Attributes:
        x: inputs of the linear map, (S, n, I).
        features: (S, n, C K) in the same kind of number.
        labels: int64 (S, n).
    """

    x: Tensor
    features: Tensor
    labels: Tensor

    def of_seeds(self, index: Tensor) -> Samples:
        """Those of some seeds."""
        return Samples(self.x[index], self.features[index], self.labels[index])

    def at(self, index: Tensor) -> Samples:
        """Those at places (S, b) of each seed."""
        seeds = torch.arange(len(index), device=index.device)[:, None]
        return Samples(self.x[seeds, index], self.features[seeds, index], self.labels[seeds, index])


class Stack(ABC):
    """A kind of network, many at once. `num_outputs` is L: 1 for an MLP with two classes, else C."""

    num_outputs: int

    def __init__(self, data: SignalNoise) -> None:
        self.data = data

    @abstractmethod
    def draw(self, generator: torch.Generator) -> Params:
        """Initial parameters of one network, float64, without leading axes; drawn in the order of the module."""

    @abstractmethod
    def module(self) -> PatchNetwork | TwoLayerMLP:
        """The readable twin, with weights of torch's own initialisation."""

    @abstractmethod
    def samples(self, data: PatchData) -> Samples:
        """What the stack is fed, from data with a leading axis of seeds."""

    @abstractmethod
    def split(self, params: Mapping[str, Tensor]) -> tuple[Tensor, Params]:
        """W (S, R, rows, I), and the parameters of the head."""

    @abstractmethod
    def join(self, linear: Tensor, head: Mapping[str, Tensor]) -> Params:
        """The inverse of `split`."""

    @abstractmethod
    def head(self, z: Tensor, head: Mapping[str, Tensor], samples: Samples) -> tuple[Tensor, Backward]:
        """Outputs (S, R, L, n) from z (S, R, rows, n), and how to go back, once. May overwrite z."""

    def outputs(self, params: Mapping[str, Tensor], samples: Samples) -> Tensor:
        """(S, R, L, n) of samples (S, n)."""
        linear, head = self.split(params)
        return self.head(times(linear, samples.x.mT), head, samples)[0]

    def gradient(self, params: Mapping[str, Tensor], samples: Samples, weights: Tensor) -> Params:
        """Gradient of sum_i weights_i loss_i, shapes of `params`.

        Args:
            params: (S, R, ...).
            samples: (S, n, ...).
            weights: broadcasts to (S, R, n).
        """
        linear, head = self.split(params)
        outputs, back = self.head(times(linear, samples.x.mT), head, samples)
        p, of_head = back(loss_of(outputs, samples.labels).slope * weights.unsqueeze(-2))
        return self.join(times(p, samples.x), of_head)


class PatchStack(Stack):
    """Patch networks: see `PatchNetwork`."""

    def __init__(self, data: SignalNoise, config: PatchConfig) -> None:
        super().__init__(data)
        self.config, self.num_outputs = config, data.num_classes

    def draw(self, generator: torch.Generator) -> Params:
        """N(0, init_scale^2) weights."""
        rows = self.data.num_classes * self.config.neurons
        return {HIDDEN: _normal((rows, self.data.dimension), self.config.init_scale, generator)}

    def module(self) -> PatchNetwork:
        """A `PatchNetwork`."""
        return PatchNetwork(
            num_features=self.data.num_axes,
            noise_dim=self.data.noise_dim,
            num_classes=self.data.num_classes,
            neurons=self.config.neurons,
            exponent=self.config.exponent,
            smoothed=self.config.smoothed,
        )

    def samples(self, data: PatchData) -> Samples:
        """The noise patch is the input of the linear map."""
        return Samples(data.noise, data.features.to(data.noise.dtype), data.labels)

    def split(self, params: Mapping[str, Tensor]) -> tuple[Tensor, Params]:
        """Weights on noise, and on features."""
        features, noise = params[HIDDEN].tensor_split([self.data.num_axes], dim=-1)
        return noise.contiguous(), {"features": features.contiguous()}

    def join(self, linear: Tensor, head: Mapping[str, Tensor]) -> Params:
        """Weights on all axes."""
        return {HIDDEN: torch.cat([head["features"], linear], dim=-1)}

    def head(self, z: Tensor, head: Mapping[str, Tensor], samples: Samples) -> tuple[Tensor, Backward]:
        """Means over the neurons of a class; features enter through their own activations."""
        classes, neurons = self.num_outputs, self.config.neurons
        of_noise, noise_slope = self._act(z)
        of_features, feature_slope = self._act(head["features"])
        sums = of_features.unflatten(2, (classes, neurons)).sum(dim=3)  # (S, R, C, C K)
        outputs = times(sums, samples.features.mT).add_(of_noise.unflatten(2, (classes, neurons)).sum(dim=3))

        def back(slope: Tensor) -> tuple[Tensor, Params]:
            each = slope / neurons
            p = noise_slope.unflatten(2, (classes, neurons)).mul_(each.unsqueeze(3)).flatten(2, 3)
            shown = times(each, samples.features).unsqueeze(3)  # (S, R, C, 1, C K)
            return p, {"features": (feature_slope.unflatten(2, (classes, neurons)) * shown).flatten(2, 3)}

        return outputs.mul_(1 / neurons), back

    def _act(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return value_and_slope(z, self.config.exponent, smoothed=self.config.smoothed)


class MLPStack(Stack):
    """ReLU networks with both layers trained: see `TwoLayerMLP`."""

    def __init__(self, data: SignalNoise, config: MLPConfig) -> None:
        super().__init__(data)
        self.config = config
        self.num_outputs = 1 if data.num_classes == 2 else data.num_classes

    def draw(self, generator: torch.Generator) -> Params:
        """N(0, hidden_scale^2) and N(0, output_scale^2) weights; biases are 0."""
        hidden = self.config.hidden
        return {
            HIDDEN: _normal((hidden, self.data.dimension), self.config.hidden_scale, generator),
            BIAS: torch.zeros(hidden, dtype=torch.float64),
            OUTPUT: _normal((self.num_outputs, hidden), self.config.output_scale, generator),
        }

    def module(self) -> TwoLayerMLP:
        """A `TwoLayerMLP`."""
        data = self.data
        return TwoLayerMLP(dimension=data.dimension, hidden=self.config.hidden, num_classes=data.num_classes)

    def samples(self, data: PatchData) -> Samples:
        """Features, noise and a constant 1 are the inputs of the linear map."""
        features = data.features.to(data.noise.dtype)
        one = torch.ones_like(data.noise[..., :1])
        return Samples(torch.cat([features, data.noise, one], dim=-1), features, data.labels)

    def split(self, params: Mapping[str, Tensor]) -> tuple[Tensor, Params]:
        """First layer with its bias, and second layer."""
        return torch.cat([params[HIDDEN], params[BIAS].unsqueeze(-1)], dim=-1), {OUTPUT: params[OUTPUT]}

    def join(self, linear: Tensor, head: Mapping[str, Tensor]) -> Params:
        """All three parameters."""
        return {HIDDEN: linear[..., :-1].contiguous(), BIAS: linear[..., -1].contiguous(), OUTPUT: head[OUTPUT]}

    def head(self, z: Tensor, head: Mapping[str, Tensor], samples: Samples) -> tuple[Tensor, Backward]:
        """ReLU and second layer."""
        active = z.clamp_min_(0)
        output = head[OUTPUT]

        def back(slope: Tensor) -> tuple[Tensor, Params]:
            p = output.mT @ slope if self.num_outputs > 1 else output.mT * slope
            return torch.ops.aten.threshold_backward(p, active, 0), {OUTPUT: slope @ active.mT}

        return output @ active, back


def make_stack(config: TwoLayerConfig) -> Stack:
    """The stack of a config's network."""
    if isinstance(config.network, PatchConfig):
        return PatchStack(config.data, config.network)
    return MLPStack(config.data, config.network)


@dataclass(frozen=True, eq=False)
class Loss:
    """Cross-entropy of outputs (S, R, L, n), sample by sample.

    Attributes:
        outputs: (S, R, L, n).
        labels: int64 (S, n).
        values: (S, R, n), nats.
        slope: (S, R, L, n), derivative of each sample's loss by its outputs.
    """

    outputs: Tensor
    labels: Tensor
    values: Tensor
    slope: Tensor

    @property
    def right(self) -> Tensor:
        """Bool (S, R, n): the logit of the label is the largest; of equal ones the first counts, as in argmax."""
        if self.outputs.shape[2] <= 2:  # argmax is slow
            below = self.outputs[:, :, 0] if self.outputs.shape[2] == 2 else 0
            return (self.outputs[:, :, -1] > below) == (self.labels.unsqueeze(1) == 1)
        return self.outputs.argmax(dim=2) == self.labels.unsqueeze(1)


def loss_of(outputs: Tensor, labels: Tensor) -> Loss:
    """Logistic loss for one output or two, softmax cross-entropy for more.

    Args:
        outputs: (S, R, L, n); one output is the logit of class 1 against 0.
        labels: int64 (S, n).
    """
    if outputs.shape[2] > 2:
        logs = functional.log_softmax(outputs, dim=2)
        chosen = labels[:, None, None].expand(-1, outputs.shape[1], -1, -1)
        values = -logs.gather(2, chosen).squeeze(2)
        slope = logs.exp().scatter_add(2, chosen, torch.full_like(outputs[:, :, :1], -1.0))
        return Loss(outputs, labels, values, slope)
    logit = outputs[:, :, 0] if outputs.shape[2] == 1 else outputs[:, :, 1] - outputs[:, :, 0]
    signs = (2 * labels - 1).to(outputs.dtype).unsqueeze(1)
    margin = logit * signs
    slope = (-signs * torch.sigmoid(-margin)).unsqueeze(2)
    if outputs.shape[2] == 2:
        slope = torch.cat([-slope, slope], dim=2)
    return Loss(outputs, labels, functional.softplus(-margin), slope)


def times(left: Tensor, right: Tensor) -> Tensor:
    """(S, R, a, k) times (S, k, b): one product per seed, of all rows of its replicas; (S, R, a, b)."""
    return torch.bmm(left.flatten(1, 2), right).view(*left.shape[:3], right.shape[-1])


def of_replica(params: Mapping[str, Tensor], seed: int, replica: int) -> Params:
    """Parameters of one network, such as its module's `load_state_dict` takes (places on the axes S and R)."""
    return {name: value[seed, replica].clone() for name, value in params.items()}


def _normal(shape: tuple[int, ...], scale: float, generator: torch.Generator) -> Tensor:
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)
