"""A rule's page: all that the package knows of it, gathered from its class, docstrings and laws.

Nothing is written down twice: what it does, formula, source, cost come from the docstrings of class and module
(`dashtheory.rules.told`; what the class says goes before what the module says), options from the fields.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

from dashtheory._spec import is_own, label_of, write_text
from dashtheory.rules.laws import laws_of
from dashtheory.rules.spec import RULES, Registry, rule_class
from dashtheory.rules.told import SECTIONS, Block, Told, read_docstring

MOMENT_WORDS: Mapping[str, str] = {
    "between": "on the weights, between stages",
    "optimizer": "on the optimizer",
    "loss": "in the loss",
    "steps": "after steps of the optimizer",
    "evaluation": "on the network that is scored",
    "network": "on the network that is trained",
}
"""Moments of `dashtheory.rules.MOMENTS` in words."""

_KINDS = {"float": "number", "int": "integer", "bool": "yes or no", "str": "word"}


@dataclass(frozen=True, kw_only=True)
class RuleOption:
    """An option of a rule.

    Attributes:
        name: of it.
        kind: what it takes, in words.
        default: as one would write it; None if it must be given.
        meaning: what is said of it.
    """

    name: str
    kind: str
    default: str | None
    meaning: str


@dataclass(frozen=True, kw_only=True)
class RulePage:
    """What there is to say of a rule.

    Attributes:
        name: as one would write it.
        label: what legends call it.
        place: module and class.
        summary: in a line.
        text: what it does.
        sections: by name, of `dashtheory.rules.told.SECTIONS`; those that are told.
        options: of it.
        acts: where, of `dashtheory.rules.MOMENTS`.
        anew: whether every stage begins with a new learner.
        inert: the rule's text with which it is warm to the bit; empty if there is none.
        laws: that tests hold for it, in words; none for your own.
        held_by: the test of each, as "file::test".
    """

    name: str
    label: str
    place: str
    summary: str
    text: tuple[Block, ...]
    sections: Mapping[str, tuple[Block, ...]]
    options: tuple[RuleOption, ...]
    acts: tuple[str, ...]
    anew: bool
    inert: str
    laws: tuple[str, ...]
    held_by: tuple[str, ...]


def rule_page(name: str) -> RulePage:
    """The page of a rule.

    Args:
        name: of the package's, or your own ("python:mine.py:Mine").

    Raises:
        ValueError: in one line if there is no such rule, or your own does not load.
    """
    kind = rule_class(name)
    ours = not is_own(name)
    module = inspect.getmodule(kind)
    of_kind = read_docstring(kind.__doc__)
    of_module = read_docstring(module.__doc__ if ours and module is not None else None)
    laws = laws_of(kind) if ours else ()
    background = (Block(of_module.summary),) if of_module.summary and not _alone(kind) else ()
    return RulePage(
        name=name,
        label=label_of(name),
        place=f"{kind.__module__}.{kind.__name__}" if ours else name,
        summary=_shown(of_kind.summary),
        text=_all_shown((*of_kind.text, *background, *of_module.text)),
        sections=sections_of(of_kind, of_module),
        options=_options(kind, tuple(of_kind.attributes)),
        acts=tuple(kind.acts),
        anew=kind.anew,
        inert=write_text(name, kind.inert) if kind.inert else "",
        laws=tuple(law.words for law in laws),
        held_by=tuple(f"{law.where}::{law.test}" for law in laws),
    )


def _alone(kind: type[Any]) -> bool:
    """Whether a class is the only rule of its module, whose first line then says the same."""
    assert isinstance(RULES, Registry)
    return [RULES.place(name)[0] for name in RULES].count(kind.__module__) == 1


def sections_of(of_kind: Told, of_module: Told) -> dict[str, tuple[Block, ...]]:
    """Sections of a page, in their order; what the class says goes before what the module says of the same.

    Args:
        of_kind: the docstring of a rule's class.
        of_module: that of its module.
    """
    told = {**of_module.sections, **of_kind.sections}
    return {name: _all_shown(told[name], sentence=name != "Formula") for name in SECTIONS if name in told}


def _options(kind: type[Any], told: tuple[str, ...]) -> tuple[RuleOption, ...]:
    """The options, in the order in which they are told of."""
    found = [option for option in fields(kind) if option.init]
    found.sort(key=lambda option: told.index(option.name) if option.name in told else len(told))
    return tuple(_option(kind, option) for option in found)


def _option(kind: type[Any], option: Field[Any]) -> RuleOption:
    made = option.default if option.default_factory is MISSING else option.default_factory()
    return RuleOption(
        name=option.name,
        kind=_takes(option.type),
        default=None if made is MISSING else _written(made),
        meaning=_shown(_meaning(kind, option.name)),
    )


def _takes(annotation: Any) -> str:
    """What an option takes, in words; an annotation is a text or, in a file of your own, a type."""
    text = annotation.__name__ if annotation in (float, int, bool, str) else str(annotation)
    parts = [part.strip() for part in text.split("|")]
    return " or ".join(
        _KINDS.get(part, "several joined by +" if part.startswith("tuple") else part) for part in parts
    )


def _meaning(kind: type[Any], option: str) -> str:
    """What is said of an option: by the class, or the first of its bases; "as `Other`" is what that one says."""
    for one in kind.__mro__:
        said = read_docstring(one.__dict__.get("__doc__")).attributes.get(option, "")
        referred = re.match(r"as (?:in )?`(\w+)`[.;]? ?", said)
        if referred is None or (other := _named(kind, referred[1])) is None:
            if said:
                return said
            continue
        rest = said[referred.end() :]
        there = _meaning(other, option)
        return f"{there.rstrip('.')}; {rest}" if rest else there
    return ""


def _named(kind: type[Any], name: str) -> type[Any] | None:
    """A class that a docstring names: one of the bases, of a rule of the package, or of the same module."""
    bases = {one.__name__: one for one in kind.__mro__}
    rule = _rules_by_class().get(name)
    beside = getattr(inspect.getmodule(kind), name, None)
    return bases.get(name) or (RULES[rule] if rule else beside if isinstance(beside, type) else None)


def _rules_by_class() -> dict[str, str]:
    assert isinstance(RULES, Registry)
    return {RULES.place(name)[1]: name for name in RULES}


def _shown(text: str) -> str:
    """Text in which rules are called by their names, not their classes."""
    names = _rules_by_class()
    return re.sub(r"`(\w+)`", lambda found: f"`{names.get(found[1], found[1])}`", text)


def _all_shown(blocks: tuple[Block, ...], *, sentence: bool = False) -> tuple[Block, ...]:
    """Blocks with rules called by their names; `sentence` for those that began behind a colon."""

    def text(block: Block) -> str:
        begins = sentence and re.match(r"[a-z-]+([,:;.]| (?!=))", block.text)
        return _shown(block.text[:1].upper() + block.text[1:] if begins else block.text)

    return tuple(block if block.stands else Block(text(block)) for block in blocks)


def _written(value: object) -> str:
    """A default as one would write it in a rule's text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "+".join(map(_written, value)) if isinstance(value, tuple) else str(value)
