"""The pages of the rules on the site, made when it is built from what the package says of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dashtheory.rules.laws import WHERE
from dashtheory.rules.listing import RuleLine, rule_lines
from dashtheory.rules.pages import MOMENT_WORDS, RulePage, rule_page
from dashtheory.rules.spec import RULES
from dashtheory.rules.told import Block

HEADINGS = {
    "Published": "As published",
    "Cost": "Cost",
    "Source": "Source",
    "Elsewhere": "What others do differently",
}
"""Headings of sections of a docstring, in their order."""


def write_pages(folder: Path) -> None:
    """Write a page for each rule, and the table of all that the index shows; pages of other rules are removed.

    Args:
        folder: of the pages; it has an index.md of its own.
    """
    folder.mkdir(exist_ok=True)
    texts = {f"{name}.md": page_text(rule_page(name)) for name in RULES} | {"table.inc": table_text(rule_lines())}
    for path in folder.glob("*.md"):
        if path.name not in (*texts, "index.md"):
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # what did not change is not built anew
            path.write_text(text, encoding="utf-8")


def table_text(lines: Iterable[RuleLine]) -> str:
    """All rules as a table in Markdown, with links to their pages."""
    rows = [
        f"| [`{line.name}`]({line.name}.md) | {markdown(line.summary)} | {', '.join(line.acts)} |"
        for line in lines
    ]
    return "\n".join(["| rule | what it does | acts |", "| --- | --- | --- |", *rows, ""])


def page_text(page: RulePage) -> str:
    """A rule's page in Markdown."""
    return "\n\n".join(_parts(page)) + "\n"


def _parts(page: RulePage) -> Iterator[str]:
    yield f"# `{page.name}`: {markdown(page.label)}"
    yield markdown(page.summary, page.name)
    yield from _blocks(page, page.text)
    if formula := page.sections.get("Formula"):
        yield "## Formula"
        yield from _blocks(page, formula)
    yield "## Options"
    yield _options(page)
    yield "## Where it acts"
    words = [MOMENT_WORDS[moment] for moment in page.acts]
    yield f"It acts {'; '.join(words)}." if words else "It acts nowhere."
    if page.anew:
        yield "Every stage begins with a new learner."
    if page.inert:
        yield f"With `{page.inert}` it is warm to the bit."
    for name, heading in HEADINGS.items():
        if found := page.sections.get(name):
            yield f"## {heading}"
            yield from _blocks(page, found)
    yield "## Laws"
    yield f"Tests hold it to these (where no file is named, `{WHERE}`):"
    yield "\n".join(
        f"- {markdown(law)}{'' if test.startswith(WHERE) else ' (`' + test.partition('::')[0] + '`)'}"
        for law, test in zip(page.laws, page.held_by, strict=True)
    )
    kind = page.place.rpartition(".")[2]
    yield f"In Python it is {{py:class}}`dashtheory.rules.{kind}`."


def _blocks(page: RulePage, blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        yield f"```text\n{block.text}\n```" if block.stands else markdown(block.text, page.name)


def _options(page: RulePage) -> str:
    if not page.options:
        return "None."
    rows = [
        f"| `{one.name}` | {'*(empty)*' if not one.default else f'`{one.default}`'} | {one.kind} | "
        f"{markdown(one.meaning, page.name)} |"
        for one in page.options
    ]
    return "\n".join(["| option | default | takes | meaning |", "| --- | --- | --- | --- |", *rows])


def markdown(text: str, here: str = "") -> str:
    """Plain text in Markdown: `code` stays and links to the page of a rule, arXiv numbers link there.

    Args:
        text: in which nothing but `code` is markup.
        here: the rule whose page it is for, which needs no link.
    """
    found = ""
    for part in re.split(r"(`[^`]+`|arXiv:\d{4}\.\d{4,5})", text):
        name = part.strip("`")
        if part.startswith("`"):
            found += f"[{part}]({name}.md)" if name in RULES and name != here else part.replace("|", r"\|")
        elif part.startswith("arXiv:"):
            found += f"[{part}](https://arxiv.org/abs/{part.removeprefix('arXiv:')})"
        else:
            found += re.sub(r"([\\*_$<>\[\]|#{}~&^])", r"\\\1", part)
    return re.sub(r"^(\d+)?([.)+-])(?= )", r"\1\\\2", found)  # what would begin a list
