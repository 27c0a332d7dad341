"""The house: upper floors import lower ones, never the other way round; levels do not know each other."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import dashtheory

PACKAGE = Path(dashtheory.__file__).parent

GROUND = (
    *("stream", "copies", "losses", "scoring", "evaluate", "batchnorm", "seeds", "user_code", "errors"),
    *("_check", "_door", "_memory", "_needs", "_nested", "_spec", "_version", "record", "plot", "parallel"),
)
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(GROUND, GROUND),
    "rules": GROUND,
    "measure": ("rules", *GROUND),
    "protocol": ("rules", "measure", *GROUND),
    "discrete": GROUND,
    "theory": ("discrete", *GROUND),
    "twolayer": ("rules", "measure", *GROUND),
    "streams": ("rules", "measure", *GROUND),
    "deep": ("protocol", "rules", "measure", *GROUND),
    "rl": ("protocol", "rules", "measure", *GROUND),
    "paper": ("deep", "protocol", "rules", "measure", *GROUND),
    "experiments": (
        *("discrete", "theory", "twolayer", "streams", "deep", "rl", "protocol", "rules", "measure"),
        *GROUND,
    ),
    "explore": ("discrete", "theory", "twolayer", "deep", "protocol", "rules", "measure", *GROUND),
    "command": ("experiments", "paper", "explore", "deep", "protocol", "rules", "measure", *GROUND),
    "adapters": ("rules", "protocol", *GROUND),
    "__init__": ("_version", "_needs"),
}
"""Rooms, and the rooms that each may import besides itself."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without the package's."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
        found[name.removesuffix(".__init__") if name != "__init__" else name] = path
    return found


def imports(path: Path, *, lazy: bool) -> Iterator[str]:
    """Dotted names, without the package's, of what a file imports of the package.

    Args:
        path: of the file.
        lazy: whether imports inside functions and for type checkers count too.
    """
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dashtheory":
            inside = node.module.partition(".")[2]
            yield from (f"{inside}.{alias.name}".lstrip(".") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name.partition(".")[2] for a in node.names if a.name.startswith("dashtheory."))
        hidden = isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        if lazy or not hidden:
            nodes.extend(ast.iter_child_nodes(node))


def room(name: str) -> str:
    return name.split(".")[0]


def test_every_room_imports_lower_floors_alone() -> None:
    wrong = [
        f"{name} imports {found}"
        for name, path in modules().items()
        for found in imports(path, lazy=True)
        if room(found) != room(name) and room(found) not in MAY_IMPORT[room(name)]
    ]
    assert not wrong, wrong


def test_every_room_is_in_the_plan_of_the_house() -> None:
    assert {room(name) for name in modules()} <= set(MAY_IMPORT)


def test_levels_do_not_know_each_other() -> None:
    levels = {"discrete": "discrete", "theory": "discrete"}
    levels |= {name: name for name in ("twolayer", "streams", "deep", "rl")}
    for ours, theirs in itertools.permutations(levels, 2):
        if levels[ours] != levels[theirs]:
            assert theirs not in MAY_IMPORT[ours]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Circles of a graph, each found once; empty if there is none."""
    done: set[str] = set()
    found: list[list[str]] = []

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in sorted(graph[name]):
                visit(other, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def test_no_module_imports_itself_in_a_circle() -> None:
    known = modules()

    def resolved(name: str) -> str:
        while name not in known:
            name = name.rpartition(".")[0]
        return name

    graph = {
        name: {resolved(found) for found in imports(path, lazy=False) if found.split(".")[0] in MAY_IMPORT}
        - {name}
        for name, path in known.items()
    }
    assert not circles(graph)


def test_the_search_for_circles_finds_one() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
