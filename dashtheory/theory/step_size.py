"""Shrinking as a step size: a theorem that a computer can check step by step, and what breaks it.

Two copies of a `NormedNet` go through the same steps after a rule. The *small* one has its filters multiplied by
s. The *large* one keeps them, and takes larger steps instead. A claim says that s times the large one's filters
are the small one's, and that their outputs agree, at every step. A correction that is left out gives a refuted
claim, with its smallest counterexample. Proofs: docs/theory.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from dashtheory.theory.claims import Claim, Comparison, Comparisons
from dashtheory.theory.normed_net import Array, NormedNet, Trained, begin, gradient, outputs, small_nets, step

TOLERANCE = 1e-10
"""Of the claims: relative, after any number of steps that do not train chaotically (see docs/theory.md)."""


@dataclass(frozen=True, kw_only=True)
class StepComparison(Comparison):
    """A comparison at a step after the rule, counted from 0."""

    def __str__(self) -> str:
        told = super().__str__()
        return told.replace(f"stage {self.stage}:", f"after {self.stage} steps:", 1)


def _below(
    at: int, what: str, left: float, bound: float = TOLERANCE, bound_is: str = "tolerance"
) -> StepComparison:
    return StepComparison(stage=at, left_is=what, left=left, relation="<=", right_is=bound_is, right=bound)


def _distance(one: Array, other: Array) -> float:
    """Relative to `other`."""
    size = float(np.abs(other).max())
    return float(np.abs(one - other).max()) / (size or 1.0)


def _before(net: NormedNet) -> Trained:
    """The network when the rule comes."""
    now = begin(net)
    for _ in range(net.history):
        step(net, now)
    return now


def pair(net: NormedNet, *, without: Collection[str] = ()) -> tuple[Trained, Trained]:
    """The small and the large copy of a network right after the rule, with all that the theorem asks for.

    Args:
        net: trained until the rule comes.
        without: corrections that are left out, of rate, eps, buffer, decay, adam_eps, statistics; or "classifier",
            to multiply the classifier by s too.
    """
    large = _before(net)
    small, s = copy.deepcopy(large), np.array(net.scale)
    column, adam = s[:, None], net.optimizer == "adam"
    small.values["W"] *= column
    if "classifier" in without:
        small.values["a"] *= s
    if "statistics" not in without:
        small.mean, small.var = s * small.mean, s**2 * small.var
    if "buffer" not in without:
        small.first["W"] /= column
        small.second["W"] /= column**2
    large.rates["W"] = large.rates["W"] / (column if adam and "rate" not in without else column**2)
    if "decay" not in without:
        large.decays["W"] = large.decays["W"] * column**2
    if "eps" not in without:
        large.eps = large.eps / s**2
    if "adam_eps" not in without:
        large.adam_eps["W"] = large.adam_eps["W"] * column
    return small, large


def _same(net: NormedNet, small: Trained, large: Trained, *, normed: bool = True) -> Comparisons:
    """Both copies side by side, through all steps."""
    column = np.array(net.scale)[:, None]
    for at in range(net.num_steps + 1):
        ours, theirs = (outputs(net, one, normed=normed) for one in (small, large))
        yield _below(
            at, "outputs of the small network, relative distance to the large one's", _distance(ours, theirs)
        )
        apart = _distance(small.values["W"], column * large.values["W"])
        yield _below(at, "its filters, relative distance to s times the large one's", apart)
        step(net, small, normed=normed)
        step(net, large, normed=normed)


def _scaled(optimizer: str, *without: str, normed: bool = True) -> Callable[[NormedNet], Comparisons]:
    def compare(net: NormedNet) -> Comparisons:
        if net.optimizer == optimizer:
            yield from _same(net, *pair(net, without=without), normed=normed)

    return compare


def _statistics(*without: str) -> Callable[[NormedNet], Comparisons]:
    def compare(net: NormedNet) -> Comparisons:
        """By running statistics; a bias before the norm would be part of the mean."""
        if any(net.bias) or net.optimizer != "descent":
            return
        small, large = pair(net, without=without)
        for at in range(net.num_steps + 1):
            ours, theirs = (outputs(net, one, evaluation=True) for one in (small, large))
            yield _below(at, "outputs in evaluation, relative distance", _distance(ours, theirs))
            step(net, small)
            step(net, large)

    return compare


def _kept_buffer(net: NormedNet) -> Comparisons:
    """The buffer is the only difference before the first step, and enters it as eta mu b."""
    if net.optimizer != "descent" or not net.num_steps:
        return
    (kept, _), (scaled, _) = pair(net, without=("buffer",)), pair(net)
    column, buffer = np.array(net.scale)[:, None], kept.first["W"].copy()
    for one in (kept, scaled):
        step(net, one)
    expected = net.step_size * net.momentum * (1 / column - 1) * buffer
    size = float(np.abs(kept.values["W"]).max())
    apart = float(np.abs(kept.values["W"] - scaled.values["W"] - expected).max()) / size
    yield _below(1, "what the kept buffer moves less, beside eta mu (1/s - 1) b, relative to the filters", apart)


def _eps_bound(net: NormedNet) -> Comparisons:
    """What the small network has for z is sqrt(1 - u) z, u = eps (1 - s^2) / (s^2 v + eps)."""
    now, s = begin(net), np.array(net.scale)
    pre = np.array(net.inputs) @ now.values["W"].T
    centred, var = pre - pre.mean(axis=0), pre.var(axis=0)
    plain, small = centred / np.sqrt(var + net.eps), s * centred / np.sqrt(s**2 * var + net.eps)
    u = np.abs(net.eps * (1 - s**2) / (s**2 * var + net.eps))
    over = float((np.abs(small - plain) - u * np.abs(plain)).max())
    yield _below(0, "change of a normalised unit beyond u |z|", over)


def _norm_grows(net: NormedNet) -> Comparisons:
    """The gradient is orthogonal to a scale-invariant filter (Euler), so Pythagoras."""
    if net.optimizer != "descent" or net.momentum or net.decay or net.eps:
        return
    now = begin(net)
    for at in range(1, net.num_steps + 1):
        slope, before = gradient(net, now)["W"], (now.values["W"] ** 2).sum(axis=1)
        step(net, now)
        expected = before + net.step_size**2 * (slope**2).sum(axis=1)
        apart = _distance((now.values["W"] ** 2).sum(axis=1), expected)
        yield _below(at, "|w|^2 beside its last value + eta^2 |g|^2, relative distance", apart)


def _kernel_turn(net: NormedNet) -> Comparisons:
    """By d w = E d w + (d - E d) w, where the second part is orthogonal to w; Kantorovich bounds it."""
    if not net.factors:
        return
    w, d = np.array(net.weights), np.array(net.factors)
    share = w**2 / (w**2).sum(axis=1, keepdims=True)
    mean, square = (share * d).sum(axis=1), (share * d**2).sum(axis=1)
    after, norm = d * w, np.linalg.norm
    stretch = norm(after, axis=1) / norm(w, axis=1)
    yield _below(0, "|w'| / |w| beside sqrt(E d^2), relative distance", _distance(stretch, np.sqrt(square)))
    along = (after * w).sum(axis=1, keepdims=True) / (w**2).sum(axis=1, keepdims=True) * w
    tangent = norm(after - along, axis=1) / norm(along, axis=1)
    spread = np.sqrt((share * (d - mean[:, None]) ** 2).sum(axis=1)) / mean
    yield _below(0, "tan of the turn beside sd(d) / E d, distance", float(np.abs(tangent - spread).max()))
    low = d.min(axis=1) / d.max(axis=1)
    over = float((np.cos(np.arctan(spread)) - 2 * np.sqrt(low) / (1 + low)).min())
    yield _below(0, "2 sqrt(l) / (1 + l) beyond cos of the turn, l = min d / max d", -over)


def _factor_per_kernel(net: NormedNet) -> Comparisons:
    """Outputs right after one factor per weight, beside those before it."""
    if net.factors:
        before = begin(net)
        after = copy.deepcopy(before)
        after.values["W"] = after.values["W"] * np.array(net.factors)
        apart = _distance(outputs(net, after), outputs(net, before))
        yield _below(0, "outputs after a factor per weight, relative distance to those before", apart)


def _claim(
    status: str, name: str, statement: str, compare: Callable[[NormedNet], Comparisons], *needs: str
) -> Claim:
    return Claim(
        name=name,
        statement=statement,
        assumptions=needs,
        section=f"docs/theory.md#{name.replace('_', '-')}",
        status=status,
        about=NormedNet,
        compare=compare,
    )


_LAW = "from s w is, at every step, s times descent from w"
_ALL = (
    _claim(
        "theorem",
        "scaled_descent",
        f"descent {_LAW} with eta / s^2, weight decay s^2 and eps / s^2, if the buffer at s w is that at w over s",
        _scaled("descent"),
    ),
    _claim("refuted", "eps_kept", f"the same with one eps: descent {_LAW}", _scaled("descent", "eps")),
    _claim("refuted", "buffer_kept", f"the same with one buffer: descent {_LAW}", _scaled("descent", "buffer")),
    _claim(
        "refuted", "decay_kept", f"the same with one weight decay: descent {_LAW}", _scaled("descent", "decay")
    ),
    _claim(
        "refuted",
        "classifier_scaled",
        f"the same with the classifier multiplied too: descent {_LAW}",
        _scaled("descent", "classifier"),
    ),
    _claim("refuted", "without_norm", f"the same with no norm: descent {_LAW}", _scaled("descent", normed=False)),
    _claim(
        "theorem",
        "scaled_adam",
        "Adam from s w is, at every step, s times Adam from w with eta / s, its eps s, weight decay s^2 and the "
        "norm's eps / s^2, if the moments at s w are those at w over s and s^2",
        _scaled("adam"),
    ),
    _claim("refuted", "adam_as_descent", "the same with eta / s^2, as for descent", _scaled("adam", "rate")),
    _claim("refuted", "adam_eps_kept", "the same with one eps of Adam", _scaled("adam", "adam_eps")),
    _claim(
        "theorem",
        "scaled_statistics",
        "the two networks agree in evaluation too, if running means are multiplied by s and variances by s^2",
        _statistics(),
        "no bias before the normalisation",
    ),
    _claim(
        "refuted",
        "statistics_kept",
        "the two networks agree in evaluation with the running statistics of before",
        _statistics("statistics"),
        "no bias before the normalisation",
    ),
    _claim(
        "theorem",
        "kept_buffer",
        "with the buffer b kept, as rules keep it, the first step differs by eta mu (1/s - 1) b from the law's",
        _kept_buffer,
    ),
    _claim(
        "theorem",
        "eps_bound",
        "with one eps, a shrink moves a normalised unit by at most u |z|, u = eps |1 - s^2| / (s^2 v + eps)",
        _eps_bound,
    ),
    _claim(
        "theorem",
        "norm_grows",
        "descent makes a scale-invariant filter longer at every step: |w|^2 grows by eta^2 |g|^2",
        _norm_grows,
        "no momentum, no weight decay, eps = 0",
    ),
    _claim(
        "theorem",
        "kernel_turn",
        "factors d on parts of a filter are one factor sqrt(E d^2) and a turn by arctan(sd(d) / E d), weighted by "
        "the parts' shares of |w|^2; cos of the turn is at least 2 sqrt(l) / (1 + l), l = min d / max d",
        _kernel_turn,
    ),
    _claim(
        "refuted",
        "factor_per_kernel",
        "a factor for each part of a filter leaves the function alone",
        _factor_per_kernel,
    ),
)

STEP_CLAIMS: Mapping[str, Claim] = MappingProxyType({claim.name: claim for claim in _ALL})
"""Every claim on step sizes, by name."""

_WHERE: Mapping[str, Mapping[str, Any]] = {
    "eps_kept": {"eps": 0.1},
    "buffer_kept": {"momentum": 0.5, "history": 1},
    "decay_kept": {"decay": 0.5},
    "adam_as_descent": {"optimizer": "adam"},
    "adam_eps_kept": {"optimizer": "adam"},
    "factor_per_kernel": {"factors": ((0.5, 1.0),)},
}


def nets_for(name: str) -> list[NormedNet]:
    """Small networks in which a claim may fail, the smallest first: all assumptions but the one at stake are met.

    Args:
        name: of `STEP_CLAIMS`.
    """
    settings = dict(_WHERE.get(name, {}))
    return [net for net in small_nets(**settings) if not net.factors or _varies(net)]


def _varies(net: NormedNet) -> bool:
    """Whether the filter has its factors, and a variance with them."""
    fits = len(net.weights[0]) == len(net.factors[0])
    return fits and bool(np.ptp(np.array(net.inputs) @ np.array(net.factors[0])))
