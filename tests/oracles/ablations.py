"""The rules around DASH entry by entry: groups of every granularity, controls, L2 Init, and a stage of training.

Groups are found by asking each entry, one at a time, which group it belongs to.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.oracles.shrink import OracleLayer, Values, cosine, entries, shrunk_parameters, smoothed_by_hand

Chunks = list[tuple[Tensor, Tensor]]
Loss = Callable[..., Tensor]


def group_of(index: tuple[int, ...], module: nn.Module, local: str, granularity: str) -> tuple[int, ...]:
    """Which group the entry at `index` of the parameter `local` of `module` is in."""
    if local.endswith("bias"):
        return ()
    if granularity == "tensor":
        return ()
    if granularity == "row":
        return index[:-1]
    if not isinstance(module, nn.modules.conv._ConvNd):
        return index[:1]
    if granularity == "authors":
        return index[:2]
    if not module.transposed:
        return index[:1]
    block = index[0] // (module.in_channels // module.groups)
    return (block * (module.out_channels // module.groups) + index[1],)  # the output channel it feeds


def dash_in_groups(
    model: nn.Module, chunks: Chunks, loss_fn: Loss, *, alpha: float, lam: float, granularity: str
) -> dict[str, OracleLayer]:
    """What DASH with any granularity makes of every parameter, by name."""
    descent = smoothed_by_hand(model, chunks, loss_fn, alpha=alpha)
    found = {}
    for name, parameter, _ in shrunk_parameters(model):
        prefix, _, local = name.rpartition(".")
        weights, down = entries(parameter), descent[name]
        members: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
        for index in np.ndindex(weights.shape):
            members[group_of(index, model.get_submodule(prefix), local, granularity)].append(index)
        shape = tuple(1 + max(group[axis] for group in members) for axis in range(len(next(iter(members)))))
        cosines, scales, after = np.zeros(shape), np.zeros(shape), np.zeros(weights.shape)
        for group, inside in members.items():
            angle = cosine([weights[i] for i in inside], [down[i] for i in inside])
            cosines[group], scales[group] = angle, min(max(angle, lam), 1)
            for index in inside:
                after[index] = scales[group] * weights[index]
        found[name] = OracleLayer(cosines=cosines, scales=scales, weights=after)
    return found


def times(model: nn.Module, factors: Mapping[str, Values]) -> dict[str, Values]:
    """Every shrinkable parameter, its groups (as the authors form them) times `factors`."""
    found = {}
    for name, parameter, axes in shrunk_parameters(model):
        after = entries(parameter)
        for group in np.ndindex(after.shape[:axes]):
            after[group] = after[group] * factors[name][group]
        found[name] = after
    return found


def mean_factor(model: nn.Module, dash: Mapping[str, OracleLayer]) -> float:
    """Mean over all shrinkable entries of the factor that DASH gives each."""
    each = []
    for name, parameter, axes in shrunk_parameters(model):
        each += [dash[name].scales[index[:axes]] for index in np.ndindex(tuple(parameter.shape))]
    return math.fsum(each) / len(each)


def l2_init_by_hand(
    model: nn.Module, start: Mapping[str, Values], *, l2: float, form: str
) -> tuple[float, dict[str, Values]]:
    """The penalty and its gradient: 2 l2 S (w - w_0) / distance of the layer (S: their sum), or 2 l2 (w - w_0)."""
    apart = {name: entries(parameter) - start[name] for name, parameter, _ in shrunk_parameters(model)}
    squares: dict[str, float] = defaultdict(float)
    for name, difference in apart.items():
        squares[name.rpartition(".")[0]] += math.fsum((difference**2).ravel().tolist())
    if form == "textbook":
        return l2 * math.fsum(squares.values()), {name: 2 * l2 * apart[name] for name in apart}
    total = math.fsum(math.sqrt(square) for square in squares.values())
    slopes = {}
    for name, difference in apart.items():
        distance = math.sqrt(squares[name.rpartition(".")[0]])
        slopes[name] = 2 * l2 * total * difference / distance if distance else 0 * difference
    return l2 * total**2, slopes


class SharpnessAware(torch.optim.Optimizer):
    """SAM around plain gradient descent, with torch's contract: the closure does the forward and backward pass."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> None:
        super().__init__(parameters, {"lr": lr, "rho": rho})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Climb by rho along the gradient, take the gradient there, come back and go down it."""
        with torch.enable_grad():
            loss = closure()
        (group,) = self.param_groups
        held = [value for value in group["params"] if value.grad is not None]
        length = torch.stack([value.grad.norm() for value in held]).norm() + 1e-12
        climbs = [value.grad * (group["rho"] / length) for value in held]
        for value, climb in zip(held, climbs, strict=True):
            value.add_(climb)
        with torch.enable_grad():
            closure()
        for value, climb in zip(held, climbs, strict=True):
            value.sub_(climb).sub_(value.grad, alpha=group["lr"])
            self.state[value]["steps"] = self.state[value].get("steps", 0) + 1
        return loss
