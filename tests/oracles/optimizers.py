"""Published optimizers entry by entry, in plain Python, from their papers' formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.oracles.shrink import Values


def upgd_by_hand(
    weights: list[Values],
    gradients: Sequence[list[Values]],
    *,
    eta: float,
    decay: float,
    beta: float,
    published: bool = False,
    protecting: bool = True,
    noise: Sequence[list[Values]],
) -> list[Values]:
    """UPGD, first order, global.

    Args:
        weights: by tensor.
        gradients: of each step, by tensor; they do not depend on the weights here.
        eta: step size.
        decay: of weights.
        beta: of utilities.
        published: take the maximum of utilities that are not corrected, as the authors' code does.
        protecting: whether the gradient is gated too.
        noise: of each step, already times its standard deviation.
    """
    weights = [one.copy() for one in weights]
    utilities = [np.zeros_like(one) for one in weights]
    for step, gradient in enumerate(gradients, 1):
        for place, g in enumerate(gradient):
            for index in np.ndindex(g.shape):
                new = -g[index] * weights[place][index]
                utilities[place][index] = beta * utilities[place][index] + (1 - beta) * new
        correction = 1 - beta**step
        top = max(float(one.max()) for one in utilities)
        top = top if published else abs(top / correction)
        for place, g in enumerate(gradient):
            for index in np.ndindex(g.shape):
                held = (1 + math.tanh(utilities[place][index] / correction / top / 2)) / 2
                shake = noise[step - 1][place][index]
                move = (g[index] + shake) * (1 - held) if protecting else g[index] + shake * (1 - held)
                weights[place][index] = (1 - eta * decay) * weights[place][index] - eta * move
    return weights


def erfi_series(x: float) -> float:
    """2 / sqrt(pi) times the sum of x^(2k+1) / (k! (2k+1))."""
    total, term = 0.0, x
    for k in range(400):
        total += term / (2 * k + 1)
        term *= x * x / (k + 1)
    return 2 / math.sqrt(math.pi) * total


class TracByHand:
    """TRAC's algorithm 2: one scale for each discount, from slopes.

    Args:
        betas: discounts.
        prior: of each scale.
    """

    def __init__(self, betas: Sequence[float], prior: float) -> None:
        self.betas, self.prior = betas, prior
        self.v = [0.0 for _ in betas]
        self.sigma = [1e-8 for _ in betas]

    def scale(self, slope: float) -> float:
        """S after one more slope."""
        total = 0.0
        for place, beta in enumerate(self.betas):
            self.v[place] = beta**2 * self.v[place] + slope**2
            self.sigma[place] = beta * self.sigma[place] - slope
            x = self.sigma[place] / (math.sqrt(2) * math.sqrt(self.v[place]) + 1e-8)
            total += self.prior / erfi_series(1 / math.sqrt(2)) * erfi_series(x)
        return max(total, 0.0)
