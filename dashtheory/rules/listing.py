"""All rules in a line each, read from their sources: nothing is imported, so that a list needs no torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.abc import InspectLoader
from importlib.util import find_spec
from typing import Any

from dashtheory._spec import LABELS
from dashtheory.rules.spec import RULES, Registry
from dashtheory.rules.told import read_docstring

_RULE = "dashtheory.rules.rule"


@dataclass(frozen=True, kw_only=True)
class RuleLine:
    """A rule in a line.

    Attributes:
        name: by which the package knows it.
        label: what legends call it.
        summary: the first line of its docstring.
        acts: where it acts, of `dashtheory.rules.MOMENTS`; empty for warm.
    """

    name: str
    label: str
    summary: str
    acts: tuple[str, ...]


def rule_lines(acts: str = "") -> list[RuleLine]:
    """All rules of the package, in the registry's order.

    Args:
        acts: only those that act there; empty for all.
    """
    assert isinstance(RULES, Registry)
    lines = []
    for name in RULES:
        module, kind = RULES.place(name)
        summary = read_docstring(ast.get_docstring(_classes(module)[kind])).summary
        line = RuleLine(name=name, label=LABELS.get(name, name), summary=summary, acts=_acts(module, kind))
        if not acts or acts in line.acts:
            lines.append(line)
    return lines


def moments() -> tuple[str, ...]:
    """`dashtheory.rules.MOMENTS`, read from its source."""
    (found,) = _assigned(_tree(_RULE), "MOMENTS")
    return tuple(found)


def _acts(module: str, kind: str) -> tuple[str, ...]:
    """Where a class acts: what it says, or else the first of its bases that says something."""
    node = _classes(module)[kind]
    for found in _assigned(node, "acts"):
        return tuple(found)
    places = _imports(module)
    for base in node.bases:
        name = ast.unparse(base)
        if name in _classes(module):
            return _acts(module, name)
        if name in places:
            return _acts(places[name], name)
    raise LookupError(f"{module}.{kind} has no base that says where it acts")


def _assigned(node: ast.Module | ast.ClassDef, name: str) -> Iterator[Any]:
    """Literals that are assigned to a name in a module or class."""
    for line in node.body:
        targets = [line.target] if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [])
        value = getattr(line, "value", None)
        if value is not None and any(isinstance(one, ast.Name) and one.id == name for one in targets):
            yield ast.literal_eval(value)


@cache
def _tree(module: str) -> ast.Module:
    spec = find_spec(module)
    loader = None if spec is None else spec.loader
    source = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    if source is None:
        raise LookupError(f"there is no source of {module}")
    return ast.parse(source)


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in _tree(module).body if isinstance(node, ast.ClassDef)}


@cache
def _imports(module: str) -> dict[str, str]:
    """Modules of the package by the names that are imported from them."""
    found: dict[str, str] = {}
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dashtheory."):
            found |= {alias.name: str(node.module) for alias in node.names}
    return found
