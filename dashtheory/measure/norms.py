"""How much of the weights is learned features, and how much memorised noise.

    Gam = | sum_k gamma_k v_k |_F over all neurons,        Rho = | sum_i rho_i xi_i |_F over all neurons     (1)

With orthonormal features Gam is the norm of gamma. Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory.measure.decompose import Decomposition, Span


@dataclass(frozen=True, eq=False)
class Norms:
    """Lengths of the feature part and the noise part of each neuron's weights.

    Attributes:
        feature: (..., neurons), >= 0.
        noise: (..., neurons), >= 0; units of the weights.

    Raises:
        ValueError: if the shapes differ or there is no neuron.
    """

    feature: Tensor
    noise: Tensor

    def __post_init__(self) -> None:
        if self.feature.shape != self.noise.shape or not self.feature.ndim or not self.feature.shape[-1]:
            got = f"{tuple(self.feature.shape)} and {tuple(self.noise.shape)}"
            fail("feature and noise", "must have one shape (..., neurons)", got, "Give one length per neuron.")

    @property
    def features_total(self) -> Tensor:
        """Gam of equation (1), (...). Range: >= 0, units of the weights.

        What would fool it: it grows with any scale of the weights, so that a network that learned the same
        features from a larger step looks better; compare the ratio.
        """
        found: Tensor = torch.linalg.vector_norm(self.feature, dim=-1)
        return found

    @property
    def noise_total(self) -> Tensor:
        """Rho of equation (1), (...). Range: >= 0, units of the weights. Fooled as `features_total`."""
        found: Tensor = torch.linalg.vector_norm(self.noise, dim=-1)
        return found

    @property
    def noise_to_feature(self) -> Tensor:
        """Rho / Gam, (...): the noise-to-signal ratio of the first layer.

        Range: >= 0, no unit; infinite if nothing is learned. Source: derived here.
        What would fool it: factors on whole neurons move it no further than `selectivity_bounds`; more samples
        raise Rho without hurting; learning frequent features once more lowers it and helps no test sample.
        """
        return self.noise_total / self.features_total


def norms(decomposition: Decomposition, *, samples: slice | Tensor = slice(None)) -> Norms:
    """Lengths of feature part and noise part of each neuron, from its coefficients.

    Args:
        decomposition: identifiable.
        samples: whose noise counts; all by default.

    Raises:
        ValueError: if the coefficients are not identifiable (`block_norms` needs none).
    """
    parts = decomposition.feature_part(), decomposition.noise_part(samples)
    return Norms(*(part.norm(dim=-1) for part in parts))


def block_norms(weights: Tensor, features: Tensor, *, init: Tensor | None = None) -> Norms:
    """Lengths of the part of each neuron inside the span of the features, and of the rest.

    feature = |Q (w - w_0)|,        noise = |(1 - Q) (w - w_0)|,        Q: projection onto the span of the v_k

    It needs no coefficients, so that it also holds where a rule left the span of the samples (S&P, a factor per
    channel). Range and unit: as `Norms`. Source: block norms of the two-layer level.
    What would fool it: everything outside the features counts as noise, what a rule added and the initialisation
    too; where the noise is not orthogonal to the features, some of it counts as feature. If c differs from 1
    (after shrinking) give c w_0 as `init`.

    Args:
        weights: (..., neurons, D).
        features: (..., V, D), linearly independent.
        init: subtracted; 0 if None.

    Raises:
        ValueError: if the features are linearly dependent or shapes do not fit.
    """
    span = Span.of(features, features[..., :0, :])
    if span.triangle is None:
        got = f"condition {float(span.condition.max()):.1e}"
        fail("features", "must be linearly independent", got, "Leave out repeated features.")
    moved = (weights if init is None else weights - init).detach().double()
    outside = span.outside(moved)
    return Norms((moved - outside).norm(dim=-1), outside.norm(dim=-1))


def persistence(now: Decomposition, first: Decomposition, *, samples: slice | Tensor) -> Tensor:
    """Share of some samples' noise that is still in the weights: Rho_1(j) / Rho_1(1), (...).

    Rho_1 is the noise norm of equation (1) over `samples` alone, in practice those of the first chunk: at the end
    of stage j over at the end of stage 1. Range: >= 0, no unit; above 1 if they were memorised further.
    Source: derived here. What would fool it: a network trained from scratch on all chunks memorises the first
    chunk too, with less of each sample as there are more of them, so compare with cold at the same stage and not
    with 0.

    Args:
        now: identifiable decompositions of the same neurons.
        first: identifiable decompositions of the same neurons.
        samples: the same rows of the noise of both.
    """
    return norms(now, samples=samples).noise_total / norms(first, samples=samples).noise_total


def as_norms(value: Norms | Decomposition) -> Norms:
    """Norms as they are, or those of a decomposition; in float64."""
    found = norms(value) if isinstance(value, Decomposition) else value
    if not isinstance(found, Norms):
        fail("norms", "must be Norms or a Decomposition", type(value).__name__, "Call norms or block_norms first.")
    return Norms(torch.as_tensor(found.feature).double(), torch.as_tensor(found.noise).double())
