"""A rule's docstring, read into the parts of its page.

It is plain text: paragraphs, and indented blocks that stay as they stand. A paragraph that begins with a word of
`SECTIONS` and a colon is that part of the page; "Attributes:" tells of the options.

    Formula: w <- c w, with c from

        c = 1 - share

    Source: Smith & Jones (ICML 2025, arXiv:0000.00000), and the facts of their code.

    Cost: one pass over the data a stage, and a copy of the weights.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SECTIONS = ("Formula", "Published", "Cost", "Source", "Elsewhere")
"""What paragraphs of a rule's docstring tell of: the formula, defaults as published, what it costs in passes over
data and in memory, where it comes from, and what other implementations do otherwise."""


@dataclass(frozen=True)
class Block:
    """A paragraph, its lines joined, or an indented block as it stands.

    Attributes:
        text: of it.
        stands: whether it is shown as it stands.
    """

    text: str
    stands: bool = False


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a docstring says.

    Attributes:
        summary: its first line.
        text: what follows and is of no section.
        sections: of `SECTIONS`, those that are there.
        attributes: what is said of each, or of each argument.
    """

    summary: str = ""
    text: tuple[Block, ...] = ()
    sections: Mapping[str, tuple[Block, ...]] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


def read_docstring(docstring: str | None) -> Told:
    """Take a docstring apart.

    Args:
        docstring: as it stands in the source, or None.
    """
    body, attributes = _without_attributes(inspect.cleandoc(docstring or ""))
    text: list[Block] = []
    sections: dict[str, list[Block]] = {}
    here = text
    for block in _blocks(body):
        word, colon, rest = block.text.partition(":")
        if block.stands:
            here.append(block)
        elif colon and word in SECTIONS:
            here = sections.setdefault(word, [])
            here += [Block(rest.strip())] if rest.strip() else []
        else:
            here = text
            here.append(block)
        if not block.stands and word in SECTIONS and word != "Formula" and not block.text.endswith(":"):
            here = text
    summary = text.pop(0).text if text and not text[0].stands else ""
    return Told(
        summary=summary,
        text=tuple(text),
        sections={name: tuple(found) for name, found in sections.items()},
        attributes=attributes,
    )


def _blocks(body: str) -> Iterator[Block]:
    """Paragraphs and indented blocks; blank lines between two indented ones stay."""
    kept: list[str] = []
    apart = re.sub(r"(?m)^( .*)\n(?=\S)|^(\S.*)\n(?= )", lambda found: f"{found[0]}\n", body)
    for part in re.split(r"\n\s*\n", apart):
        if part.startswith(" "):
            kept.append(part)
            continue
        if kept:
            yield Block(inspect.cleandoc("\n\n".join(["", *kept])).strip("\n"), stands=True)
            kept = []
        if part.strip():
            yield Block(" ".join(part.split()))
    if kept:
        yield Block(inspect.cleandoc("\n\n".join(["", *kept])).strip("\n"), stands=True)


def _without_attributes(text: str) -> tuple[str, dict[str, str]]:
    """The text without its attributes, and what is said of each."""
    begins = re.search(r"(?m)^(Attributes|Args):\n", text)
    if begins is None:
        return text, {}
    before, section = text[: begins.start()], text[begins.end() :]
    ends = re.search(r"(?m)^(?=\S)", section)
    after = section[ends.start() :] if ends else ""
    entries = re.split(r"(?m)^    (?=\w+: )", section[: ends.start()] if ends else section)
    pairs = (entry.partition(": ") for entry in entries if entry.strip())
    return f"{before}\n\n{after}", {name: " ".join(meaning.split()) for name, _, meaning in pairs}
