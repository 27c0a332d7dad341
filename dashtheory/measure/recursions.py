"""Gradient descent in the coefficients of features and noise: no weights are needed.

A neuron's weights w = c w_0 + sum_k gamma_k v_k + sum_i rho_i xi_i (`dashtheory.measure.decompose`) meet the data
through inner products alone, and these follow from the coefficients and the inner products of the data (`Frame`):

    <w, v_l> = c <w_0, v_l> + sum_k gamma_k <v_k, v_l> + sum_i rho_i <xi_i, v_l>,    <w, xi_i> alike    (1)

The gradient lies in the span of v_k and xi_i. With g_i = sigma(-y_i f(x_i)) (the slope of the logistic loss), b_ik
= 1 where sample i shows feature k, and n samples, the descent -dL/dw_r of neuron r has the coefficients

    patch network       f(x_i) = (1/m) sum_r s_r [ sum_k b_ik act(<w_r, v_k>) + act(<w_r, xi_i>) ],
                        act(z) = max(z, 0)^q
        of v_k          s_r / (m n) act'(<w_r, v_k>) sum_i g_i y_i b_ik                             (2)
        of xi_i         s_r / (m n) g_i y_i act'(<w_r, xi_i>)                                       (3)

    ReLU network        f(x_i) = sum_r a_r max(z_ri, 0),    z_ri = <w_r, x_i> + beta_r,
                        x_i = sum_k b_ik v_k + xi_i
        of xi_i         e_ri = 1/n g_i y_i a_r 1[z_ri > 0]                                          (4)
        of v_k          sum_i b_ik e_ri                                                             (5)

and 0 of w_0. With heavy-ball momentum mu and step size eta (as torch.optim.SGD),

    u <- mu u + descent,    (gamma, rho) <- (gamma, rho) + eta u,    c stays                        (6)

so noise that is memorised in sample i (rho_ri) grows by its own g_i, and stops when g_i does; a feature grows by
the sum over all samples that show it. A factor s on neuron r multiplies its gamma, rho and c by s. Equations (2)
to (5) are derived by sympy in `dashtheory.measure.symbolic`; all are checked against autograd in the tests.
Signal-noise recursions of this kind go back to Cao et al. (arXiv:2202.06526); momentum, shrinking, many features
and features that are not orthonormal: derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dashtheory._check import fail, integer, real
from dashtheory.measure.decompose import Coefficients


@dataclass(frozen=True, eq=False)
class Frame:
    """Inner products of initialisation, features and noise, in float64; what equation (1) needs.

    Attributes:
        gram: (..., V + N, V + N), of the features and the noise, in this order.
        init_products: (..., neurons, V + N), of w_0 of each neuron with them.
        init_squares: (..., neurons), |w_0|^2.
        num_features: V.
    """

    gram: Tensor
    init_products: Tensor
    init_squares: Tensor
    num_features: int

    @classmethod
    def of(cls, init: Tensor, features: Tensor, noise: Tensor) -> Frame:
        """Of a network's initialisation, and of the features and noise that it is trained on.

        Args:
            init: (..., neurons, D).
            features: (..., V, D).
            noise: (..., N, D).
        """
        w0 = init.detach().double()
        rows = torch.cat([features.detach().double(), noise.detach().double()], dim=-2)
        return cls(rows @ rows.mT, w0 @ rows.mT, w0.square().sum(dim=-1), features.shape[-2])

    def products(self, coefficients: Coefficients) -> tuple[Tensor, Tensor]:
        """Equation (1): <w_r, v_k>, (..., neurons, V), and <w_r, xi_i>, (..., neurons, N)."""
        values = self._flat(coefficients) @ self.gram + coefficients.c.unsqueeze(-1) * self.init_products
        return values[..., : self.num_features], values[..., self.num_features :]

    def inner(self, one: Coefficients, other: Coefficients) -> Tensor:
        """Inner product of two sets of neurons in terms of their coefficients, (..., neurons)."""
        first, second = self._flat(one), self._flat(other)
        mixed = one.c * (self.init_products * second).sum(-1) + other.c * (self.init_products * first).sum(-1)
        return (first @ self.gram * second).sum(-1) + mixed + one.c * other.c * self.init_squares

    @staticmethod
    def _flat(coefficients: Coefficients) -> Tensor:
        return torch.cat([coefficients.gamma, coefficients.rho], dim=-1)


def initial_coefficients(frame: Frame) -> Coefficients:
    """Those of w = w_0: gamma = rho = 0, c = 1."""
    zeros = torch.zeros_like(frame.init_products)
    return Coefficients(
        zeros[..., : frame.num_features], zeros[..., frame.num_features :], torch.ones_like(frame.init_squares)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchRecursion:
    """A patch network with fixed second layer on its training data, in terms of coefficients.

    Attributes:
        frame: inner products.
        shown: b_ik, 0 or 1, (..., N, V).
        labels: y_i, -1 or 1, (..., N).
        signs: s_r, the second layer, -1 or 1, (..., neurons) or (neurons,).
        power: q >= 1 of the activation.
        per_class: m, neurons per class.

    Raises:
        ValueError: if a number is out of range or labels and signs are not -1 and 1.
    """

    frame: Frame
    shown: Tensor
    labels: Tensor
    signs: Tensor
    power: float
    per_class: int

    def __post_init__(self) -> None:
        real("power", self.power, low=1, fix="It is q of max(z, 0)^q.")
        integer("per_class", self.per_class, minimum=1, fix="It counts neurons.")
        _signs("labels", self.labels)
        _signs("signs", self.signs)

    def neuron_outputs(self, coefficients: Coefficients) -> Tensor:
        """What each neuron adds to f(x_i), (..., neurons, N)."""
        feature, noise = self.frame.products(coefficients)
        active = feature.clamp_min(0) ** self.power @ self.shown.double().mT + noise.clamp_min(0) ** self.power
        return self._second_layer() * active

    def outputs(self, coefficients: Coefficients) -> Tensor:
        """f(x_i), (..., N)."""
        return self.neuron_outputs(coefficients).sum(dim=-2)

    def descent(self, coefficients: Coefficients) -> Coefficients:
        """Coefficients of -dL/dw_r, equations (2) and (3)."""
        feature, noise = self.frame.products(coefficients)
        pull = _pull(self.outputs(coefficients), self.labels)  # g_i y_i / n
        weight = self._second_layer()
        shown = (pull.unsqueeze(-2) @ self.shown.double()).expand(feature.shape)
        return Coefficients(
            weight * self._slope(feature) * shown,
            weight * self._slope(noise) * pull.unsqueeze(-2),
            torch.zeros_like(coefficients.c),
        )

    def helpfulness(self, coefficients: Coefficients) -> Tensor:
        """<w_r, -dL/dw_r> = q mean_i g_i y_i F_r(x_i), (..., neurons), F_r what neuron r adds to the output.

        Euler's identity for act of degree q. So the cosine of a neuron with its descent is positive if and only if
        the neuron helps the samples that are not fitted, weighted by g_i. Range: any number. Source: derived here.
        """
        pull = _pull(self.outputs(coefficients), self.labels)
        return self.power * (self.neuron_outputs(coefficients) * pull.unsqueeze(-2)).sum(dim=-1)

    def _second_layer(self) -> Tensor:
        """s_r / m, (..., neurons, 1)."""
        return self.signs.double().unsqueeze(-1) / self.per_class

    def _slope(self, z: Tensor) -> Tensor:
        """act'(z), 0 at 0 and below, as autograd has it for relu(z)^q."""
        return torch.where(z > 0, self.power * z.clamp_min(0) ** (self.power - 1), 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReluRecursion:
    """A ReLU network on sums of features and noise, its biases and second layer given, in terms of coefficients.

    Attributes:
        frame: inner products.
        shown: b_ik, 0 or 1, (..., N, V).
        labels: y_i, -1 or 1, (..., N).
        bias: beta_r, (..., neurons).
        output: a_r, (..., neurons). Both change in training: make a new one per step.

    Raises:
        ValueError: if labels are not -1 and 1.
    """

    frame: Frame
    shown: Tensor
    labels: Tensor
    bias: Tensor
    output: Tensor

    def __post_init__(self) -> None:
        _signs("labels", self.labels)

    def preactivations(self, coefficients: Coefficients) -> Tensor:
        """z_ri, (..., neurons, N)."""
        feature, noise = self.frame.products(coefficients)
        return feature @ self.shown.double().mT + noise + self.bias.double().unsqueeze(-1)

    def outputs(self, coefficients: Coefficients) -> Tensor:
        """f(x_i), (..., N)."""
        active = self.preactivations(coefficients).clamp_min(0)
        return (self.output.double().unsqueeze(-2) @ active).squeeze(-2)

    def descent(self, coefficients: Coefficients) -> Coefficients:
        """Coefficients of -dL/dw_r, equations (4) and (5)."""
        gates = (self.preactivations(coefficients) > 0).double()
        pull = _pull(self.outputs(coefficients), self.labels).unsqueeze(-2)
        rho = self.output.double().unsqueeze(-1) * gates * pull
        return Coefficients(rho @ self.shown.double(), rho, torch.zeros_like(coefficients.c))

    def other_descents(self, coefficients: Coefficients) -> tuple[Tensor, Tensor]:
        """-dL/dbeta_r = sum_i e_ri and -dL/da_r = 1/n sum_i g_i y_i max(z_ri, 0), (..., neurons) each."""
        z = self.preactivations(coefficients)
        pull = _pull(self.outputs(coefficients), self.labels).unsqueeze(-2)
        bias = self.output.double() * ((z > 0).double() * pull).sum(dim=-1)
        return bias, (z.clamp_min(0) * pull).sum(dim=-1)


def step_coefficients(
    coefficients: Coefficients,
    velocity: Coefficients | None,
    descent: Coefficients,
    *,
    lr: float,
    momentum: float = 0.0,
) -> tuple[Coefficients, Coefficients]:
    """One step of gradient descent with heavy-ball momentum, equation (6).

    Args:
        coefficients: before the step.
        velocity: u before it; None at first, and after a momentum reset.
        descent: of `PatchRecursion.descent` or `ReluRecursion.descent` at these coefficients.
        lr: eta > 0.
        momentum: mu in [0, 1).

    Returns:
        coefficients and velocity after the step; nothing is modified.

    Raises:
        ValueError: if a number is out of range.
    """
    lr = real("lr", lr, low=0, open_low=True, fix="It is the step size.")
    momentum = real("momentum", momentum, low=0, high=1, fix="It is the part of the velocity that is kept.")
    moved = descent
    if velocity is not None:
        pairs = [(getattr(velocity, name), getattr(descent, name)) for name in ("gamma", "rho", "c")]
        moved = Coefficients(*(momentum * before + now for before, now in pairs))
    return (
        Coefficients(
            coefficients.gamma + lr * moved.gamma, coefficients.rho + lr * moved.rho, coefficients.c + lr * moved.c
        ),
        moved,
    )


def neuron_cosine(coefficients: Coefficients, descent: Coefficients, frame: Frame) -> Tensor:
    """Cosine of each neuron with its descent in terms of their coefficients, (..., neurons): what DASH clips.

    <w, d> / (|w| |d|) with <w, d> = <x, d>_B + c <w_0, d>,    |w|^2 = <x, x>_B + 2 c <w_0, x> + c^2 |w_0|^2

    where x and d are the coefficients (gamma, rho) of w and of the descent and <x, d>_B = x^T B^T B d uses the
    inner products of features and noise. With orthonormal features, noise of length s orthogonal to everything and
    c = 0 it is (gamma d_gamma + s^2 rho d_rho) / (|(gamma, s rho)| |(d_gamma, s d_rho)|): the features of a neuron
    count by how much they are still wanted, and so does its noise.
    Range: [-1, 1], no unit; 0 where w or the descent is 0, as in DASH. Source: derived here.
    What would fool it: the module `dashtheory.measure.alignment` says.
    """
    top = frame.inner(coefficients, descent)
    lengths = [frame.inner(one, one).clamp_min(0).sqrt() for one in (coefficients, descent)]
    bottom = lengths[0] * lengths[1]
    found: Tensor = torch.where(bottom > 0, top / bottom, 0.0).clamp(-1, 1)
    return found


def _pull(outputs: Tensor, labels: Tensor) -> Tensor:
    """g_i y_i / n: how much each sample pulls the output to its side."""
    signs = labels.double()
    return torch.sigmoid(-signs * outputs) * signs / labels.shape[-1]


def _signs(argument: str, value: Tensor) -> None:
    if not bool((value.abs() == 1).all()):
        fail(
            argument, "must be -1 or 1", f"values such as {value.flatten()[:3].tolist()}", "Two classes: 2 y - 1."
        )
