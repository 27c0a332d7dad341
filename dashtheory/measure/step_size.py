"""How large a step is for a weight whose length does not matter: effective step sizes, before and after a rule.

A scale-invariant weight is a direction. Descent with step size eta turns it as descent with eta / |w|^2 turns the
unit vector w / |w| (docs/theory.md, "Shrinking as a step size"):

    effective step = eta / |w|^2      descent (SGD and what is built on it)
                   = eta / |w|        Adam and AdamW, whose steps do not grow with the gradient            (1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, real
from dashtheory.rules.groups import by_group, targets
from dashtheory.rules.invariance import LEVELS, scale_invariant

STEP_COLUMNS = ("layer", "output", "norm", "step_size", "effective_step")
"""Columns of the table of `effective_step`."""


def effective_step(
    model: nn.Module,
    step_size: float | torch.optim.Optimizer,
    inputs: object = None,
    *,
    layers: Sequence[str] | None = None,
    level: str = "tensor",
) -> pd.DataFrame:
    """Equation (1) for every scale-invariant layer; call it before and after a rule. Changes nothing.

    Range: > 0. Unit: that of step size over squared weights; only ratios mean something across networks.
    Source: van Laarhoven (arXiv:1706.05350); Arora, Li and Lyu (ICLR 2019, arXiv:1812.03981).
    What would fool it: the turn of a step is the effective step times the gradient at the unit vector, which a
    rule can change too; momentum mu multiplies it by about 1 / (1 - mu); an eps of the normalisation that is not
    small beside the variance of what it divides; and a layer of which a part of the filters is dead.

    Args:
        model: any module.
        step_size: eta of descent, or the optimizer: every layer has that of its group (under a schedule, the
            base rate).
        inputs: a batch, from which it is found which layers are scale-invariant (`scale_invariant`).
        layers: their names, if they are known; instead of `inputs`.
        level: "tensor" (a row per weight) or "filter" (a row per output, for layers that are invariant by filter).

    Returns:
        a row per weight or filter: layer, output (-1 for a whole weight), norm, step_size, effective_step
        (infinite for a weight of zero, which is named in `layers`).

    Raises:
        ValueError: if not exactly one of `inputs` and `layers` is given, a layer is not there, or the optimizer
            does not hold it.
    """
    choice("level", level, LEVELS)
    if (inputs is None) == (layers is None):
        fail("inputs", "must be given exactly when `layers` is not", "both or none", "Give a batch.")
    names = scale_invariant(model, inputs, level=level) if layers is None else tuple(layers)
    known = {target.name: target for target in targets(model, level) if target.kind != "vector"}
    rows: list[tuple[object, ...]] = []
    for name in names:
        target = known[choice("layers", name, known)]
        eta, power = _step_of(target.parameter, step_size)
        lengths = by_group(target.parameter.detach().double(), target.kind, target.groups).norm(dim=1).tolist()
        outputs = [-1] if level == "tensor" else list(range(len(lengths)))
        rows += [
            (name, output, length, eta, eta / length**power if length else math.inf)
            for output, length in zip(outputs, lengths, strict=True)
        ]
    return pd.DataFrame(rows, columns=list(STEP_COLUMNS))


def mean_effective_step(table: pd.DataFrame) -> float:
    """Geometric mean over the rows of `effective_step`: each layer the same; NaN if there is none."""
    return math.exp(float(table["effective_step"].map(math.log).mean())) if len(table) else math.nan


def _step_of(parameter: nn.Parameter, step_size: float | torch.optim.Optimizer) -> tuple[float, int]:
    """Step size of a parameter, and the power of its length in equation (1)."""
    if not isinstance(step_size, torch.optim.Optimizer):
        return real("step_size", step_size, low=0, open_low=True, fix="Or give the optimizer."), 2
    power = 1 if isinstance(step_size, torch.optim.Adam | torch.optim.AdamW) else 2
    groups = [group for group in step_size.param_groups if any(held is parameter for held in group["params"])]
    if not groups:
        fail("step_size", "must be the optimizer of this model", "one of other parameters", "Give its own.")
    return float(groups[0].get("initial_lr", groups[0]["lr"])), power


class Change(NamedTuple):
    """What became of vectors: |w'| / |w|, and the angle between w and w' in radians."""

    factor: Tensor
    angle: Tensor


def rescaling_and_turn(before: Tensor, after: Tensor) -> Change:
    """A change of filters, taken apart into what is a step size and what is a turn.

    A rule that multiplies the parts of a filter by factors d, where a part has the share p of its squared length,

        |w'|^2 / |w|^2 = E d^2,        tan(angle) = sd(d) / E d,        both weighted by p,                (2)

    so one factor per filter turns nothing, and factors in [lam, 1] turn by no more than arccos(2 sqrt(lam) /
    (1 + lam)). Derived in docs/theory.md, "Shrinking as a step size". The angle is that of equation (2) for any
    rule, also one that adds noise. Range: factor >= 0, angle in [0, pi].
    What would fool it: a filter with no norm behind it, for which the factor is no step size.

    Args:
        before: (filters, ...).
        after: the same shape.

    Returns:
        factor and angle, (filters,), float64; NaN angle where either vector is zero.

    Raises:
        ValueError: if the shapes differ.
    """
    if before.shape != after.shape or not before.ndim:
        fail("after", f"must have the shape of before, {tuple(before.shape)}", str(tuple(after.shape)), "Or swap.")
    one, other = (value.detach().double().reshape(len(value), -1) for value in (before, after))
    lengths = one.norm(dim=1), other.norm(dim=1)
    unit, moved = one / lengths[0][:, None], other / lengths[1][:, None]
    # atan2 of chord lengths: arccos would lose half of the digits of a small angle.
    angle = 2 * torch.atan2((unit - moved).norm(dim=1), (unit + moved).norm(dim=1))
    return Change(lengths[1] / lengths[0], angle)
