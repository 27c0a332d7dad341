"""Which neurons hold features and which hold noise."""

from __future__ import annotations

import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory.measure.decompose import Decomposition
from dashtheory.measure.norms import Norms, as_norms


def feature_shares(norms: Norms | Decomposition) -> Tensor:
    """Feature share of each neuron, (..., neurons).

    phi_r = |sum_k gamma_rk v_k|^2 / (|sum_k gamma_rk v_k|^2 + |sum_i rho_ri xi_i|^2)

    Range: [0, 1], no unit; 1: features alone, NaN for a neuron with neither. Source: derived here.
    No rule that scales whole neurons can change it (`dashtheory.measure.selectivity`).
    What would fool it: one strong frequent feature gives a neuron as large a share as many rare ones.
    """
    found = as_norms(norms)
    largest = torch.maximum(found.feature, found.noise)  # so that no square under- or overflows
    feature, noise = (found.feature / largest).square(), (found.noise / largest).square()
    return feature / (feature + noise)


def share_spread(shares: Tensor) -> Tensor:
    """Standard deviation of the shares over neurons (divisor: their number), (...).

    Range: [0, 1/2], no unit. 0: all neurons are alike, and a rule that scales neurons is a uniform shrink as far
    as features and noise are concerned. Source: derived here. What would fool it: dead neurons have shares too;
    weigh by norm (`share_shift_bound`) or leave them out. Neurons with NaN are left out here.
    """
    mean = shares.nanmean(dim=-1, keepdim=True)
    return (shares - mean).square().nanmean(dim=-1).sqrt()


def share_correlation(cosines: Tensor, shares: Tensor) -> Tensor:
    """Pearson correlation over neurons of cos(w, -gradient) with the feature share, (...).

    Range: [-1, 1], no unit; NaN where one of them does not vary. Positive: DASH keeps the neurons with features.
    Source: derived here. What would fool it: a high correlation is of no use if the
    shares hardly vary (report `share_spread` beside it) or if all cosines lie below lam.

    Args:
        cosines: (..., neurons), as `group_cosines` or `neuron_cosine` gives.
        shares: same shape.

    Raises:
        ValueError: if the shapes differ.
    """
    if cosines.shape != shares.shape:
        got = f"{tuple(cosines.shape)} and {tuple(shares.shape)}"
        fail("cosines and shares", "must have one shape (..., neurons)", got, "Give one number per neuron.")
    both = cosines.double(), shares.double()
    known = both[0].isfinite() & both[1].isfinite()
    centered = []
    for values in both:
        values = torch.where(known, values, torch.nan)
        middle = values - values.nanmean(dim=-1, keepdim=True)
        scale = middle.abs().nan_to_num().amax(dim=-1, keepdim=True)
        centered.append((middle / torch.where(scale > 1e-14, scale, torch.nan)).nan_to_num(0.0))
    top = (centered[0] * centered[1]).sum(dim=-1)
    bottom = (centered[0].square().sum(dim=-1) * centered[1].square().sum(dim=-1)).sqrt()
    found: Tensor = torch.where(bottom > 0, (top / bottom).clamp(-1, 1), torch.nan)
    return found
