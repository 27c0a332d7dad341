"""Which pages are made, wholly or in part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from docs.made import beyond_tables, discrete_tables, paper_tables, tables
from docs.made.benchmarks import benchmarks_page
from docs.made.blocks import fill
from docs.made.figures import command_text, figures_page, setting_text
from docs.made.house import house

TABLES = {**tables.TABLES, **discrete_tables.TABLES, **beyond_tables.TABLES, **paper_tables.TABLES}
ANSWER = re.compile(r"<!-- answer -->\n(.*?)<!-- end of the answer -->", re.DOTALL)


def pages(root: Path) -> Iterator[tuple[Path, str]]:
    """Every page that is made, and its text; what is written by hand in it is taken from the page as it stands.

    Args:
        root: of the repository.
    """
    readme = fill((root / "README.md").read_text(encoding="utf-8"), {"house": house})
    yield root / "README.md", readme
    docs = root / "docs"
    yield (
        docs / "index.md",
        fill((docs / "index.md").read_text(encoding="utf-8"), {"answer": lambda _: answer(readme)}),
    )
    makers = {"table": lambda name: TABLES[name](name), "setting": setting_text, "command": command_text}
    yield docs / "results.md", fill((docs / "results.md").read_text(encoding="utf-8"), makers)
    yield docs / "figures.md", figures_page()
    yield docs / "benchmarks.md", benchmarks_page()


def answer(readme: str) -> str:
    """The answer of the README, with the links that it has in docs/.

    Args:
        readme: its text.
    """
    found = ANSWER.search(readme)
    assert found is not None
    outside = re.sub(r"\]\((?!https?:|#|docs/)", "](../", found[1])
    return outside.replace("](docs/", "](")
