"""A neuron's weights as initialisation, learned features and memorised noise, exactly.

Under gradient descent the weights of a first-layer neuron stay in the span of what the network was fed, so

    w = c w_0 + sum_k gamma_k v_k + sum_i rho_i xi_i                                                (1)

with its initial weights w_0, the features v_k and each training sample's noise xi_i. Momentum and factors on whole
neurons (S&P without noise, DASH on rows) keep (1): c is the product of the factors. With P the projection onto the
complement of the span of all v_k and xi_i, and B the matrix of all v_k and xi_i as columns,

    c = <P w, P w_0> / |P w_0|^2,        (gamma, rho) = the solution of B x = w - c w_0             (2)

Equation (2) is solved in float64 by a QR factorisation of B with columns of length one, whatever the dtype of the
network. Source: the signal-noise decomposition of Cao et al. (NeurIPS 2022, arXiv:2202.06526), derived here for
momentum, shrinking and features that are not orthonormal.

It has an answer only if B has full column rank with a dimension to spare for w_0 (D >= V + N + 1), and if the rule
did not leave the span (added noise does; so does a factor per channel). Otherwise the result says so, and has no
coefficients. What would fool it: noise or features other than those that the network was trained on (the
reconstruction error shows it), and a fresh w_0 mistaken for the one that this run began with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dashtheory._check import fail, real

MAX_CONDITION = 1e8
"""Above this condition number of the normalised columns, samples or features count as linearly dependent."""

_ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-4}
_COARSE = 5e-2  # of float16 and bfloat16


@dataclass(frozen=True, eq=False)
class Coefficients:
    """The coefficients of equation (1), or a direction in terms of them.

    Attributes:
        gamma: (..., neurons, V), of the features.
        rho: (..., neurons, N), of each sample's noise.
        c: (..., neurons), of the initialisation.
    """

    gamma: Tensor
    rho: Tensor
    c: Tensor

    def scaled(self, factors: Tensor | float) -> Coefficients:
        """Of weights whose neurons are scaled.

        Args:
            factors: a number, or one per neuron (..., neurons).
        """
        each = torch.as_tensor(factors, dtype=self.c.dtype, device=self.c.device)
        return Coefficients(self.gamma * each.unsqueeze(-1), self.rho * each.unsqueeze(-1), self.c * each)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decomposition:
    """What `decompose` found.

    Attributes:
        coefficients: those of equation (1) in float64, or None if they are not identifiable.
        reason: why they are not; empty if they are.
        reconstruction_error: (..., neurons), |w - right side of (1)| / |w|, 0 for a neuron of zeros. In [0, 1] up
            to rounding; what the span of w_0, features and noise cannot express. A small one is no proof that the
            coefficients are right: with fewer dimensions than samples it is 0 and they are arbitrary.
        condition: (...), ratio of the largest to the smallest singular value of the columns of B, each of length
            one; infinite if B has more columns than rows. 1: orthogonal columns.
        init_outside: (..., neurons), |P w_0| / |w_0|: the part of the initialisation by which c is told.
        init_given: whether c was given, not found.
        features: (..., V, D), in float64.
        noise: (..., N, D), in float64.
        precision: machine epsilon of the dtype of the weights.
    """

    coefficients: Coefficients | None
    reason: str
    reconstruction_error: Tensor
    condition: Tensor
    init_outside: Tensor
    init_given: bool
    features: Tensor
    noise: Tensor
    precision: float

    @property
    def identifiable(self) -> bool:
        """Whether there are coefficients."""
        return self.coefficients is not None

    @property
    def gamma(self) -> Tensor:
        """Coefficients of the features, (..., neurons, V).

        Raises:
            ValueError: if they are not identifiable.
        """
        return self.known().gamma

    @property
    def rho(self) -> Tensor:
        """Coefficients of each sample's noise, (..., neurons, N).

        Raises:
            ValueError: if not identifiable.
        """
        return self.known().rho

    @property
    def c(self) -> Tensor:
        """Coefficient of the initialisation, (..., neurons).

        Raises:
            ValueError: if not identifiable.
        """
        return self.known().c

    def known(self) -> Coefficients:
        """The coefficients.

        Raises:
            ValueError: with the reason if they are not identifiable.
        """
        if self.coefficients is None:
            fail(
                "weights",
                "must have identifiable coefficients to be asked for them",
                self.reason,
                "Ask `identifiable` first, or use measures that need none (block_norms).",
            )
        return self.coefficients

    def feature_part(self) -> Tensor:
        """Sum of gamma_k v_k, (..., neurons, D)."""
        return self.gamma @ self.features

    def noise_part(self, samples: slice | Tensor = slice(None)) -> Tensor:
        """Sum of rho_i xi_i over `samples` (all of them by default), (..., neurons, D)."""
        return self.rho[..., samples] @ self.noise[..., samples, :]

    def recovery_error(self, truth: Coefficients) -> dict[str, float]:
        """Relative recovery errors |found - true| / |true| over all neurons, for gamma, rho and c.

        Range: 0 and up; of the order of `recovery_bound` at most. Infinite if the truth is zero and the finding is
        not. What would fool it: a norm over all neurons hides an error in one small neuron.

        Args:
            truth: coefficients that were tracked through the training.
        """
        found = self.known()
        pairs = {name: (getattr(found, name), getattr(truth, name).double()) for name in ("gamma", "rho", "c")}
        return {name: _relative(ours - theirs, theirs) for name, (ours, theirs) in pairs.items()}

    @property
    def recovery_bound(self) -> float:
        """Estimate of the largest relative recovery error of gamma and rho: condition times rounding.

        |error of x| / |x| <= condition |error of u| / |u| for B x = u = w - c w_0 (perturbation theory of least
        squares, Golub & Van Loan, 5.3). The error of u is that of w, taken as the machine epsilon of the weights
        or the reconstruction error, whichever is larger, and the error of c times |w_0|, which is 1/init_outside
        times as large. In a network it is often far below. Range: >= 0, no unit.
        What would fool it: errors of training, which it does not know, and parts of w that cancel.
        """
        rounding = max(self.precision, float(self.reconstruction_error.max()))
        told = 1.0 if self.init_given else 1 + 1 / float(self.init_outside.min())
        return float(self.condition.max()) * rounding * told


@dataclass(frozen=True, eq=False)
class Span:
    """Features and noise, factorised once for any number of networks: `Span.of(features, noise).decompose(...)`.

    Attributes:
        features: (..., V, D), float64.
        noise: (..., N, D), float64.
        lengths: (..., V + N), of the rows.
        basis: (..., D, min(D, V + N)), orthonormal columns, or zeros where the rank falls short.
        triangle: (..., V + N, V + N), of the QR factorisation, where it has one.
        condition: (...).
    """

    features: Tensor
    noise: Tensor
    lengths: Tensor
    basis: Tensor
    triangle: Tensor | None
    condition: Tensor

    @classmethod
    def of(cls, features: Tensor, noise: Tensor) -> Span:
        """Factorise.

        Args:
            features: (..., V, D), linearly independent rows, orthonormal or not.
            noise: (..., N, D), the noise of every sample trained on.

        Raises:
            ValueError: if shapes do not fit or a number is not finite.
        """
        features, noise = _matrix("features", features), _matrix("noise", noise)
        if features.shape[-1] != noise.shape[-1]:
            got = f"{tuple(features.shape)} and {tuple(noise.shape)}"
            fail("features and noise", "must have the same last axis", got, "Both are vectors of the input space.")
        if features.shape[-2] + noise.shape[-2] == 0:
            fail("features and noise", "must have at least one row", "none", "Give what the network was fed.")
        leading = torch.broadcast_shapes(features.shape[:-2], noise.shape[:-2])
        parts = [part.expand(*leading, *part.shape[-2:]) for part in (features, noise)]
        rows = torch.cat(parts, dim=-2)
        lengths = rows.norm(dim=-1)
        columns = (rows / torch.where(lengths > 0, lengths, 1.0).unsqueeze(-1)).mT
        triangle = None
        if rows.shape[-2] <= rows.shape[-1]:
            basis, triangle = torch.linalg.qr(columns)
            values = torch.linalg.svdvals(triangle)
            condition = values[..., 0] / values[..., -1]
            condition = torch.where(condition.isnan(), math.inf, condition)
        else:
            condition = torch.full(leading, math.inf, dtype=torch.float64, device=rows.device)
        if bool((condition > MAX_CONDITION).any()):
            triangle = None
            basis, values, _ = torch.linalg.svd(columns, full_matrices=False)
            basis = basis * (values > values[..., :1] / MAX_CONDITION).unsqueeze(-2)
        return cls(features, noise, lengths, basis, triangle, condition)

    @property
    def num_features(self) -> int:
        """V."""
        return self.features.shape[-2]

    def outside(self, vectors: Tensor) -> Tensor:
        """P of equation (2), on rows (..., neurons, D); applied twice, so that rounding stays outside too."""
        for _ in range(2):
            vectors = vectors - (vectors @ self.basis) @ self.basis.mT
        return vectors

    def decompose(
        self,
        weights: Tensor,
        init: Tensor,
        *,
        init_factor: Tensor | float | None = None,
        tolerance: float | None = None,
    ) -> Decomposition:
        """As the function `decompose`, with the factorisation at hand."""
        checked = self._checked(weights, init)
        w, w0 = (value.double() for value in checked)
        precision = torch.finfo(weights.dtype).eps
        tolerance = _ROUNDING.get(weights.dtype, _COARSE) if tolerance is None else _tolerance(tolerance)
        outside, outside0 = self.outside(w), self.outside(w0)
        init_outside = _ratio(outside0.norm(dim=-1), w0.norm(dim=-1))
        if init_factor is None:
            c = _ratio((outside * outside0).sum(dim=-1), outside0.square().sum(dim=-1))
        else:
            c = torch.as_tensor(init_factor, dtype=torch.float64, device=w.device).expand(w.shape[:-1])
        left = outside - c.unsqueeze(-1) * outside0
        error = _ratio(left.norm(dim=-1), w.norm(dim=-1))
        reason = self._reason(None if init_factor is not None else init_outside, error, tolerance)
        return Decomposition(
            coefficients=None if reason else self._solved(w, w0, c),
            reason=reason,
            reconstruction_error=error,
            condition=self.condition,
            init_outside=init_outside,
            init_given=init_factor is not None,
            features=self.features,
            noise=self.noise,
            precision=precision,
        )

    def _solved(self, w: Tensor, w0: Tensor, c: Tensor) -> Coefficients:
        """The coefficients, where the columns have full rank."""
        assert self.triangle is not None
        right = (w - c.unsqueeze(-1) * w0) @ self.basis
        scaled = torch.linalg.solve_triangular(self.triangle, right.mT, upper=True).mT
        found = scaled / self.lengths.unsqueeze(-2)
        return Coefficients(found[..., : self.num_features], found[..., self.num_features :], c)

    def _reason(self, init_outside: Tensor | None, error: Tensor, tolerance: float) -> str:
        """Why there are no coefficients; empty if there are."""
        columns, dimensions = self.lengths.shape[-1], self.features.shape[-1]
        spare = init_outside is not None
        if dimensions < columns + spare:
            return (
                f"{dimensions} dimensions for {self.num_features} features and {columns - self.num_features} "
                f"samples: at least {columns + spare} are needed"
            )
        if self.triangle is None:
            worst = float(self.condition.max())
            return f"linearly dependent features and noise (condition {worst:.1e}, at most {MAX_CONDITION:.0e})"
        if init_outside is not None and bool((init_outside * MAX_CONDITION < 1).any()):
            number = int((init_outside * MAX_CONDITION < 1).sum())
            return f"an init inside the span of features and noise in {number} neurons: give init_factor"
        beyond = ~(error <= tolerance)
        if bool(beyond.any()):
            return (
                f"{int(beyond.sum())} of {error.numel()} neurons outside the span of init, features and noise "
                f"(largest relative residual {float(error.max()):.1e}, at most {tolerance:.1e}): "
                "a rule left the span, or these are not the data or the init of this run"
            )
        return ""

    def _checked(self, weights: Tensor, init: Tensor) -> tuple[Tensor, Tensor]:
        weights, init = _floating("weights", weights), _floating("init", init)
        dimensions = self.features.shape[-1]
        if weights.ndim < 2 or weights.shape[-1] != dimensions:
            rule = f"must have shape (..., neurons, {dimensions}) like the features"
            fail("weights", rule, str(tuple(weights.shape)), "Give first-layer weights, a row per neuron.")
        if init.shape[-2:] != weights.shape[-2:]:
            fail(
                "init", f"must have the shape {tuple(weights.shape)} of the weights", str(tuple(init.shape)), _INIT
            )
        try:
            torch.broadcast_shapes(self.condition.shape, weights.shape[:-2])
            return weights, init.expand(torch.broadcast_shapes(weights.shape, init.shape))
        except RuntimeError:
            got = f"{tuple(self.condition.shape)} and {tuple(weights.shape[:-2])}"
            fail("features and weights", "must have leading axes that broadcast", got, "Insert axes of length 1.")


_INIT = "Keep the weights that the run began with."


def decompose(
    weights: Tensor,
    init: Tensor,
    features: Tensor,
    noise: Tensor,
    *,
    init_factor: Tensor | float | None = None,
    tolerance: float | None = None,
) -> Decomposition:
    """Coefficients of features, each sample's noise and initialisation of every neuron, equations (1) and (2).

    Leading axes (seeds, rules) of all arguments broadcast. Networks that share their data are cheapest stacked, or
    by `Span.of(features, noise).decompose(...)`, which factorises the data once.

    Args:
        weights: (..., neurons, D), of a first layer; any float dtype.
        init: what the weights were before training (for a network started anew: since then), same shape or one
            that broadcasts to it.
        features: (..., V, D), linearly independent rows, orthonormal or not.
        noise: (..., N, D), the noise of every sample trained on.
        init_factor: c where it is known (1, or the product of the factors applied), a number or (..., neurons):
            then D >= V + N is enough, and the reconstruction error tests c too.
        tolerance: largest relative residual of a neuron inside the span; by default 1e-10 for float64 weights,
            1e-4 for float32 and 0.05 for narrower ones, far above rounding and far below what S&P or a factor per
            channel leave.

    Returns:
        `Decomposition`; its coefficients are None, with a reason, if they are not identifiable.

    Raises:
        ValueError: if shapes do not fit or a number is not finite.
    """
    span = Span.of(features, noise)
    return span.decompose(weights, init, init_factor=init_factor, tolerance=tolerance)


def _floating(argument: str, value: Tensor) -> Tensor:
    """Return a finite tensor of floats, detached."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        got = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
        fail(argument, "must be a tensor of real floats", got, "Convert it with torch.as_tensor(..., dtype=...).")
    if not bool(value.isfinite().all()):
        fail(argument, "must be finite", "NaN or infinity", "Did the training diverge?")
    return value.detach()


def _matrix(argument: str, value: Tensor) -> Tensor:
    value = _floating(argument, value).double()
    if value.ndim < 2:
        fail(argument, "must have shape (..., rows, D)", str(tuple(value.shape)), "Give one row per vector.")
    return value


def _tolerance(value: float) -> float:
    return real("tolerance", value, low=0, high=1, open_low=True, fix="It bounds a relative residual.")


def _ratio(top: Tensor, bottom: Tensor) -> Tensor:
    """Quotient; 0 where both are 0, infinite where only the divisor is."""
    found: Tensor = torch.where((top == 0) & (bottom == 0), 0.0, top / bottom)
    return found


def _relative(error: Tensor, truth: Tensor) -> float:
    return float(_ratio(error.norm(), truth.norm()))
