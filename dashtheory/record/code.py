"""A fingerprint of the code that computes a run: its module, and every module of the package that it needs.

Comments, docstrings and layout do not count, nor do modules that the run does not import, so that a change of
a figure's drawing, or of another experiment, does not make finished runs useless.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT.name
_NO_NUMBERS = ("plot", "command", "parallel")  # rooms that no number depends on


@cache
def code_of(module: str) -> str:
    """Fingerprint of what `module` needs of this package, itself included; it is taken once in a process.

    Args:
        module: its full name. One outside the package (a script's, a test's) counts by its own file alone where
            that can be found, and by what it imports of the package.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(_needed(module)):
        digest.update(name.encode() + b"\0" + _substance(_file(name)).encode() + b"\0")
    return digest.hexdigest()[:32]


@cache
def _needed(module: str) -> frozenset[str]:
    """Names of all modules, from `module` on."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or _file(name) is None:
            continue
        found.add(name)
        waiting.extend(_imports(name))
    return frozenset(found)


def _imports(name: str) -> Iterator[str]:
    """Modules of the package that a module imports or names in a text, and the packages that they are in."""
    path = _file(name)
    assert path is not None
    for node in ast.walk(ast.parse(path.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            places = _exports(node.module)
            names = [node.module]
            for alias in node.names:
                names += _with_exports(places.get(alias.name, f"{node.module}.{alias.name}"))
        elif isinstance(node, ast.Import):
            names = [name for alias in node.names for name in _with_exports(alias.name)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [match[0] for match in _NAMED.finditer(node.value)]
        for one in names:
            parts = one.split(".")
            if parts[0] == _PACKAGE and parts[1:2] and parts[1] not in _NO_NUMBERS:
                yield from (".".join(parts[:count]) for count in range(2, len(parts) + 1))


_NAMED = re.compile(rf"\b{_PACKAGE}(?:\.\w+)+(?=:\w)")
"""A module in a text, as a registry of lazily imported things names it: MODULE:NAME."""


@cache
def _exports(module: str) -> dict[str, str]:
    """Where the names of a package that imports them on first use come from, by its stub."""
    path = _file(module)
    if path is None or not path.with_suffix(".pyi").exists():
        return {}
    nodes = ast.parse(path.with_suffix(".pyi").read_bytes()).body
    return {
        alias.name: f"{module}.{node.module}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 1
        for alias in node.names
    }


def _with_exports(name: str) -> list[str]:
    """What is imported as a whole: a module, and all that it imports on first use."""
    return [name, *_exports(name).values()] if name != _PACKAGE else []


def _file(name: str) -> Path | None:
    """The file of a module; None for what is no module."""
    if name.partition(".")[0] == _PACKAGE:
        place = _ROOT.joinpath(*name.split(".")[1:])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
        return None
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file and Path(file).suffix == ".py" else None


@cache
def _substance(path: Path | None) -> str:
    """A module's syntax without comments, docstrings and layout."""
    return "" if path is None else ast.dump(_Bare().visit(ast.parse(path.read_bytes())))


class _Bare(ast.NodeTransformer):
    """Drops texts that stand for themselves."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """A docstring, of whatever."""
        bare = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if bare else self.generic_visit(node)
