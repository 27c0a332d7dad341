"""Does a rule forget noise more than features, and how selective can a rule be that scales whole neurons?

    Sel = (Gam_after / Gam_before) / (Rho_after / Rho_before)                                       (1)

with the norms of features and noise of `dashtheory.measure.norms`.

Proposition. Let a rule multiply the weights of each neuron r by a factor s_r >= 0, and let neuron r hold features
of length f_r and noise of length n_r (what the factor does to the initialisation is left aside).

(a) The feature share phi_r = f_r^2 / (f_r^2 + n_r^2) of every neuron with s_r > 0 stays as it is.

(b) If all shares are equal, Sel = 1; if all factors are equal, Sel = 1.

(c) For s_r in [lam, 1], Sel lies between `selectivity_bounds`. The largest is reached by keeping the neurons above
    some share and shrinking all others by lam, the smallest by keeping those below. For lam = 0 this is

        odds(min phi) / odds(Phi) <= Sel^2 <= odds(max phi) / odds(Phi),        odds(x) = x / (1 - x),

    with Phi = Gam^2 / (Gam^2 + Rho^2), the mean of phi weighted by m_r = f_r^2 + n_r^2.

(d) For s_r in [lam, 1] with lam > 0, Phi moves by at most the spread of the shares times a number of lam,

        |Phi_after - Phi| <= sd_m(phi) (1 - lam^2) / (2 lam),

    sd_m with the same weights m; and Sel^2 = odds(Phi_after) / odds(Phi).

Proof. (a) Both lengths are multiplied by s_r. Write t_r = s_r^2 and g(t) = sum t f^2 / sum t n^2, so that
Sel^2 = g(t) / g(1).

(b) f_r^2 = k n_r^2 for all r gives g = k for every t, and a constant t cancels.

(c) dg/dt_r = (f_r^2 - g n_r^2) / sum t n^2 has the sign of odds(phi_r) - g. So at a maximum every neuron with odds
above g has the largest factor and every neuron below g the smallest (neurons at g do not matter): a threshold on
phi. There are no more thresholds than neurons, and the best of them is the maximum. For lam = 0, g is a mean of
odds(phi_r) with weights t_r n_r^2, never above the largest of them, which keeping that neuron alone reaches.

(d) Phi_after = E_m[t phi] / E_m[t], so Phi_after - Phi = Cov_m(t, phi) / E_m[t], which is at most
sd_m(phi) sd_m(t) / E_m[t] (Cauchy and Schwarz). For t in [a, b], Var(t) <= (b - E t)(E t - a) (Bhatia and Davis),
and (b - x)(x - a) / x^2 is largest at x = 2ab / (a + b), where it is (b - a)^2 / (4ab). With a = lam^2 and b = 1
its root is (1 - lam^2) / (2 lam). QED

So such a rule can move weight from neurons that hold noise to neurons that hold features, as far as their shares
differ, and it can make all weights small, so that new gradients count for more. It cannot forget noise and keep
features inside a neuron. In a network with activation max(z, 0)^q, no bias and fixed second layer, neuron r's
output is multiplied by s_r^q for every input, and no gate changes: the functions of neurons are weighed anew, and
none of them is another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dashtheory._check import fail, real
from dashtheory.measure.decompose import Decomposition
from dashtheory.measure.norms import Norms, as_norms
from dashtheory.measure.shares import feature_shares

_LAM = "It is the smallest factor of the rule."


def selectivity(before: Norms | Decomposition, after: Norms | Decomposition) -> Tensor:
    """Equation (1), (...): how much better a rule keeps features than noise.

    Range: >= 0, no unit. 1: no preference, as for every uniform shrink; above 1: noise is forgotten more.
    Source: derived here. What would fool it: it does not predict test accuracy: a rule can forget selectively and
    too little, and one with selectivity 1 can forget enough. NaN if both norms vanish.

    Args:
        before: of the same network, right before and right after the rule.
        after: of the same network, right before and right after the rule.
    """
    old, new = as_norms(before), as_norms(after)
    if old.feature.shape != new.feature.shape:
        got = f"{tuple(old.feature.shape)} and {tuple(new.feature.shape)}"
        fail("before and after", "must have one shape (..., neurons)", got, "Measure the same network twice.")
    return (new.features_total / old.features_total) / (new.noise_total / old.noise_total)


def selectivity_bounds(before: Norms | Decomposition, *, lam: float = 0.0) -> tuple[Tensor, Tensor]:
    """Smallest and largest selectivity of any rule with a factor in [lam, 1] per neuron, (...) each; (c) above.

    Range: low in [0, 1], high in [1, infinity]; both 1 if all shares are equal, or lam is 1. Both are reached. If
    every factor may be 0, the network that keeps one neuron reaches them (so they are no advice).
    What would fool it: a rule that adds something, or scales parts of a neuron (channels), is not bound by it.

    Args:
        before: measured before the rule.
        lam: smallest factor, in [0, 1].
    """
    lam = real("lam", lam, low=0, high=1, fix=_LAM)
    found = as_norms(before)
    order = (found.feature / found.noise).nan_to_num(0.0).argsort(dim=-1)  # that of the shares, without rounding
    # each neuron relative to the largest length, so that squares neither under- nor overflow
    squares = [
        value.gather(-1, order) / value.amax(dim=-1, keepdim=True) for value in (found.feature, found.noise)
    ]
    feature, noise = (value.square() for value in squares)
    low = _extreme(feature, noise, lam, keep_low=True).amin(dim=-1)
    high = _extreme(feature, noise, lam, keep_low=False).amax(dim=-1)
    return low, high


def share_shift_bound(before: Norms | Decomposition, *, lam: float) -> Tensor:
    """Furthest that Phi = Gam^2 / (Gam^2 + Rho^2) can move by factors in [lam, 1] on neurons, (...); (d) above.

    sd_m(phi) (1 - lam^2) / (2 lam). Range: >= 0, no unit; not below the true extreme (`selectivity_bounds` has
    that), and of use below 1 only. What would fool it: as `selectivity_bounds`.

    Args:
        before: measured before the rule.
        lam: smallest factor, in (0, 1].
    """
    lam = real("lam", lam, low=0, high=1, open_low=True, fix=_LAM)
    found = as_norms(before)
    largest = torch.maximum(found.feature, found.noise).amax(dim=-1, keepdim=True)
    weights = (found.feature / largest).square() + (found.noise / largest).square()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    shares = feature_shares(found).nan_to_num(0.0)  # a neuron with neither has weight 0
    mean = (weights * shares).sum(dim=-1, keepdim=True)
    spread = (weights * (shares - mean).square()).sum(dim=-1).sqrt()
    return spread * ((1 - lam**2) / (2 * lam))


def _extreme(feature: Tensor, noise: Tensor, lam: float, *, keep_low: bool) -> Tensor:
    """Selectivity if the neurons on one side of each threshold keep their length, the others `lam` of it.

    Args:
        feature: squared lengths, (..., neurons), in order of the share.
        noise: squared lengths, (..., neurons), in order of the share.
        lam: factor of the others, in [0, 1].
        keep_low: whether the neurons with the lower share keep their length.

    Returns:
        Tensor: (..., neurons), one per threshold: the k lowest (or all but the k lowest) are kept, the full set
        too.
    """
    ratios = []
    for squares in (feature, noise):
        lowest = squares.cumsum(dim=-1)
        highest = squares.flip(-1).cumsum(dim=-1).flip(-1)
        kept, shrunk = (lowest, highest - squares) if keep_low else (highest, lowest - squares)
        ratios.append((kept + lam**2 * shrunk) / squares.sum(dim=-1, keepdim=True))
    found: Tensor = torch.where((ratios[0] == 0) & (ratios[1] == 0), 1.0, ratios[0] / ratios[1]).sqrt()
    return found
