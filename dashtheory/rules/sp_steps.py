"""S&P at every step: weights are shrunk and perturbed a little after each step of the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, real
from dashtheory.rules.groups import targets
from dashtheory.rules.rule import (
    AfterStep,
    Context,
    Learner,
    RuleState,
    WhileTraining,
    ablation,
    device_generator,
    flag,
    remembered,
    trainable,
)
from dashtheory.rules.sp_init import initial_weights

PERTURBATIONS = ("noise", "own", "fresh")
"""What is added: Gaussian noise, the run's first weights, or new initial weights at every step."""


@dataclass(frozen=True, kw_only=True)
class ShrinkSteps(WhileTraining):
    """S&P at every step: after each step weights shrink a little, and a little is added.

    Formula: w <- shrink w + perturb x, with x of one of these kinds:

        noise   N(0, 1), on weights and biases of convolutions and linear layers (Dohare et al., UPGD)
        own     w_0, the run's first initialization, on all that is trained (Plasticine: 0.999999 and 1e-6)
        fresh   a new initialization at every step, on all that is trained (the code of L2 Init)

    With `by_rate` it is UPGD's form, where decay and noise come with the step size eta of the step:
    w <- (1 - eta (1 - shrink)) w + eta perturb x. Dohare et al. set the optimizer's weight decay beside the noise:
    `sp_steps:perturb=1e-5:weight_decay=1e-4`.

    Published: Dohare et al. take noise of 1e-4 to 1e-6 for permuted MNIST, 1e-5 for pictures; Plasticine as above;
    the others sweep.

    Cost: a draw of all weights a step; "fresh" builds a network a step, "own" keeps a copy of the first weights.

    Source: Dohare et al. (Nature 2024, arXiv:2306.13812), whose shrinking is the optimizer's weight decay; the
    codes of L2 Init (arXiv:2308.11958), Plasticine and UPGD (arXiv:2404.00781), each with a form of its own.
    Nothing is taken over from them.

    Elsewhere: S&P between stages is `sp`, `sp_ash_adams`, `sp_init` and `sp_all`.

    Attributes:
        shrink: factor kept, in [0, 1].
        perturb: factor of what is added, >= 0.
        of: "noise", "own" or "fresh".
        by_rate: whether both come with the step size of the moment.
    """

    shrink: float = ablation(1.0)
    perturb: float = ablation(1e-5)
    of: str = ablation("noise")
    by_rate: bool = ablation(False)
    name: ClassVar[str] = "sp_steps"
    acts: ClassVar[tuple[str, ...]] = ("steps",)
    inert: ClassVar[Mapping[str, Any]] = {"perturb": 0}

    def __post_init__(self) -> None:
        real("shrink", self.shrink, low=0, high=1, fix="It is the factor kept, not the amount removed.")
        real("perturb", self.perturb, low=0, fix="It is the factor of what is added.")
        choice("of", self.of, PERTURBATIONS)
        flag("by_rate", self.by_rate)

    def start(self, learner: Learner) -> RuleState:
        """Copy the first weights, if they are what is added."""
        return initial_weights(learner.model) if self.of == "own" else {}

    def after_step(self, learner: Learner, context: Context) -> AfterStep | None:
        """Shrink and perturb all."""
        if self.shrink == 1 and not self.perturb:
            return None
        values, drawn = self._pairs(learner.model, context)
        rates = _rates(learner.optimizer)

        @torch.no_grad()
        def call(step: int) -> None:
            for value, x in zip(values, drawn(), strict=True):
                rate = float(rates[id(value)]["lr"]) if self.by_rate else 1.0
                value.mul_(1 - rate * (1 - self.shrink)).add_(x, alpha=rate * self.perturb)

        return AfterStep(call=call)

    def _pairs(self, model: nn.Module, context: Context) -> tuple[list[nn.Parameter], Callable[[], list[Tensor]]]:
        """The parameters that change, and what makes x for each of them."""
        if self.of == "noise":
            values = [target.parameter for target in targets(model)]
            stream = device_generator(context.generator, values[0].device)
            return values, lambda: [
                torch.randn(value.shape, generator=stream, device=value.device, dtype=value.dtype)
                for value in values
            ]
        named = trainable(model)
        if self.of == "own":
            first = [remembered(context.state, name, value) for name, value in named.items()]
            return list(named.values()), lambda: first

        def fresh() -> list[Tensor]:
            drawn = dict(context.draw(context.generator).named_parameters())
            return [drawn[name].to(value.device, value.dtype) for name, value in named.items()]

        return list(named.values()), fresh


def _rates(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """The optimizer's group of each parameter."""
    return {id(value): group for group in optimizer.param_groups for value in group["params"]}
