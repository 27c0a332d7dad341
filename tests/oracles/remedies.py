"""Published remedies entry by entry, in numpy, from their papers' formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from torch import nn

from tests.oracles.shrink import Values


def newton_schulz(matrix: Values, steps: int) -> Values:
    """FIRE's iteration, on the tall form of a matrix."""
    x = matrix.T if matrix.shape[0] < matrix.shape[1] else matrix
    x = x / math.sqrt(sum(entry**2 for entry in x.ravel().tolist()))
    for _ in range(steps):
        x = 1.5 * x - 0.5 * (x @ x.T @ x)
    return x.T if matrix.shape[0] < matrix.shape[1] else x


def fire_by_hand(weight: Values, steps: int, groups: int = 1) -> Values:
    """FIRE of a linear weight or a kernel, group by group and place by place."""
    after = np.array(weight)
    out = weight.shape[0] // groups
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        for place in np.ndindex(weight.shape[2:]):
            index = (rows, slice(None), *place)
            scale = math.sqrt(out / weight.shape[1]) / math.prod(weight.shape[2:])
            after[index] = scale * newton_schulz(weight[index], steps)
    return after


def soft_rescaling_by_hand(
    model: nn.Module, now: Mapping[str, Values], start: Mapping[str, Values], features: float, classifier: float
) -> dict[str, Values]:
    """Soft weight rescaling, layer by layer in model order; biases from the last norm layer on get the product."""
    order = [name for name, part in model.named_modules() if name and f"{name}.weight" in now and _plain(part)]
    norms = [place for place, name in enumerate(order) if "Norm" in type(model.get_submodule(name)).__name__]
    last_linear = [name for name in order if isinstance(model.get_submodule(name), nn.Linear)][-1]
    after, product = dict(now), 1.0
    for place, name in enumerate(order):
        lam = classifier if name == last_linear else features
        old, new = (math.sqrt(float((one[f"{name}.weight"] ** 2).sum())) for one in (start, now))
        c = (lam * old + (1 - lam) * new) / new
        product = product * c if place >= (norms[-1] if norms else 0) else c
        if norms and place == norms[-1]:
            product = c
        after[f"{name}.weight"] = c * now[f"{name}.weight"]
        if f"{name}.bias" in now:
            after[f"{name}.bias"] = product * now[f"{name}.bias"]
    return after


def _plain(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) or any(word in type(part).__name__ for word in ("Conv", "Norm"))
