"""Rules and options written as text: a name, then name=value, joined by colons.

dash                     the rule with its published defaults
dash:lam=0.05:alpha=1    with options (`rule_options`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dashtheory._check import fail
from dashtheory.shrink.rule import Rule
from dashtheory.shrink.rules import make_rule


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
