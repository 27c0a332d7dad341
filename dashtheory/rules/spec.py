"""Rules and options written as text: a name, then name=value, joined by colons.

dash                     the rule with its published defaults
dash:lam=0.05:alpha=1    with options (`rule_options`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dashtheory._check import choice, fail, real
from dashtheory.rules.cold import Cold
from dashtheory.rules.controls import ColdShrunk, Permuted, Perturb, Threshold, Uniform
from dashtheory.rules.dash import Dash
from dashtheory.rules.l2_init import L2Init
from dashtheory.rules.reset import Reset
from dashtheory.rules.rule import Rule
from dashtheory.rules.shrink_and_perturb import ShrinkFresh, ShrinkPerturb
from dashtheory.rules.warm import Warm, WarmRenewed


def read_rule(spec: str) -> Rule:
    """The rule that a text names: "dash", "dash:lam=0.05:alpha=0.3", "sp:shrink=0.5".

    Raises: ValueError if there is no such rule or option, or a value does not fit.
    """
    name, parts = split_spec(spec)
    return make_rule(name, **read_options(f"rule {name}", parts))


def split_spec(spec: str) -> tuple[str, list[str]]:
    """Name and options of a text. Raises: ValueError if it is no text."""
    if not isinstance(spec, str):
        fail("rule", "must be a name with options", repr(spec), "Write dash:lam=0.05, say.")
    name, *parts = spec.split(":")
    return name, parts


def read_options(owner: str, given: Iterable[str]) -> dict[str, Any]:
    """Options written as name=value: numbers, yes or no, words, or several values joined by +.

    Raises: ValueError if one is not of this form, or is given twice.
    """
    found: dict[str, Any] = {}
    for part in given:
        name, equals, text = part.partition("=")
        if not equals or not name or not text or name in found:
            fail(f"options of {owner}", "must be name=value, each once", repr(part), "Write lam=0.05, say.")
        found[name] = _value(text)
    return found


def _value(text: str) -> object:
    """A number, yes or no, several of them joined by +, or a word."""
    words: dict[str, object] = {"yes": True, "no": False, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    kinds: tuple[Callable[[str], object], ...] = (int, float)
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    if "+" in text:
        return tuple(_value(part) for part in text.split("+") if part)
    return text


TRAINING_OPTIONS = ("learning_rate", "weight_decay")
TUNED = "tuned"


@dataclass(frozen=True, kw_only=True)
class RuleSpec:
    """A rule, and how its training differs from the run's.

    Attributes:
        rule: the rule. training: values of `TRAINING_OPTIONS` in place of the run's, by name.
        tuned: the training option that is to be chosen on held-out data; empty for none.
    """

    rule: Rule
    training: Mapping[str, float] = field(default_factory=dict)
    tuned: str = ""


def parse_spec(spec: str) -> RuleSpec:
    """Read a rule as written on a command line.

    Raises: ValueError if there is no such rule or option, a value does not fit, or two options are to be tuned.
    """
    name, *parts = spec.split(":")
    choice("rules", name, RULES)
    values = read_options(f"rule {name}", parts)
    training = {option: values.pop(option) for option in TRAINING_OPTIONS if option in values}
    tuned = [option for option, value in training.items() if value == TUNED]
    if len(tuned) > 1:
        fail(f"rule {name}", "may have one tuned option", " and ".join(tuned), "Fix one of them.")
    for option, value in training.items():
        if value != TUNED:
            real(option, value, low=0, open_low=option == "learning_rate", fix="Or say tuned.")
    return RuleSpec(
        rule=make_rule(name, **values),
        training={option: float(value) for option, value in training.items() if value != TUNED},
        tuned=tuned[0] if tuned else "",
    )


def parse_rule(spec: str) -> Rule:
    """The rule alone of a spec without training options: "dash", "dash:lam=0.05:alpha=0.3", "sp:shrink=0.5".

    Raises: ValueError as `parse_spec`, or if the spec has training options.
    """
    parsed = parse_spec(spec)
    if parsed.training or parsed.tuned:
        fail("rule", "must have options of the rule alone", repr(spec), "Nothing is trained here.")
    return parsed.rule


RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        Cold,
        Warm,
        ShrinkPerturb,
        Dash,
        WarmRenewed,
        Reset,
        L2Init,
        ShrinkFresh,
        Perturb,
        Uniform,
        Permuted,
        Threshold,
        ColdShrunk,
    )
}
"""Rule classes by name."""


def make_rule(name: str, **options: Any) -> Rule:
    """Build the rule called `name` with the given options.

    Raises: ValueError if there is no such rule or it has no such option.
    """
    known = rule_options(name, ablations=True)
    for option in options:
        if option not in known:
            fail(
                "options",
                f"of rule {name} must be among {sorted(known) or 'none'}",
                repr(option),
                "Drop it or choose another rule.",
            )
    return RULES[name](**options)


def rule_options(name: str, *, ablations: bool = False) -> tuple[str, ...]:
    """Names of the options of the rule called `name`.

    Args:
        name: the rule. ablations: list all options; otherwise only those that an experiment sets for all rules
            that have them (alpha, lam, shrink, perturb), so that one number cannot mean two things.
    Raises: ValueError if there is no such rule.
    """
    rule: Any = RULES[choice("rule", name, RULES)]
    return tuple(option.name for option in fields(rule) if ablations or not option.metadata.get("ablation"))
