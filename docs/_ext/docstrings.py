"""Our docstrings as reStructuredText.

They are plain text: single backquotes for names, sections such as "Args:" whose entries are "name: words", and
indented tables and formulas. Here names become code, sections lists, and whatever else is indented is shown as it
stands.
"""

from __future__ import annotations

import re
from typing import Any

SECTIONS = "Args|Attributes|Returns|Raises|Yields|Source|Sources|Args and Returns|Args and Raises|Args, Returns"
_SECTION = re.compile(rf"(?P<name>{SECTIONS}):(?: (?P<rest>.*))?$")
_ENTRY = re.compile(r"(?P<names>[\w*.]+(?:, [\w*.]+)*): (?P<words>.*)$", re.DOTALL)


def to_rst(lines: list[str]) -> list[str]:
    """A docstring's lines, without the indentation of the code, as lines of reStructuredText."""
    found: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        if not line.strip():
            found.append("")
            place += 1
            continue
        section = _SECTION.match(line)
        if section:
            place, block = _indented(lines, place + 1)
            found += _section(section["name"], section["rest"] or "", block)
        elif line.startswith(" "):
            place, block = _indented(lines, place)
            found += ["", "::", "", *("    " + entry if entry else "" for entry in block), ""]
        else:
            found.append(inline(line))
            place += 1
    return found


def inline(text: str) -> str:
    """Text with names in code and everything that reStructuredText would take for markup escaped."""
    found = ""
    for part in re.split(r"(``[^`]+``|`[^`]+`)", text):
        if part.startswith("`"):
            found += ("\\ " if re.search(r"\w$", found) else "") + _code(part)
        else:  # what touches code must be told apart from it
            found += ("\\ " if found.endswith("``") and re.match(r"[\w(]", part) else "") + _escaped(part)
    return found


def _code(part: str) -> str:
    name = part.strip("`")
    return f"``{name.strip() or name}``"


def _escaped(text: str) -> str:
    return re.sub(r"([\\*|_`])", r"\\\1", text)


def _indented(lines: list[str], place: int) -> tuple[int, list[str]]:
    """Where the indented block that begins at `place` ends, and its lines without their common indentation."""
    end = place
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    block = lines[place:end]
    while block and not block[-1].strip():
        block.pop()
        end -= 1
    depth = min((len(line) - len(line.lstrip()) for line in block if line.strip()), default=0)
    return end, [line[depth:] for line in block]


def _section(name: str, rest: str, block: list[str]) -> list[str]:
    """A section: its name, and its entries as a list."""
    entries = _entries(block)
    if not rest and entries:
        return ["", f"**{name}**", "", *(f"- {_entry(entry)}" for entry in entries), ""]
    words = " ".join([rest, *entries]).strip()
    return ["", f"**{name}** — {inline(words)}", ""]


def _entries(block: list[str]) -> list[str]:
    """The entries of a section, each on one line: deeper lines go on with the one before."""
    entries: list[str] = []
    for line in block:
        if not line.strip():
            continue
        if line.startswith(" ") and entries:
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    return entries


def _entry(text: str) -> str:
    match = _ENTRY.match(text)
    if match is None:
        return inline(text)
    names = ", ".join(f"``{name}``" for name in match["names"].split(", "))
    return f"{names}: {inline(match['words'])}"


def process(app: Any, what: str, name: str, target: Any, options: Any, lines: list[str]) -> None:
    """For Sphinx: change the lines in place."""
    lines[:] = to_rst(lines)


def setup(app: Any) -> dict[str, bool]:
    """For Sphinx."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
