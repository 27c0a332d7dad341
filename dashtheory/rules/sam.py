"""Sharpness-aware minimization (SAM) around SGD, and the rule that trains with it.

Source: Foret, Kleiner, Mobahi & Neyshabur, "Sharpness-aware minimization for efficiently improving generalization"
(ICLR 2021, arXiv:2010.01412).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from dashtheory._check import fail, real
from dashtheory.rules.optimizing import OtherOptimizer, check_descent, gradient_of, settings_of, with_gradient
from dashtheory.rules.rule import MakeOptimizer, ablation

_Loss = TypeVar("_Loss")  # what a closure returns


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
        check_descent(learning_rate, momentum, weight_decay)
        real("rho", rho, low=0, fix="It is a radius; the paper uses 0.1 and 0.05.")
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
        if not any(with_gradient(group["params"]) for group in self.param_groups):
            fail("closure", "must give gradients", "none", "Call loss.backward() in it.")
        return loss

    def _ascend(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Move w to w + e; return the parameters moved and copies of what they were."""
        moved = [(item, group["rho"]) for group in self.param_groups for item in with_gradient(group["params"])]
        norm = nn.utils.get_total_norm([gradient_of(item) for item, _ in moved])
        kept = [(item, item.clone()) for item, _ in moved]
        for item, rho in moved:
            item.add_(gradient_of(item) * (rho / (norm + 1e-12)).to(item))
        return kept

    def _descend(self) -> None:
        """The SGD step at w along the gradients of the moment."""
        for group in self.param_groups:
            parameters = with_gradient(group["params"])
            buffers: list[Tensor | None] = [self.state[item].get("momentum_buffer") for item in parameters]
            sgd(
                list[Tensor](parameters),
                [gradient_of(item) for item in parameters],
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


@dataclass(frozen=True, kw_only=True)
class WithSAM(OtherOptimizer):
    """Train with SAM around SGD, with learning rate, weight decay and momentum of the run (0.9 where it has none).

    Formula: w <- w - eta (gradient at w + rho g / |g|), g the gradient at w.

    Cost: two gradients a step.

    Attributes:
        rho: radius, >= 0; the paper of DASH uses 0.1 and 0.05. With 0 it is SGD.
        state: as in `OtherOptimizer`.
    """

    rho: float = ablation(0.1)
    name: ClassVar[str] = "sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        real("rho", self.rho, low=0, fix="It is a radius; the paper of DASH uses 0.1 and 0.05.")

    def optimizer_for(self, model: nn.Module, make: MakeOptimizer) -> SAM:
        """SAM of all parameters."""
        run = settings_of(make(model.parameters()))
        return SAM(
            model.parameters(),
            learning_rate=run.learning_rate,
            momentum=run.momentum,
            weight_decay=run.weight_decay,
            rho=self.rho,
        )
