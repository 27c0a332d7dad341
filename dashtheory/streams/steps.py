"""SGD with momentum and Adam on all networks at once, each with its own step size, decay and pull to its start.

    g <- g + weight_decay w + gradient of the pull          as PyTorch's optimizers and the rule `l2_init` have it
    sgd     v <- momentum v + g;                            w <- w - learning_rate v
    adam    m, s <- means of g and g^2 (0.9 and 0.999), corrected for their start by each network's own count;
            w <- w - learning_rate m / (sqrt s + 1e-8)

Source: Kingma & Ba (arXiv:1412.6980); the decay is not decoupled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dashtheory.streams.stack import NetworkStack

BETAS, EPS = (0.9, 0.999), 1e-8


@dataclass(eq=False)
class OptimizerState:
    """What the optimizers remember.

    Attributes:
        first: velocity, or mean of gradients, (S, P, D).
        second: mean of squares, (S, P, D); of no length for sgd.
        count: steps done, (S, P, 1), float64.
    """

    first: Tensor
    second: Tensor
    count: Tensor

    @classmethod
    def zero(cls, flat: Tensor, optimizer: str) -> OptimizerState:
        """Of optimizers that are new."""
        second = torch.zeros_like(flat) if optimizer == "adam" else flat.new_zeros(*flat.shape[:2], 0)
        count = torch.zeros(*flat.shape[:2], 1, dtype=torch.float64)
        return cls(torch.zeros_like(flat), second, count)

    def joined(self, other: OptimizerState) -> OptimizerState:
        """With replicas of another behind its own; copies."""
        pairs = zip(self.parts(), other.parts(), strict=True)
        return OptimizerState(*(torch.cat(pair, dim=1) for pair in pairs))

    def head(self, number: int) -> OptimizerState:
        """The first replicas of each seed; copies."""
        return OptimizerState(*(part[:, :number].contiguous() for part in self.parts()))

    def renew_(self, seed: int | slice, replica: int | slice) -> None:
        """Begin anew for one network, or several."""
        for part in self.parts():
            part[seed, replica] = 0

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """All tensors."""
        return self.first, self.second, self.count


@dataclass(frozen=True, kw_only=True, eq=False)
class Pull:
    """A penalty on the distance to the start, with the forms of the rule `l2_init`.

    Attributes:
        strength: l2 of each replica, (P,).
        forms: of each replica; "" where there is none.
        start: where each network began, (S, P, D).
    """

    strength: Tensor
    forms: tuple[str, ...]
    start: Tensor

    def add_to_(self, slope: Tensor, flat: Tensor, stack: NetworkStack) -> None:
        """Add the gradient of the penalty."""
        for replica, form in enumerate(self.forms):
            if not form:
                continue
            gap = flat[:, replica] - self.start[:, replica]
            rate = float(self.strength[replica])
            if form == "textbook":
                slope[:, replica].add_(gap, alpha=2 * rate)
            elif form == "norm":
                slope[:, replica].add_(gap / _or_one(gap.norm(dim=1, keepdim=True)), alpha=rate)
            else:
                parts = [gap[:, start:end] for start, _, end in stack.bounds]
                lengths = [part.norm(dim=1, keepdim=True) for part in parts]
                units = torch.cat([part / _or_one(one) for part, one in zip(parts, lengths, strict=True)], dim=1)
                slope[:, replica].add_(units * sum(lengths), alpha=2 * rate)


def _or_one(lengths: Tensor) -> Tensor:
    """A distance of zero has gradient zero."""
    return torch.where(lengths == 0, 1.0, lengths)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stepper:
    """How all networks step.

    Attributes:
        optimizer: "sgd" or "adam".
        learning_rate: of each replica.
        weight_decay: of each replica.
        momentum: of sgd.
        pull: to the start, if there is one.
    """

    optimizer: str
    learning_rate: Sequence[float]
    weight_decay: Sequence[float]
    momentum: float = 0.0
    pull: Pull | None = None

    def step_(self, flat: Tensor, slope: Tensor, state: OptimizerState, stack: NetworkStack) -> None:
        """One step of every network; the gradient is used up.

        Args:
            flat: (S, P, D), changed in place.
            slope: gradient of the mean loss, like `flat`; overwritten.
            state: changed in place.
            stack: the kind of network.
        """
        rate = torch.tensor(self.learning_rate, dtype=torch.float64)[:, None]
        if any(self.weight_decay):
            slope.addcmul_(flat, torch.tensor(self.weight_decay, dtype=torch.float64)[:, None].to(flat))
        if self.pull is not None:
            self.pull.add_to_(slope, flat, stack)
        if self.optimizer == "sgd":
            if self.momentum:
                slope = state.first.mul_(self.momentum).add_(slope)
            flat.addcmul_(slope, -rate.to(flat))
            return
        state.count += 1
        state.first.lerp_(slope, 1 - BETAS[0])
        state.second.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
        corrected = (1 - BETAS[1] ** state.count).sqrt()
        size = (-rate / (1 - BETAS[0] ** state.count)).to(flat)
        root = torch.sqrt(state.second, out=slope).div_(corrected.to(flat)).add_(EPS)
        flat.addcdiv_(state.first * size, root)
