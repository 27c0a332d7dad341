"""Three ways to step a stack: heavy ball on weights, heavy ball on coefficients of samples, Adam on weights.

Each keeps what it needs of the replicas in training as tensors (S, R, ...) in one dictionary, so that replicas
that have ended can be dropped from all of them at once. `dashtheory.twolayer.train` has the equations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dashtheory.twolayer.stack import Params, Samples, Stack, times

_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam, as torch.optim.Adam

Rate = Tensor | float
"""One number for all replicas, or a tensor (S, R, 1, 1)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hyperparameters:
    """Numbers of training; each float64 of shape (R,), one per replica."""

    learning_rate: Tensor
    momentum: Tensor
    weight_decay: Tensor
    threshold: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """What a stage starts from: parameters, moments of the optimizer (S, R, ...), samples (S, n, ...)."""

    stack: Stack
    params: Params
    moments: tuple[Params, ...]
    steps: Tensor
    samples: Samples
    hyperparameters: Hyperparameters


class Steps(ABC):
    """A stack in training.

    Attributes:
        t: tensors (S, R, ...) of the replicas in training.
        samples: of the seeds in training.
        numbers: c, e, s, g of `Affine`, as rates.
    """

    def __init__(self, start: Start) -> None:
        self.stack, self.samples, self.start = start.stack, start.samples, start
        self.linear, head = self.stack.split(start.params)
        moments = [self.stack.split(one) for one in start.moments]
        self.velocities = [linear for linear, _ in moments]
        self.names = list(head)
        self.t = {f"head {name}": value.clone() for name, value in head.items()}
        for order, (_, parts) in enumerate(moments):
            self.t |= {f"moment {order} {name}": value.clone() for name, value in parts.items()}
        self.rates = {
            name: self._rate(getattr(start.hyperparameters, name))
            for name in ("learning_rate", "momentum", "weight_decay")
        }
        self.numbers: dict[str, Rate] = {"c": 1.0, "e": 0.0, "s": 0.0, "g": 1.0}

    def _rate(self, values: Tensor) -> Rate:
        """A float if it is the same for all replicas, which is faster."""
        if bool((values == values[0]).all()):
            return float(values[0])
        return values.to(self.linear).view(1, -1, 1, 1).expand(len(self.linear), -1, 1, 1)

    @property
    def head(self) -> Params:
        """Parameters of the head."""
        return {name: self.t[f"head {name}"] for name in self.names}

    @property
    def kept(self) -> list[str]:
        """Names in `t` that tell how a replica ended."""
        return list(self.t)

    @abstractmethod
    def z(self, batch: Samples, index: Tensor | None) -> Tensor:
        """W x of a batch, which is at the places `index` (S, b) of the samples, or all; (S, R, rows, b)."""

    @abstractmethod
    def step(self, p: Tensor, gradients: Params, batch: Samples, index: Tensor | None) -> None:
        """One step of the optimizer, from P = d loss / d z and the gradients of the head."""

    @abstractmethod
    def ended(self, done: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor], tuple[Tensor, Tensor] | None]:
        """W, its moments and the coefficients of all replicas, from what was kept of them and of c, e, s, g."""

    def pack(self, rows: Tensor, order: Tensor) -> None:
        """Keep the seeds `rows` (S',), and of each the replicas `order` (S', R')."""

        def packed(rate: Rate) -> Rate:
            return rate[rows[:, None], order] if isinstance(rate, Tensor) else rate

        self.rates = {name: packed(rate) for name, rate in self.rates.items()}
        self.numbers = {name: packed(rate) for name, rate in self.numbers.items()}
        self.t = {name: value[rows[:, None], order] for name, value in self.t.items()}
        if len(rows) < len(self.samples.labels):
            self.samples = self.samples.of_seeds(rows)

    def _heavy_ball_on_head(self, gradients: Params) -> None:
        """Equation (1) for the head, and for c, e, s, g."""
        rate, momentum, decay = self.rates["learning_rate"], self.rates["momentum"], self.rates["weight_decay"]
        for name, gradient in gradients.items():
            self._heavy_ball_(f"head {name}", f"moment 0 {name}", gradient)
        for position, velocity in (("c", "s"), ("e", "g")):
            self.numbers[velocity] = momentum * self.numbers[velocity] + decay * self.numbers[position]
            self.numbers[position] = self.numbers[position] - rate * self.numbers[velocity]

    def _heavy_ball_(self, name: str, velocity_name: str, gradient: Tensor) -> None:
        """Equation (1) for one tensor of `t`, in place."""
        rate, decay = self.rates["learning_rate"], self.rates["weight_decay"]
        value, velocity = self.t[name], self.t[velocity_name]
        velocity.mul_(self.rates["momentum"]).add_(gradient)
        if isinstance(decay, Tensor) or decay:
            velocity.add_(decay * value)
        if isinstance(rate, Tensor):
            value.sub_(rate * velocity)
        else:
            value.sub_(velocity, alpha=rate)


class OnWeights(Steps):
    """Gradient descent on weights."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.t |= {"linear": self.linear.clone(), "velocity": self.velocities[0].clone()}

    def z(self, batch: Samples, index: Tensor | None) -> Tensor:
        """Of the weights."""
        return times(self.t["linear"], batch.x.mT)

    def step(self, p: Tensor, gradients: Params, batch: Samples, index: Tensor | None) -> None:
        """Equation (1)."""
        self._heavy_ball_("linear", "velocity", times(p, batch.x))
        self._heavy_ball_on_head(gradients)

    def ended(self, done: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor], None]:
        """The weights themselves."""
        return done["linear"], [done["velocity"]], None


class OnCoefficients(Steps):
    """Gradient descent on the coefficients of samples, equation (2); A and U are "a" and "u" in `t`."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        x = start.samples.x
        self.gram = x @ x.mT
        self.t["z"] = times(self.linear, x.mT)
        self.moving = bool(self.velocities[0].any())
        if self.moving:
            self.t["z velocity"] = times(self.velocities[0], x.mT)
        self.t |= {"a": torch.zeros_like(self.t["z"]), "u": torch.zeros_like(self.t["z"])}

    @property
    def kept(self) -> list[str]:
        """All but z and its velocity."""
        return [name for name in self.t if not name.startswith("z")]

    def z(self, batch: Samples, index: Tensor | None) -> Tensor:
        """Of the start and the coefficients."""
        start, gram = self._z_of_start(index), self.gram
        if index is not None:
            gram = gram[torch.arange(len(index), device=index.device)[:, None], index].mT
        rate = self.rates["learning_rate"]
        if isinstance(rate, Tensor):
            return start - rate * times(self.t["a"], gram)
        flat = torch.baddbmm(start.flatten(1, 2), self.t["a"].flatten(1, 2), gram, alpha=-rate)
        return flat.view(start.shape[:3] + flat.shape[-1:])

    def _z_of_start(self, index: Tensor | None) -> Tensor:
        """C z_0 + e z_V at the places `index`."""
        c, e = self.numbers["c"], self.numbers["e"]
        z = _at(self.t["z"], index)
        if isinstance(c, Tensor) or c != 1:
            z = c * z
        return z + e * _at(self.t["z velocity"], index) if self.moving else z

    def step(self, p: Tensor, gradients: Params, batch: Samples, index: Tensor | None) -> None:
        """Equation (2)."""
        rate, decay = self.rates["learning_rate"], self.rates["weight_decay"]
        a, u = self.t["a"], self.t["u"]
        u.mul_(self.rates["momentum"])
        if index is None:
            u.add_(p)
        else:
            u.scatter_add_(3, index[:, None, None].expand(p.shape), p)
        if isinstance(decay, Tensor) or decay:
            u.sub_(rate * decay * a)
        a.add_(u)
        self._heavy_ball_on_head(gradients)

    def pack(self, rows: Tensor, order: Tensor) -> None:
        """Gram matrices of the seeds that are left, too."""
        if len(rows) < len(self.gram):
            self.gram = self.gram[rows]
        super().pack(rows, order)

    def ended(self, done: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor], tuple[Tensor, Tensor]]:
        """Weights from coefficients."""
        x = self.start.samples.x
        rate = self.start.hyperparameters.learning_rate.to(self.linear).view(1, -1, 1, 1)
        coefficients = -rate * done["a"], done["u"]
        c, e, s, g = (done[name].to(self.linear)[..., None, None] for name in "cesg")
        velocity = self.velocities[0]
        linear = c * self.linear + e * velocity + times(coefficients[0], x)
        return linear, [s * self.linear + g * velocity + times(coefficients[1], x)], coefficients


class WithAdam(Steps):
    """Adam (Kingma & Ba, ICLR 2015) on weights, with the numbers of torch.optim.Adam and no weight decay."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.t["head linear"] = self.linear.clone()
        for order, value in enumerate(self.velocities):
            self.t[f"moment {order} linear"] = value.clone()
        self.t["steps"] = start.steps.clone()

    def z(self, batch: Samples, index: Tensor | None) -> Tensor:
        """Of the weights."""
        return times(self.t["head linear"], batch.x.mT)

    def step(self, p: Tensor, gradients: Params, batch: Samples, index: Tensor | None) -> None:
        """All parameters alike."""
        self.t["steps"] += 1
        steps = self.t["steps"][..., None, None]
        first, second = (1 - beta**steps for beta in _BETAS)
        rate = (self.rates["learning_rate"] / first).to(p)
        for name, gradient in ({"linear": times(p, batch.x)} | gradients).items():
            mean = self.t[f"moment 0 {name}"].lerp_(gradient, 1 - _BETAS[0])
            square = self.t[f"moment 1 {name}"].mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
            size = square.sqrt().div_(second.sqrt().to(p)).add_(_EPSILON)
            self.t[f"head {name}"].sub_(rate * mean / size)

    def ended(self, done: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor], None]:
        """The weights themselves."""
        return done["head linear"], [done[f"moment {order} linear"] for order in (0, 1)], None


def _at(values: Tensor, index: Tensor | None) -> Tensor:
    """Entries of the last axis of (S, R, rows, n) at the places (S, b), or all."""
    if index is None:
        return values
    return values.gather(3, index[:, None, None].expand(*values.shape[:3], -1))
