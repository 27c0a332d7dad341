"""The pages of the rules on the site: one for each, all that the package says, links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from dashtheory.rules import RULES
from dashtheory.rules.pages import rule_page
from tests.docs.test_docs import DOCS, ROOT, loaded

made = loaded(DOCS / "rule_pages.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is made, beside an index and the page of a rule that is no more."""
    path = tmp_path_factory.mktemp("rules")
    (path / "index.md").write_text("index")
    (path / "gone.md").write_text("gone")
    made.write_pages(path)
    return path


def test_every_rule_has_a_page_and_no_other_stays(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {*(f"{name}.md" for name in RULES), "index.md", "table.inc"}
    assert (folder / "index.md").read_text() == "index"
    rows = (folder / "table.inc").read_text().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(RULES)
    for name in RULES:
        text = (folder / f"{name}.md").read_text()
        assert text.startswith(f"# `{name}`: ")
        for heading in ("Options", "Where it acts", "Cost", "Source", "Laws"):
            assert f"\n## {heading}\n" in text, f"{name}: {heading}"
        options = re.findall(r"(?m)^\| `(\w+)` \|", text)
        assert options == [one.name for one in rule_page(name).options]


def test_links_between_pages_lead_to_pages(folder: Path) -> None:
    for path in folder.glob("*.md"):
        links = re.findall(r"\]\(([^)]+)\)", path.read_text())
        inside = {link for link in links if not link.startswith("https://arxiv.org/abs/")}
        assert all((folder / link).exists() for link in inside), path.name
        assert path.name not in inside  # not to itself


def test_pages_that_did_not_change_are_not_written_again(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    made.write_pages(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", RULES)
def test_what_is_shown_is_what_is_told(name: str) -> None:
    """Nothing of a docstring is taken for markup but code: a reader of Markdown gives the same text back."""
    markdown_it = pytest.importorskip("markdown_it", reason="needs the extra docs")
    dollars = pytest.importorskip("mdit_py_plugins.dollarmath", reason="needs the extra docs")
    reader = markdown_it.MarkdownIt("commonmark").use(dollars.dollarmath_plugin)

    def shown(text: str) -> str:
        (tokens,) = (token.children for token in reader.parse(made.markdown(text, name)) if token.children)
        kinds = {token.type for token in tokens}
        assert kinds <= {"text", "code_inline", "link_open", "link_close", "text_special"}, (text, kinds)
        return "".join(token.content for token in tokens)

    page = rule_page(name)
    blocks = [*page.text, *(block for part in page.sections.values() for block in part)]
    told = [page.summary, *(block.text for block in blocks if not block.stands)]
    for text in (*told, *(one.meaning for one in page.options), *page.laws):
        assert shown(text) == text.replace("`", "")


def test_what_would_be_markup_is_escaped() -> None:
    assert made.markdown("`a|b` and |a| of *x* in $y$, <b>, _z_, 2. and `dash`, arXiv:2410.23495.", "sp") == (
        r"`a\|b` and \|a\| of \*x\* in \$y\$, \<b\>, \_z\_, 2. and [`dash`](dash.md), "
        "[arXiv:2410.23495](https://arxiv.org/abs/2410.23495)."
    )
    assert made.markdown("2. of them") == r"2\. of them"
    assert made.markdown("- of them") == r"\- of them"
    assert made.markdown("`dash` itself", "dash") == "`dash` itself"


def test_the_pages_are_linked_and_not_committed() -> None:
    assert "\nrules/index\n" in (DOCS / "index.md").read_text()
    for page in ("index.md", "remedies.md"):
        assert "](rules/index.md)" in (DOCS / page).read_text()
    index = (DOCS / "rules" / "index.md").read_text()
    assert "{include} table.inc" in index
    assert ":glob:" in index
    ignored = subprocess.run(
        ["git", "check-ignore", "docs/rules/dash.md", "docs/rules/table.inc", "docs/rules/index.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ignored.returncode != 128:  # where there is git
        assert ignored.stdout.split() == ["docs/rules/dash.md", "docs/rules/table.inc"]
