"""Rules that train with another optimizer than the run's from the first stage on, and are warm between stages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, overload

import torch
from torch import Tensor, nn

from dashtheory._check import choice, real
from dashtheory.rules.rule import OPTIMIZER_FATES, Context, Learner, WhileTraining, ablation

Loss = TypeVar("Loss")
"""What a closure returns."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What an optimizer was made with, as far as others have the like.

    Attributes:
        learning_rate: of its first group of parameters, as are the others.
        weight_decay: 0 where it has none.
        momentum: 0.9 where it has none (Adam), the run's default.
    """

    learning_rate: float
    weight_decay: float
    momentum: float


def settings_of(optimizer: torch.optim.Optimizer) -> RunSettings:
    """Learning rate, weight decay and momentum of an optimizer, such as the run's."""
    group: dict[str, Any] = optimizer.param_groups[0]
    return RunSettings(
        learning_rate=float(group["lr"]),
        weight_decay=float(group.get("weight_decay", 0.0)),
        momentum=float(group.get("momentum", 0.9)),
    )


@dataclass(frozen=True, kw_only=True)
class OtherOptimizer(WhileTraining):
    """Train on from stage to stage with another optimizer (`optimizer_for`).

    learning_rate= and weight_decay= of the rule's text, or else the run's, are that optimizer's.

    Attributes:
        state: what becomes of the optimizer's state between stages, "kept" or "renewed" (a new one).
    """

    state: str = ablation("kept")
    acts: ClassVar[tuple[str, ...]] = ("optimizer",)

    def __post_init__(self) -> None:
        choice("state", self.state, OPTIMIZER_FATES)

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Keep the weights, and keep or renew the optimizer."""
        if self.state == "kept":
            return learner, None
        return Learner(learner.model, context.renew(learner.model)), None


class ClosureOptimizer(torch.optim.Optimizer):
    """An optimizer that steps once along the gradients of one batch; `update` says how."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], Loss]) -> Loss: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        """One update.

        Args:
            closure: evaluates the batch and calls backward; None if that is done.

        Returns:
            what the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.update()
        return loss

    @abstractmethod
    def update(self) -> None:
        """Move the parameters along their gradients; called without gradient tracking."""


def with_gradient(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those of the parameters that have a gradient."""
    return [parameter for parameter in parameters if parameter.grad is not None]


def gradient_of(parameter: nn.Parameter) -> Tensor:
    """The gradient of a parameter that has one."""
    assert parameter.grad is not None
    return parameter.grad


def check_descent(learning_rate: float, momentum: float, weight_decay: float) -> None:
    """Refuse numbers that are none of descent.

    Raises:
        ValueError: in one line.
    """
    real("learning_rate", learning_rate, low=0, open_low=True, fix="It is a step size.")
    real("momentum", momentum, low=0, high=1, fix="The paper uses 0.9.")
    real("weight_decay", weight_decay, low=0, fix="The paper uses 0, or 5e-4 in one setting.")
