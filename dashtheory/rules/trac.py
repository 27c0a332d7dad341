"""TRAC: any optimizer, with a scale in front of its displacement that is found by betting on gradients.

    w = w_ref + max(S, 0) (b - w_ref)          b the weights of the base optimizer, which goes its own way on the
                                               gradients at w; w_ref the first weights
    S = s_1 + ... + s_n, one s for each discount beta:
    h = <g, b - w_ref>    v <- beta^2 v + h^2    sigma <- beta sigma - h
    s = prior erfi(sigma / (sqrt(2 v) + epsilon)) / erfi(1 / sqrt 2)

Source: Muppidi, Zhang & Yang, "Fast TRAC: a parameter-free optimizer for lifelong reinforcement learning" (NeurIPS
2024, arXiv:2405.16642), algorithms 1 and 2. Betas, prior and epsilon are those of the authors' package, and so is
the beginning sigma = 1e-8. That package does not keep b: it finds b - w_ref again at every step as (w - w_ref) /
(S + epsilon), and so loses in float32 what S = 1e-8 makes too small to be added to w_ref, and a part of it even
without rounding (epsilon is as large as S begins); and decay of weights acts at w there, here at b.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from scipy.special import erfi
from torch import Tensor, nn

from dashtheory._check import fail, real
from dashtheory.rules.optimizing import ClosureOptimizer, OtherOptimizer, gradient_of, with_gradient
from dashtheory.rules.rule import MakeOptimizer, ablation
from dashtheory.rules.sam import SAM

BETAS = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
EPSILON = 1e-8
_SCALE = "trac"
_LARGEST = 26.0  # erfi is infinite in double precision soon after


class TRAC(ClosureOptimizer):
    """A base optimizer with TRAC around it.

    State and groups of parameters are the base's, which TRAC adds to: `reference` (w_ref) and `iterate` (b) of
    each parameter, and under "trac" the numbers of the scale. Where a rule changes weights between stages and
    keeps the optimizer, both begin anew from the changed weights (`dashtheory.rules.anchors`), and the scale goes
    on. With S = 1 the steps are those of the base, bit for bit.

    Args:
        base: made already, of the parameters to optimize; its step must not need a closure.
        betas: discounts, each in (0, 1].
        prior: s before anything is known, > 0.

    Raises:
        ValueError: if a value is out of range, or the base calls its closure at other weights (SAM, LBFGS); in
            use, if something else changed the weights since the last step, which the next would undo.
    """

    recordable: ClassVar[bool] = False
    """The scale is found on the host."""

    def __init__(
        self, base: torch.optim.Optimizer, *, betas: Sequence[float] = BETAS, prior: float = EPSILON
    ) -> None:
        if isinstance(base, SAM | torch.optim.LBFGS):
            got = type(base).__name__
            fail("optimizer", "must step on one gradient", got, "Take sgd, adam or adamw below TRAC.")
        check_scale(betas, prior)
        self.betas, self.prior = tuple(betas), prior
        self.base = base
        super().__init__(base.param_groups, dict(base.defaults))
        self._share()

    def _share(self) -> None:
        """Let the base step with this state and these groups: loading or copying a state makes new ones."""
        self.base.state, self.base.param_groups = self.state, self.param_groups

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs."""
        return {**super().__getstate__(), "base": self.base, "betas": self.betas, "prior": self.prior}

    @property
    def scale(self) -> float:
        """S of the last step; 0 before the first."""
        return sum(self.state[_SCALE]["s"]) if _SCALE in self.state else 0.0  # type: ignore[index]

    def update(self) -> None:
        """One update."""
        self._share()
        moved = [one for group in self.param_groups for one in with_gradient(group["params"])]
        if not moved:
            return
        self._refuse_changed(moved)
        references = [self.state[one].get("reference", one).clone() for one in moved]
        iterates = [self.state[one].get("iterate", one).clone() for one in moved]
        slope = self._slope(moved, references, iterates)
        for parameter, iterate in zip(moved, iterates, strict=True):
            parameter.copy_(iterate)
        self.base.step()
        weight = self._scaled(slope)
        for parameter, reference in zip(moved, references, strict=True):
            self.state[parameter] |= {"reference": reference, "iterate": parameter.clone()}
            parameter.copy_(torch.lerp(reference, parameter, weight))

    @staticmethod
    def _slope(moved: list[nn.Parameter], references: list[Tensor], iterates: list[Tensor]) -> float:
        """H: the slope of the loss in S."""
        products = [
            (gradient_of(one).double() * (iterate.double() - reference.double())).sum()
            for one, reference, iterate in zip(moved, references, iterates, strict=True)
        ]
        return float(torch.stack(products).sum())

    def _refuse_changed(self, moved: list[nn.Parameter]) -> None:
        """Refuse weights that something changed since the last step: going on from b would undo it."""
        weight = max(self.scale, 0.0)
        known = [one for one in moved if "iterate" in self.state[one]]
        left = [torch.lerp(self.state[one]["reference"], self.state[one]["iterate"], weight) for one in known]
        same = [((one == other) | one.isnan()).all() for one, other in zip(known, left, strict=True)]
        if same and not bool(torch.stack(same).all()):
            fail(
                "weights",
                "must be as the last step of TRAC left them",
                "others",
                "Renew the optimizer, change them inside of anchored(optimizer), or take a rule that does not act "
                "after steps.",
            )

    def _scaled(self, slope: float) -> float:
        """max(S, 0) after a slope."""
        before = self.state.get(_SCALE) or {  # type: ignore[call-overload]
            "v": [0.0] * len(self.betas),
            "sigma": [EPSILON] * len(self.betas),
        }
        v = [beta**2 * one + slope**2 for beta, one in zip(self.betas, before["v"], strict=True)]
        sigma = [beta * one - slope for beta, one in zip(self.betas, before["sigma"], strict=True)]
        s = [self.prior * bet(sum_, squares) for sum_, squares in zip(sigma, v, strict=True)]
        self.state[_SCALE] = {"v": v, "sigma": sigma, "s": s}  # type: ignore[index]
        return max(sum(s), 0.0)


def bet(sigma: float, v: float) -> float:
    """The factor of the prior, from the discounted sum of minus slopes and that of their squares."""
    lead = sigma / (math.sqrt(2 * v) + EPSILON)
    return float(erfi(min(lead, _LARGEST)) / erfi(1 / math.sqrt(2)))


def check_scale(betas: Sequence[float], prior: float) -> None:
    """Refuse numbers that are none of a scale.

    Raises:
        ValueError: in one line.
    """
    if not isinstance(betas, tuple | list) or not betas:
        fail("betas", "must be numbers", repr(betas), "Write betas=0.9+0.99, say.")
    for beta in betas:
        real("betas", beta, low=0, high=1, open_low=True, fix="Each is the share of the past that stays.")
    real("prior", prior, low=0, open_low=True, fix="It is the scale before anything is known; 1e-8 as published.")


@dataclass(frozen=True, kw_only=True)
class WithTRAC(OtherOptimizer):
    """Train with TRAC around the run's optimizer.

    The reference is the weights of the first step, in all stages, as published; state=renewed begins anew in every
    stage, with a new reference.

    Cost: two copies of the weights, and a wait for the device at every step.

    Attributes:
        betas: discounts, each in (0, 1].
        prior: s before anything is known, > 0.
        state: as in `OtherOptimizer`.
    """

    betas: tuple[float, ...] = ablation(BETAS)
    prior: float = ablation(EPSILON)
    name: ClassVar[str] = "trac"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scale(self.betas, self.prior)

    def optimizer_for(self, model: nn.Module, make: MakeOptimizer) -> TRAC:
        """TRAC around the run's.

        Raises:
            ValueError: if that one steps on more than one gradient.
        """
        return TRAC(make(model.parameters()), betas=self.betas, prior=self.prior)
