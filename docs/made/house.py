"""The house in a few lines, for the README: floors by the plan that `tests/test_house.py` holds, top to bottom."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.test_house import GROUND, MAY_IMPORT, PACKAGE


def house(argument: str = "") -> str:
    """All floors, a line each: rooms, and the first words of their docstrings.

    Args:
        argument: none is taken.
    """
    rooms = [room for room in MAY_IMPORT if (PACKAGE / room / "__init__.py").exists()]
    lines = []
    for floor in sorted({floor_of(room) for room in rooms}, reverse=True):
        here = [room for room in rooms if floor_of(room) == floor]
        lines.append((", ".join(here), "; ".join(words(room) for room in here)))
    width = max(len(names) for names, _ in lines)
    return "\n".join(["```text", *(f"{names:{width}}  {text}" for names, text in lines), "```"])


@cache
def floor_of(room: str) -> int:
    """How many floors lie below a room: 0 for the ground, else one more than the highest that it may import."""
    return 0 if room in GROUND else 1 + max(floor_of(below) for below in MAY_IMPORT[room])


def words(room: str) -> str:
    """What a room is, in the first words of its docstring; of a level its name and what follows."""
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    first, _, rest = text.partition(": ")
    found = f"{first}: {_clause(rest)}" if re.fullmatch(r"Level \d", first) else _clause(text)
    return found[:1].lower() + found[1:]


def _clause(text: str) -> str:
    return re.split(r"[,.:;]", text, maxsplit=1)[0].strip()
