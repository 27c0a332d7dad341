"""Utility-based perturbed gradient descent (UPGD): useful weights are held, useless ones move and are shaken.

    u <- beta u + (1 - beta) (-g w)            utility of each weight, g its gradient
    S = sigmoid(u' / max u')                   u' = u / (1 - beta^t), the maximum over all weights of the network
    w <- (1 - eta d) w - eta (g + noise) (1 - S)          noise normal with sd sigma, d the weight decay

Source: Elsayed & Mahmood, "Addressing loss of plasticity and catastrophic forgetting in continual learning" (ICLR
2024, arXiv:2404.00781): the first-order global form. The authors' code takes the maximum of u, not of u', so that
S of useful weights begins near 1 and falls (by 1/(1 - beta^t), a thousandfold at beta = 0.999), and where no
utility is positive its quotient changes sign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, real
from dashtheory.rules.optimizing import (
    ClosureOptimizer,
    OtherOptimizer,
    check_descent,
    gradient_of,
    settings_of,
    with_gradient,
)
from dashtheory.rules.rule import MakeOptimizer, ablation, flag

MAXIMA = ("corrected", "published")
"""What a utility is measured by: the largest corrected one, or the largest as the authors' code has it."""

_NOISE = "noise"


class UPGD(ClosureOptimizer):
    """UPGD, first order, utilities measured against the largest of all weights.

    Its noise comes from a stream of its own, whose state is kept in `state`; it begins with the bits of the
    weights that it first steps, so that two seeds of a run have two. With sigma = 0 and S = 0 (no weight useful)
    the steps are those of SGD without momentum, bit for bit. Parameters without a gradient neither count nor move.

    Args:
        parameters: to optimize.
        learning_rate: eta.
        weight_decay: d, decoupled: it acts on all weights alike. Published: 0.001 among others, swept.
        beta: of the average of utilities, in [0, 1).
        sigma: standard deviation of the noise, >= 0.
        protecting: False gates the noise alone, w <- (1 - eta d) w - eta (g + noise (1 - S)).
        maximum: one of `MAXIMA`. "corrected": S is sigmoid(1) for the most useful weight at any step, and
            sigmoid(-1) where no utility is positive.
        factor: of the step; the authors' README has 2, since S is about a half for most weights.

    Raises:
        ValueError: if a value is out of range.
    """

    recordable: ClassVar[bool] = False
    """A recorded step would repeat its noise."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
        beta: float = 0.999,
        sigma: float = 0.001,
        protecting: bool = True,
        maximum: str = "corrected",
        factor: float = 1.0,
    ) -> None:
        check_descent(learning_rate, 0.0, weight_decay)
        check_options(beta, sigma, protecting, maximum, factor)
        options = {"beta": beta, "sigma": sigma, "protecting": protecting, "maximum": maximum, "factor": factor}
        super().__init__(parameters, {"lr": learning_rate, "weight_decay": weight_decay, **options})

    def update(self) -> None:
        """One update."""
        moved = [(one, group) for group in self.param_groups for one in with_gradient(group["params"])]
        if not moved:
            return
        found = [self._utility(parameter, group["beta"]) for parameter, group in moved]
        corrected = moved[0][1]["maximum"] == "corrected"
        largest = torch.stack([(right if corrected else raw).max().double() for raw, right in found]).max()
        noise = self._noise(moved[0][0])
        for (parameter, group), (_, utility) in zip(moved, found, strict=True):
            held = protection(utility, largest, sign_kept=corrected)
            self._move(parameter, group, held, noise)
        if noise is not None:
            self.state[_NOISE] = {"generator": noise.get_state()}  # type: ignore[index]

    def _utility(self, parameter: nn.Parameter, beta: float) -> tuple[Tensor, Tensor]:
        """The average utility of each entry after this gradient, as it is and corrected for its beginning at 0."""
        state = self.state[parameter]
        if not state:
            state |= {"step": 0, "utility": torch.zeros_like(parameter)}
        state["step"] += 1
        average: Tensor = state["utility"]
        average.mul_(beta).add_(-gradient_of(parameter) * parameter, alpha=1 - beta)
        return average, average / (1 - beta ** state["step"])

    @staticmethod
    def _move(
        parameter: nn.Parameter, group: dict[str, float], held: Tensor, noise: torch.Generator | None
    ) -> None:
        step = gradient_of(parameter)
        free = 1 - held
        if group["protecting"]:
            step = (step if noise is None else step + _draw(step, noise) * group["sigma"]) * free
        elif noise is not None:
            step = step + _draw(step, noise) * group["sigma"] * free
        if group["weight_decay"]:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(step, alpha=-group["lr"] * group["factor"])

    def _noise(self, first: nn.Parameter) -> torch.Generator | None:
        """The stream of the noise where it was left; None if there is no noise."""
        if not any(group["sigma"] for group in self.param_groups):
            return None
        generator = torch.Generator(first.device)
        if _NOISE in self.state:
            kept: Tensor = self.state[_NOISE]["generator"]  # type: ignore[index]
            return generator.set_state(kept.cpu())
        return generator.manual_seed(_seed_of(one for group in self.param_groups for one in group["params"]))


def protection(utility: Tensor, largest: Tensor, *, sign_kept: bool = True) -> Tensor:
    """S: how much each weight is held, in (0, 1).

    Args:
        utility: of each weight.
        largest: of all weights.
        sign_kept: whether useless weights stay useless where the largest utility is negative; the authors' code
            divides by it as it is.
    """
    if sign_kept:
        largest = largest.abs().clamp_min(torch.finfo(utility.dtype).tiny)
    return torch.sigmoid(utility / largest.to(utility.dtype))


def check_options(beta: float, sigma: float, protecting: bool, maximum: str, factor: float) -> None:
    """Refuse options that are none of UPGD.

    Raises:
        ValueError: in one line.
    """
    if real("beta", beta, low=0, high=1, fix="It is the share of the past that stays.") == 1:
        fail("beta", "must be below 1", "1", "An average that never moves knows nothing.")
    real("sigma", sigma, low=0, fix="It is a standard deviation; 0.001 as published.")
    flag("protecting", protecting)
    choice("maximum", maximum, MAXIMA)
    real("factor", factor, low=0, open_low=True, fix="It multiplies the step; 2 in the authors' README.")


def _draw(like: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers in the logical order of entries, whatever the memory format."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def _seed_of(parameters: Iterable[Tensor]) -> int:
    """A seed from the bits of parameters."""
    digest = hashlib.sha256()
    for parameter in parameters:
        flat = parameter.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return int.from_bytes(digest.digest()[:7], "big")


@dataclass(frozen=True, kw_only=True)
class WithUPGD(OtherOptimizer):
    """Train with UPGD, with learning rate and weight decay of the run, and no momentum.

    Cost: an average of the size of the weights, and a draw for each weight a step.

    Attributes:
        beta: as in `UPGD`; 0.999 as published, as are the others.
        sigma: as in `UPGD`.
        protecting: as in `UPGD`.
        maximum: as in `UPGD`; "published" does as the authors' code.
        factor: as in `UPGD`.
        state: as in `OtherOptimizer`.
    """

    beta: float = ablation(0.999)
    sigma: float = ablation(0.001)
    protecting: bool = ablation(True)
    maximum: str = ablation("corrected")
    factor: float = ablation(1.0)
    name: ClassVar[str] = "upgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_options(self.beta, self.sigma, self.protecting, self.maximum, self.factor)

    def optimizer_for(self, model: nn.Module, make: MakeOptimizer) -> UPGD:
        """UPGD of all parameters."""
        run = settings_of(make(model.parameters()))
        return UPGD(
            model.parameters(),
            learning_rate=run.learning_rate,
            weight_decay=run.weight_decay,
            beta=self.beta,
            sigma=self.sigma,
            protecting=self.protecting,
            maximum=self.maximum,
            factor=self.factor,
        )
