"""The recursions of `dashtheory.measure.recursions`, derived by sympy from the loss and not typed in.

The loss of a neuron sees its weights through the inner products p_k = <w, v_k> and q_i = <w, xi_i> alone, and
p_k = <w, v_k> is linear in w, so by the chain rule

    -dL/dw = sum_k (-dL/dp_k) v_k + sum_i (-dL/dq_i) xi_i                                            (1)

The coefficients of the descent are the derivatives of the loss by the inner products. For the ReLU network, which
sees x_i = sum_k b_ik v_k + xi_i, the same holds with z_i = sum_k b_ik p_k + q_i + beta. Every function here builds
the loss of one neuron beside a network whose other neurons are the symbols h_i = their output on sample i, and
lets sympy differentiate. Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp  # type: ignore[import-untyped]

from dashtheory._check import integer

POWER = sp.Symbol("q", positive=True)  # of the activation max(z, 0)^q
NUM_NEURONS = sp.Symbol("m", positive=True)  # per class
SIGN = sp.Symbol("s", real=True)  # of the neuron in the second layer, -1 or 1
OUTPUT = sp.Symbol("a", real=True)  # weight of the neuron in the second layer of the ReLU network
BIAS = sp.Symbol("beta", real=True)
INIT = sp.Symbol("c", real=True)  # coefficient of the initialisation


@dataclass(frozen=True)
class Symbols:
    """Symbols of one neuron on N samples and V features.

    Attributes:
        feature: <w, v_k>.
        noise: <w, xi_i>.
        gamma: coefficients.
        rho: coefficients.
        others: h_i, output of the other neurons.
        labels: y_i.
        shown: b_ik, by sample and feature.
    """

    feature: tuple[sp.Symbol, ...]
    noise: tuple[sp.Symbol, ...]
    gamma: tuple[sp.Symbol, ...]
    rho: tuple[sp.Symbol, ...]
    others: tuple[sp.Symbol, ...]
    labels: tuple[sp.Symbol, ...]
    shown: tuple[tuple[sp.Symbol, ...], ...]

    @classmethod
    def of(cls, num_features: int, num_samples: int) -> Symbols:
        """Symbols of so many features and samples.

        Args:
            num_features: V >= 1.
            num_samples: N >= 1; a few, the formulas grow with V N.
        """
        features = integer("num_features", num_features, minimum=1, fix="It counts features.")
        samples = integer("num_samples", num_samples, minimum=1, fix="It counts samples.")

        def row(name: str, count: int) -> tuple[sp.Symbol, ...]:
            return tuple(sp.Symbol(f"{name}_{i}", real=True) for i in range(1, count + 1))

        return cls(
            feature=row("p", features),
            noise=row("q", samples),
            gamma=row("gamma", features),
            rho=row("rho", samples),
            others=row("h", samples),
            labels=row("y", samples),
            shown=tuple(row(f"b_{i}", features) for i in range(1, samples + 1)),
        )

    @property
    def arguments(self) -> tuple[sp.Symbol, ...]:
        """All symbols of a loss, in the order feature, noise, others, labels, shown (by sample)."""
        return (*self.feature, *self.noise, *self.others, *self.labels, *(b for row in self.shown for b in row))


@dataclass(frozen=True)
class Descent:
    """Coefficients of -dL/dw of one neuron: gamma of each feature, rho of each sample's noise."""

    gamma: tuple[sp.Expr, ...]
    rho: tuple[sp.Expr, ...]


def patch_neuron(symbols: Symbols) -> tuple[sp.Expr, ...]:
    """What a neuron of the patch network adds to the output on each sample."""
    outputs = []
    for noise, shown in zip(symbols.noise, symbols.shown, strict=True):
        pairs = zip(shown, symbols.feature, strict=True)
        outputs.append(SIGN / NUM_NEURONS * (sum(b * _act(p) for b, p in pairs) + _act(noise)))
    return tuple(outputs)


def relu_neuron(symbols: Symbols) -> tuple[sp.Expr, ...]:
    """What a neuron of the ReLU network adds to the output on each sample."""
    outputs = []
    for noise, shown in zip(symbols.noise, symbols.shown, strict=True):
        z = sum(b * p for b, p in zip(shown, symbols.feature, strict=True)) + noise + BIAS
        outputs.append(OUTPUT * sp.Piecewise((z, z > 0), (0, True)))
    return tuple(outputs)


def loss(symbols: Symbols, neuron: tuple[sp.Expr, ...]) -> sp.Expr:
    """Mean logistic loss, (1/n) sum_i log(1 + exp(-y_i (h_i + F(x_i)))), of a network with this neuron F."""
    margins = [y * (h + out) for y, h, out in zip(symbols.labels, symbols.others, neuron, strict=True)]
    return sum(sp.log(1 + sp.exp(-margin)) for margin in margins) / len(margins)


def descent(symbols: Symbols, neuron: tuple[sp.Expr, ...]) -> Descent:
    """Equation (1): minus the derivatives of the loss by the neuron's inner products with features and noise.

    Args:
        symbols: of the network.
        neuron: of `patch_neuron` or `relu_neuron`.
    """
    total = loss(symbols, neuron)
    return Descent(
        gamma=tuple(-sp.diff(total, p) for p in symbols.feature),
        rho=tuple(-sp.diff(total, q) for q in symbols.noise),
    )


def helpfulness_identity(symbols: Symbols) -> sp.Expr:
    """<w, -dL/dw> - q mean_i g_i y_i F(x_i) of a patch neuron: 0 where all inner products are positive.

    <w, -dL/dw> = sum_k p_k (-dL/dp_k) + sum_i q_i (-dL/dq_i) by (1). Where an inner product is negative, its terms
    vanish on both sides. By sympy, for any q.
    """
    positive = {old: sp.Symbol(old.name, positive=True) for old in (*symbols.feature, *symbols.noise)}
    neuron = tuple(out.subs(positive) for out in patch_neuron(symbols))
    total = loss(symbols, neuron)
    product = -sum(new * sp.diff(total, new) for new in positive.values())
    helped = sum(
        y * out / (1 + sp.exp(y * (h + out)))
        for y, h, out in zip(symbols.labels, symbols.others, neuron, strict=True)
    )
    return sp.simplify(sp.expand(product - POWER * helped / len(neuron)).rewrite(sp.exp))


def orthogonal_cosine(symbols: Symbols, direction: Descent) -> sp.Expr:
    """Cosine of a neuron with its descent for orthonormal features and noise of length l_i orthogonal to all.

    The initialisation has forgotten its part (c = 0): with E = sum_k gamma_k v_k + sum_i rho_i xi_i the products
    are written out and nothing is left but coefficients and lengths.
    """
    lengths = noise_lengths(symbols)
    weights = [*symbols.gamma, *(length * rho for length, rho in zip(lengths, symbols.rho, strict=True))]
    along = [*direction.gamma, *(length * rho for length, rho in zip(lengths, direction.rho, strict=True))]
    top = sum(one * other for one, other in zip(weights, along, strict=True))
    return top / sp.sqrt(sum(one**2 for one in weights)) / sp.sqrt(sum(other**2 for other in along))


def noise_lengths(symbols: Symbols) -> tuple[sp.Symbol, ...]:
    """Symbols l_1, ..., l_N of the lengths of the noise."""
    return tuple(sp.Symbol(f"l_{i}", positive=True) for i in range(1, len(symbols.noise) + 1))


def selectivity_slope(num_neurons: int) -> tuple[sp.Expr, sp.Expr]:
    """Two equal expressions: the slope of g(t) = sum t f^2 / sum t n^2 by t_1, and (f_1^2 - g n_1^2) / sum t n^2.

    Step (c) of the proof in `dashtheory.measure.selectivity`: t_r is the squared factor of neuron r, f_r and n_r
    its lengths.

    Args:
        num_neurons: >= 1.
    """
    count = integer("num_neurons", num_neurons, minimum=1, fix="It counts neurons.")
    t, f, n = (sp.symbols(f"{name}_1:{count + 1}", positive=True) for name in "tfn")
    top, bottom = (sum(a * b**2 for a, b in zip(t, part, strict=True)) for part in (f, n))
    ratio = top / bottom
    return sp.diff(ratio, t[0]), (f[0] ** 2 - ratio * n[0] ** 2) / bottom


def squared_spread_factor() -> tuple[sp.Symbol, sp.Expr]:
    """Largest squared coefficient of variation of t = s^2 for factors s in [lam, 1]: step (d) of the proof.

    The largest value of (b - x)(x - a) / x^2 over the mean x of t, with a = lam^2 and b = 1.

    Returns:
        lam, and the square of (1 - lam^2) / (2 lam).
    """
    lam, x = sp.Symbol("lambda", positive=True), sp.Symbol("x", positive=True)
    squared = (1 - x) * (x - lam**2) / x**2
    (best,) = sp.solve(sp.diff(squared, x), x)
    return lam, sp.factor(sp.simplify(squared.subs(x, best)))


def _act(z: sp.Expr) -> sp.Expr:
    """max(z, 0)^q."""
    return sp.Piecewise((z**POWER, z > 0), (0, True)) if not z.is_positive else z**POWER
