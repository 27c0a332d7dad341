"""How many units of a layer still respond: three shares that are mixed up, of what the layer puts out.

With h (n, units) what a layer puts out after its activation, on n inputs:

    dormant share    of the units with mean |h_i| <= tau (mean over the layer of mean |h| + 1e-9)     Sokar et al.
    dead share       of the units with h_i = 0 on every input                                         Dohare et al.
    active share     of the entries with h != 0 (FAU), or |h| <= c for units that saturate at +-1      Ma et al.

All lie in [0, 1] and have no unit. What would fool them: the inputs (a unit for a rare feature is dead on most; a
batch of 2,000 shows fewer dead units than one of 16); before or after the activation; activations that never
vanish. A factor on the whole layer changes none of them, so that they are blind to a uniform shrink. Entries are
not units: an active share of one half is what a healthy layer of ReLUs has. Places of a convolution must be moved
to the axis of inputs first. `dormant_units` finds the layers of a model by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dashtheory._check import fail, real


def dormant_share(activations: Tensor, *, tau: float = 0.025) -> Tensor:
    """Share of the units that hardly respond beside their layer, (...).

    Source: Sokar et al. (ICML 2023, arXiv:2302.12902); tau 0, 0.025 and 0.1 are in use. A layer that is silent as
    a whole counts as dormant. Range and what would fool it: the module.

    Args:
        activations: (..., n, units), after the activation.
        tau: score up to which a unit is dormant, >= 0.
    """
    tau = real("tau", tau, low=0, fix="0.025 is usual.")
    sizes = _checked(activations).abs().double().mean(dim=-2)
    return (sizes <= tau * (sizes.mean(dim=-1, keepdim=True) + 1e-9)).double().mean(dim=-1)


def dead_share(activations: Tensor) -> Tensor:
    """Share of the units that are exactly 0 on every input, (...).

    Source: "dead units" of Dohare et al. (Nature 2024), on 2,000 inputs there. Range and what would fool it: the
    module.

    Args:
        activations: (..., n, units), after the activation.
    """
    return (_checked(activations) == 0).all(dim=-2).double().mean(dim=-1)


def active_share(activations: Tensor, *, saturated: float | None = None) -> Tensor:
    """Share of the entries that are active: the fraction of active units (FAU) of Ma et al., (...).

    Source: Ma et al. (ICLR 2024, arXiv:2310.07418), who count outputs above 0. Range and what would fool it: the
    module.

    Args:
        activations: (..., n, units), after the activation.
        saturated: size above which an entry counts as stuck, for tanh and the like (0.99); None: 0 is stuck.
    """
    values = _checked(activations)
    active = values != 0 if saturated is None else values.abs() <= real("saturated", saturated, low=0, fix="0.99.")
    return active.double().mean(dim=(-2, -1))


def _checked(activations: Tensor) -> Tensor:
    if not isinstance(activations, Tensor) or activations.ndim < 2 or not activations.numel():
        got = str(tuple(activations.shape)) if isinstance(activations, Tensor) else type(activations).__name__
        fail("activations", "must be a tensor (..., inputs, units), not empty", got, "Flatten places to inputs.")
    if not bool(torch.isfinite(activations).all()):
        fail("activations", "must be finite", "NaN or infinity", "Did the training diverge?")
    return activations.detach()
