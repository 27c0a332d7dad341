"""The rules between stages at this level: those of `dashtheory.rules`, and oracles that know what is noise.

    ideal           forgets the noise inside every neuron: W_noise <- its value at initialisation; all else kept
    soft            half-way to ideal: what was learned in W_noise times lam
    oracle          shrinks the half of the neurons whose learned weight has the smaller share of features
    dash_channels   DASH with one cosine per (neuron, channel of the input), features in few channels only

A rule of `dashtheory.rules` is the specification, by the same name, options and defaults; on a stack it is
applied by `dashtheory.twolayer.apply_rules`, and does what it does to each network alone. The others are refused
with a reason (`why_absent`); reset needs a second layer that is trained.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from dashtheory._check import choice, fail, integer, real
from dashtheory.rules import RULES, Rule, parse_spec
from dashtheory.rules.alignment import checked_alpha, checked_lam


@dataclass(frozen=True, kw_only=True)
class Ideal:
    """W_noise <- its value at initialisation; weights on features, biases and second layer are kept.

    An oracle: that weight tells features from noise is given to it, not found by it.
    """

    name: ClassVar[str] = "ideal"


@dataclass(frozen=True, kw_only=True)
class Soft:
    """W_noise <- W_noise,0 + lam (W_noise - W_noise,0): memorised noise times lam; ideal is 0 and warm is 1.

    Attributes:
        lam: factor kept, in [0, 1].
    """

    lam: float = 0.5
    name: ClassVar[str] = "soft"

    def __post_init__(self) -> None:
        real("lam", self.lam, low=0, high=1, fix="It is the factor of memorised noise that is kept.")


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """Whole neurons of the first layer by their true share of features, |gamma|^2 / (|gamma|^2 + |noise|^2).

    gamma and noise are the two blocks of what was learned (weights less what is left of the initialisation). It
    bounds what any rule can do that scales whole neurons; biases and second layer are kept.

    Attributes:
        top: factor of the half of the neurons with the larger share, in [0, 1].
        rest: of the others.
    """

    top: float = 1.0
    rest: float = 0.05
    name: ClassVar[str] = "oracle"

    def __post_init__(self) -> None:
        real("top", self.top, low=0, high=1, fix="It is the factor kept.")
        real("rest", self.rest, low=0, high=1, fix="It is the factor kept.")


@dataclass(frozen=True, kw_only=True)
class DashChannels:
    """DASH with one cosine per neuron and channel of the input; biases and second layer as in DASH.

    A stand-in for DASH's cosine per (output, input) kernel of a convolution. The axes are cut into channels:
    noise evenly, in order, and feature k of a class into channel k mod signal_channels. That features sit in few
    channels is an ASSUMPTION IN FAVOUR OF DASH: with signal_channels = num_channels it can be worse than plain
    DASH. Say so wherever it is shown. Different factors inside a neuron leave the span of the samples' noise: its
    `rho` is NaN afterwards.

    Attributes:
        alpha: as in DASH.
        lam: as in DASH.
        num_channels: of the input.
        signal_channels: how many of them show features.
    """

    alpha: float = 0.3
    lam: float = 0.3
    num_channels: int = 10
    signal_channels: int = 2
    name: ClassVar[str] = "dash_channels"

    def __post_init__(self) -> None:
        checked_alpha(self.alpha)
        checked_lam(self.lam)
        integer("num_channels", self.num_channels, minimum=1, fix="It counts channels.")
        integer("signal_channels", self.signal_channels, minimum=1, fix="It counts channels with features.")
        if self.signal_channels > self.num_channels:
            rule = f"must be at most num_channels = {self.num_channels}"
            fail("signal_channels", rule, str(self.signal_channels), "Features sit in some of the channels.")


TwoLayerRule = Rule | Ideal | Soft | Oracle | DashChannels
"""A rule of this level."""

_SHARED = (
    *("cold", "warm", "sp", "dash", "warm_rm", "reset", "sp_ash_adams", "perturb"),
    *("uniform", "permuted", "threshold", "cold_shrunk"),
    *("sp_init", "sp_all", "reset_full", "scattered", "norm_matched"),
)
STACK_RULES: dict[str, type[Any]] = {
    **{name: RULES[name] for name in _SHARED},
    **{rule.name: rule for rule in (Ideal, Soft, Oracle, DashChannels)},
}
"""Rule classes of this level by name."""


_WHY = {
    "fire": "mixes neurons, so that what each has learned of every sample is known no longer",
    "reset_last": "is reset (of the output) or reset_full (of all) in two layers",
    "proportional": "follows the scale of outputs through all layers, of which the second may be fixed",
    "inject": "gives the network another head",
    "bn": "takes statistics of normalizations anew, of which there are none",
    "rewarm": "changes step sizes of layers before a normalization, of which there are none",
}


def why_absent(name: str) -> str:
    """Why a rule of `dashtheory.rules` is not one of this level, in words that go on with "which".

    Args:
        name: of a rule of `RULES` that is none of `STACK_RULES`.
    """
    if name in _WHY:
        return _WHY[name]
    acts = [moment for moment in RULES[name].acts if moment != "between"]
    where = {"loss": "in the loss", "steps": "after steps", "evaluation": "in evaluation"}
    if told := [where[moment] for moment in acts if moment in where]:
        return f"acts {' and '.join(told)}: a stack trains by steps of its own"
    return f"trains {'another network' if 'network' in acts else 'with another optimizer'} than a stack"


def refuse_absent(name: str) -> None:
    """Refuse a rule of `dashtheory.rules` that is not offered at this level, with the reason.

    Args:
        name: that may be one of any level, or of none.

    Raises:
        ValueError: in one line.
    """
    if name in RULES and name not in STACK_RULES:
        fix = "Use run_stages with the readable module."
        fail("rule", "must be one for stacks of two-layer networks", f"{name}, which {why_absent(name)}", fix)


def make_stack_rule(name: str, **options: Any) -> TwoLayerRule:
    """Build the rule called `name` with the given options.

    Raises:
        ValueError: if there is no such rule here or it has no such option.
    """
    refuse_absent(name)
    kind = STACK_RULES[choice("rule", name, STACK_RULES)]
    known = [option.name for option in fields(kind)]
    for option in options:
        if option not in known:
            got = f"of rule {name} must be among {sorted(known) or 'none'}"
            fail("options", got, repr(option), "Drop it or choose another rule.")
    made: TwoLayerRule = kind(**options)
    return made


def parse_stack_rule(spec: str) -> TwoLayerRule:
    """Read a rule as written on a command line: "dash", "dash:lam=0.05:alpha=0.3", "soft:lam=0.25".

    Raises:
        ValueError: if there is no such rule or option, or a value does not fit.
    """
    if isinstance(spec, str):
        refuse_absent(spec.partition(":")[0])
    made: TwoLayerRule = parse_spec(spec, STACK_RULES, argument="rule", training=(), own=False).make()
    return made
