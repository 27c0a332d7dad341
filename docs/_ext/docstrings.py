"""Our docstrings as reStructuredText.

They are plain text: single backquotes for names, sections such as "Args:" whose entries are "name: words", and
indented tables and formulas. Short entries share a line, "name: words. other: words.", and a short section may
stand behind a sentence. Here names become code, sections lists, and whatever else is indented is shown as it
stands. In signatures, defaults that have no literal are named, and arrays are written as in the code.
"""

from __future__ import annotations

import re
from typing import Any

SECTIONS = "Args|Attributes|Returns|Raises|Yields|Source|Sources|Args and Returns|Args and Raises|Args, Returns"
_SECTION = re.compile(rf"(?P<name>{SECTIONS}):(?: (?P<rest>.*))?$")
_BEHIND_A_SENTENCE = re.compile(rf"(?<=\.) (?=(?:{SECTIONS}): )")
# Sentences begin with a capital, so a small letter behind a full stop and a colon behind the word mark an entry.
_NEXT_ENTRY = re.compile(r"(?<=\.) (?=[a-z_*][\w*]*(?:, [a-z_*][\w*]*)*: )")
_ARRAY = re.compile(r"~?numpy\.ndarray\[tuple\[~?(?:typing\.)?Any, \.\.\.\], ~?numpy\.dtype\[(~?[\w.]+)\]\]")
_ARRAY_LIKE = re.compile(r"~?[\w.]*_Buffer \| .*?_NestedSequence\[complex \| bytes \| str\]")
_OBJECT = re.compile(r"<(?:class '(?:\w+\.)*|function (?:\w+\.)*)?(\w+)[^<>]*>")
_ENTRY = re.compile(r"(?P<names>[\w*.]+(?:, [\w*.]+)*): (?P<words>.*)$", re.DOTALL)


def to_rst(lines: list[str]) -> list[str]:
    """A docstring's lines, without the indentation of the code, as lines of reStructuredText."""
    lines = [part for line in lines for part in _BEHIND_A_SENTENCE.split(line)]
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
            rest, place = _sentence(section["rest"] or "", lines, place + 1)
            place, block = _indented(lines, place)
            found += _section(section["name"], rest, block)
        elif line.startswith(" "):
            place, block = _indented(lines, place)
            found += ["", ".. code-block:: text", "", *("    " + entry if entry else "" for entry in block), ""]
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


def _sentence(text: str, lines: list[str], place: int) -> tuple[str, int]:
    """What stands behind a section's colon, up to the end of its sentence, and the line after it."""
    while text and not text.endswith(".") and place < len(lines) and re.match(r"\S", lines[place]):
        text += " " + lines[place]
        place += 1
    return text, place


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
    if rest:
        words = " ".join([rest, *(line.strip() for line in block)]).strip()
        entries = _entries([words]) if name.startswith("A") else [words]  # Args, Attributes; others are sentences
    else:
        entries = _entries(block)
    if rest and len(entries) == 1:
        return ["", f"**{name}** — {_entry(entries[0])}", ""]
    return ["", f"**{name}**", "", *(f"- {_entry(entry)}" for entry in entries), ""]


def _entries(block: list[str]) -> list[str]:
    """The entries of a section: deeper lines go on with the one before, and a line may hold several."""
    texts: list[str] = []
    for line in block:
        if line.startswith(" ") and texts:
            texts[-1] += " " + line.strip()
        elif line.strip():
            texts.append(line.strip())
    return [entry for text in texts for entry in _NEXT_ENTRY.split(text)]


def _entry(text: str) -> str:
    match = _ENTRY.match(text)
    if match is None:
        return inline(text)
    names = ", ".join(f"``{name}``" for name in match["names"].split(", "))
    return f"{names}: {inline(match['words'])}"


def process(app: Any, what: str, name: str, target: Any, options: Any, lines: list[str]) -> None:
    """For Sphinx: change the lines in place."""
    lines[:] = to_rst(lines)


def readable(signature: str) -> str:
    """A signature, or a type, as one would write it.

    `<function f>` reads `f`; `<factory>`, a new object for each call, `...`; an array of float64
    `NDArray[float64]`; and all that `ArrayLike` stands for `ArrayLike`.
    """
    named = _OBJECT.sub(lambda match: "..." if match[1] == "factory" else match[1], signature)
    return _ARRAY_LIKE.sub("~numpy.typing.ArrayLike", _ARRAY.sub(r"~numpy.typing.NDArray[\1]", named))


def process_signature(
    app: Any, what: str, name: str, target: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """For Sphinx: the signature to show."""
    return signature and readable(signature), returns and readable(returns)


def setup(app: Any) -> dict[str, bool]:
    """For Sphinx."""
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", process_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
