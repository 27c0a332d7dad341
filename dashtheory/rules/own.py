"""A rule of your own, by name: python:FILE.py:Name or python:MODULE:Name.

It is a subclass of `Rule`, or of `InPlace` if all it does is to change weights, and a frozen dataclass of its
options with a docstring (`dashtheory.user_code` has an example). Whatever else it is, is refused in one line.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from dashtheory._check import fail
from dashtheory.rules.rule import Rule
from dashtheory.rules.spec import TRAINING_OPTIONS
from dashtheory.user_code import find, user_files, where_raised


def own_rule_class(name: str) -> type[Rule]:
    """The class that "python:PLACE:Name" names.

    Raises:
        ValueError: in one line if it cannot be found, imported or used.
    """
    found: Any = find("rule", name, "rule (a subclass of dashtheory.rules.Rule)", _is_rule).value
    parameters = vars(found).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        got = "a class without it" if parameters is None else "one that is not frozen"
        _refuse(name, "be a frozen dataclass of its options", got, "Put @dataclass(frozen=True) above it.")
    if inspect.isabstract(found):
        _refuse(name, "do what a rule does", "a class without " + " and ".join(sorted(found.__abstractmethods__)))
    written = found.__doc__ or ""
    by_hand = written and not written.startswith(f"{found.__name__}(")  # else it is dataclass's
    if not by_hand and sys.flags.optimize < 2:
        _refuse(name, "have a docstring", "none", "Say what it does, with its source.")
    taken = [field.name for field in dataclasses.fields(found) if field.name in TRAINING_OPTIONS]
    if taken:
        _refuse(name, "have options of its own", taken[0], "That is an option of every rule's training.")
    kind: type[Rule] = found
    return kind


def make_own_rule(kind: type[Rule], name: str, options: Mapping[str, Any]) -> Rule:
    """Make a rule of your own, whose options are known to be there.

    Raises:
        ValueError: in one line, with the line of your file, if it does not take their values.
    """
    try:
        return kind(**options)
    except Exception as error:  # whatever the user's code raises
        known = ", ".join(field.name for field in dataclasses.fields(kind) if field.init) or "none"  # type: ignore[arg-type]
        _refuse(name, "take its options", where_raised(error, user_files()), f"They are: {known}.")


def _is_rule(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Rule) and value is not Rule


def _refuse(name: str, rule: str, got: str, fix: str = "Define it.") -> NoReturn:
    fail("rule", f"'{name}' must {rule}", got, fix)
