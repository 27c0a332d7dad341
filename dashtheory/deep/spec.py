"""Rules as written on a command line: a name, options of the rule, and options of its training.

dash                       the rule with its published defaults
dash:lam=0.05:alpha=1      with options of the rule (`dashtheory.shrink.rule_options`)
cold:weight_decay=0.01     with its own weight decay or learning rate in place of the run's
cold:weight_decay=tuned    the same, chosen on held-out training data (`dashtheory.deep.tuning`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dashtheory._check import choice, fail, real
from dashtheory.shrink import RULES, Rule, make_rule, read_options

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
