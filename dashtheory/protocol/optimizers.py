"""The optimizers by name, and SAM: sharpness-aware minimisation around SGD.

    sgd     SGD with momentum: the paper's
    adam    Adam; weight decay is added to the gradient (L2)
    adamw   Adam; weight decay shrinks the weights directly (Loshchilov & Hutter 2019)
    sam     SAM around SGD

Weight decay acts on all parameters, norm layers and biases included, as in the authors' runs: there are no groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, overload

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from dashtheory._check import choice, fail, real
from dashtheory.batchnorm import frozen_running_statistics

__all__ = ["OPTIMIZERS", "SAM", "frozen_running_statistics", "make_optimizer"]

_Loss = TypeVar("_Loss")  # what a closure returns

OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "sgd": ("learning_rate", "momentum", "weight_decay"),
    "adam": ("learning_rate", "weight_decay"),
    "adamw": ("learning_rate", "weight_decay"),
    "sam": ("learning_rate", "momentum", "weight_decay", "rho"),
}
"""Optimizers by name, and the options of `make_optimizer` that each of them has."""


class SAM(torch.optim.Optimizer):
    """Sharpness-aware minimisation around SGD (Foret, Kleiner, Mobahi & Neyshabur, ICLR 2021, equation 3).

        g = gradient at w               e = rho g / (|g| + 1e-12)
        h = gradient at w + e           w <- SGD step from w along h

    |g| is the 2-norm over all parameters together. Weight decay belongs to the SGD step: it is added to h at w and
    plays no part in e. Parameters without a gradient neither count nor move.

    A step needs two gradients of one batch, so `step` takes a closure that evaluates the batch and calls backward.
    It is called twice, at w and at w + e, where torch's own optimizers call it once. One loop can serve them all:

        calls = 0

        def closure() -> Tensor:
            nonlocal calls
            calls += 1
            optimizer.zero_grad()
            with frozen_running_statistics(model) if calls > 1 else nullcontext():
                loss = loss_fn(model(inputs), targets)
            loss.backward()
            return loss

        optimizer.step(closure)

    Dropout draws a new mask in the second call. With rho = 0 and a model that draws nothing the steps are those of
    SGD, bit for bit.

    The state is SGD's momentum alone, so a checkpoint between two steps is complete.

    Args:
        parameters: to optimise.
        learning_rate: of SGD.
        momentum: of SGD.
        weight_decay: of SGD.
        rho: radius |e|; the paper of DASH uses 0.1.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        rho: float = 0.1,
    ) -> None:
        _check(learning_rate, momentum, weight_decay, rho)
        super().__init__(
            parameters, {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay, "rho": rho}
        )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], _Loss]) -> _Loss: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], _Loss] | None = None) -> _Loss | None:
        """One update.

        Args:
            closure: evaluates the batch at the weights of the moment, calls backward and returns the loss. It need
                not zero the gradients: they are zeroed before each call.

        Returns:
            what the first call returned, the loss at w.

        Raises:
            ValueError: without a closure, or if no parameter has a gradient after a call. If the second call
                fails, the weights are put back to w first.
        """
        if closure is None:
            fail(
                "closure",
                "must be a function that evaluates the batch and calls backward",
                "None",
                "SAM needs two gradients per step: see the class.",
            )
        loss = self._evaluate(closure)
        kept = self._ascend()
        try:
            self._evaluate(closure)
        finally:
            for parameter, value in kept:
                parameter.copy_(value)
        self._descend()
        return loss

    def _evaluate(self, closure: Callable[[], _Loss]) -> _Loss:
        """Call the closure; its gradients, and no others, are in the parameters afterwards."""
        self.zero_grad(set_to_none=True)
        with torch.enable_grad():
            loss = closure()
        if not any(_with_gradient(group["params"]) for group in self.param_groups):
            fail("closure", "must give gradients", "none", "Call loss.backward() in it.")
        return loss

    def _ascend(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Move w to w + e; return the parameters moved and copies of what they were."""
        moved = [(item, group["rho"]) for group in self.param_groups for item in _with_gradient(group["params"])]
        norm = nn.utils.get_total_norm([_gradient(item) for item, _ in moved])
        kept = [(item, item.clone()) for item, _ in moved]
        for item, rho in moved:
            item.add_(_gradient(item) * (rho / (norm + 1e-12)).to(item))
        return kept

    def _descend(self) -> None:
        """The SGD step at w along the gradients of the moment."""
        for group in self.param_groups:
            parameters = _with_gradient(group["params"])
            buffers: list[Tensor | None] = [self.state[item].get("momentum_buffer") for item in parameters]
            sgd(
                list[Tensor](parameters),
                [_gradient(item) for item in parameters],
                buffers,
                lr=group["lr"],
                momentum=group["momentum"],
                weight_decay=group["weight_decay"],
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            if group["momentum"] != 0:
                for parameter, buffer in zip(parameters, buffers, strict=True):
                    self.state[parameter]["momentum_buffer"] = buffer


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    rho: float = 0.1,
    fused: bool = False,
) -> torch.optim.Optimizer:
    """Build the optimizer called `name`.

    Every value is checked; those that the optimizer does not have (`OPTIMIZERS[name]` lists those it has) change
    nothing. The averages of adam and adamw are PyTorch's: betas (0.9, 0.999), epsilon 1e-8.

    Args:
        name: sgd, adam, adamw or sam.
        parameters: to optimise.
        learning_rate: > 0.
        momentum: of sgd and sam, in [0, 1] (no dampening, not Nesterov's).
        weight_decay: on all parameters, >= 0.
        rho: radius of sam, >= 0.
        fused: whether PyTorch updates all parameters in one kernel (not sam, which is written here); the last bits
            differ.

    Raises:
        ValueError: if a value is out of range or there is no such optimizer.
    """
    _check(learning_rate, momentum, weight_decay, rho)
    if choice("name", name, OPTIMIZERS) == "sam":
        return SAM(parameters, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay, rho=rho)
    if name == "sgd":
        return torch.optim.SGD(
            parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay, fused=fused or None
        )
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(parameters, lr=learning_rate, weight_decay=weight_decay, fused=fused or None)


def _with_gradient(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.grad is not None]


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _check(learning_rate: float, momentum: float, weight_decay: float, rho: float) -> None:
    real("learning_rate", learning_rate, low=0, open_low=True, fix="It is a step size.")
    real("momentum", momentum, low=0, high=1, fix="The paper uses 0.9.")
    real("weight_decay", weight_decay, low=0, fix="The paper uses 0, or 5e-4 in one setting.")
    real("rho", rho, low=0, fix="It is a radius; the paper uses 0.1 and 0.05.")
