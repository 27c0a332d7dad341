"""max(z, 0)^q and its smoothed form, with slopes.

    plain       act(z) = max(z, 0)^q
    smoothed    act(z) = z^q / q on [0, 1], z - 1 + 1/q above 1, 0 below 0      (slope at most 1)

q = 1 is the ReLU in both. The slope at 0 is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def activation(z: Tensor, exponent: float, *, smoothed: bool) -> Tensor:
    """act(z), by torch operations that autograd knows; same shape.

    Args:
        z: any shape.
        exponent: q >= 1.
        smoothed: linear above 1.
    """
    rectified = torch.relu(z)
    if exponent == 1:
        return rectified
    if not smoothed:
        return rectified**exponent
    bent = rectified.clamp(max=1) ** exponent / exponent
    return torch.where(z < 1, bent, z - 1 + 1 / exponent)


def value_and_slope(z: Tensor, exponent: float, *, smoothed: bool) -> tuple[Tensor, Tensor]:
    """act(z) and act'(z) with one power for both; shapes of z."""
    rectified = z.clamp_min(0)
    if exponent == 1:
        return rectified, (z > 0).to(z.dtype)
    if not smoothed:
        power = _power(rectified, exponent - 1)
        return rectified.mul_(power), power.mul_(exponent)
    bent = rectified.clamp_max(1)
    slope = _power(bent, exponent - 1)
    return (bent * slope).mul_(1 / exponent).add_(rectified).sub_(bent), slope


def _power(z: Tensor, exponent: float) -> Tensor:
    """z^exponent for z >= 0, a new tensor; square roots are several times as fast as powers."""
    if exponent == 0.5:
        return z.sqrt()
    if exponent == 0.75:
        root = z.sqrt()
        return root.mul_(root.sqrt())
    if exponent == 1:
        return z.clone()
    return z.square() if exponent == 2 else z.pow(exponent)
