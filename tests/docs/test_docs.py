"""The site: every part and notebook has its page, docstrings come out right, and dead links are found."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import dashtheory
from dashtheory.rules import RULES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


links = loaded(DOCS / "check_links.py")


def test_every_public_part_has_a_page_that_the_index_lists() -> None:
    package = Path(dashtheory.__file__).parent
    parts = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    public = {part for part in parts if not part.startswith("_")}
    index = (DOCS / "api" / "index.md").read_text().split()
    for part in sorted(public):
        assert f".. automodule:: dashtheory.{part}\n" in (DOCS / "api" / f"{part}.md").read_text()
        assert part in index
    for page in DOCS.glob("api/*.md"):
        assert page.stem == "index" or page.stem in index, page.stem


def test_every_notebook_is_on_the_site() -> None:
    index = (DOCS / "index.md").read_text()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"\n../notebooks/{path.stem}\n" in index


def written(text: str) -> list[str]:
    """The lines of a docstring as napoleon gets them."""
    pytest.importorskip("jupyter_server_mathjax", reason="needs the extra docs")
    lines = text.split("\n")
    loaded(DOCS / "conf.py").plain_docstring(None, "function", "f", None, None, lines)
    return lines


def test_nothing_but_code_is_markup_in_a_docstring() -> None:
    assert written("`dash_`s and x`y`, |w|^2 * 2 and a_ of `f(<x>)`.") == [
        r"`dash_`\ s and x\ `y`, \|w\|^2 \* 2 and a\_ of ``f(<x>)``."
    ]


def test_what_is_indented_outside_of_a_section_is_shown_as_it_stands() -> None:
    block = "    a|table    as it stands\n        deeper"
    assert written(f"One line.\n\n{block}\n\nAfter.\n\nArgs:\n    one: |x|\n        more.\n    n: N.") == [
        "One line.",
        "",
        "",
        "::",
        "",
        "    a|table    as it stands",
        "        deeper",
        "",
        "",
        "After.",
        "",
        "Args:",
        r"    one: \|x\|",
        "        more.",
        r"    n: \ N.",
    ]


def test_every_argument_that_a_docstring_describes_is_one() -> None:
    """That none is left out is a rule of ruff, D417."""
    for path in sorted(Path(dashtheory.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (doc := ast.get_docstring(node)) and "\nArgs:\n" in doc:
                section = re.split(r"\n(?=\S)", doc.split("\nArgs:\n")[1])[0]
                described = re.findall(r"(?m)^    \*{0,2}(\w+): ", section)
                given = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
                assert described, f"{path.name}: {node.name}"
                assert set(described) <= given, f"{path.name}: {node.name}"
                assert len(set(described)) == len(described), f"{path.name}: {node.name}"


def site(folder: Path, **pages: str) -> Path:
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f"<html><body>{body}</body></html>")
    return folder


def test_dead_links_are_found_and_living_ones_are_not(tmp_path: Path) -> None:
    site(
        tmp_path,
        one='<h1 id="top">1</h1><a href="two.html#there">x</a><a href="#top">x</a><a href="https://x.org/y">x</a>'
        '<a href="sub/">x</a>',
        two='<a name="there"></a><a href="three.html">x</a><a href="one.html#nowhere">x</a><img src="none.png">'
        '<a href="../outside.html">x</a>',
    )
    (tmp_path / "sub").mkdir()
    site(tmp_path / "sub", index="")
    site(tmp_path.parent, outside="")
    assert list(links.dead_links(tmp_path)) == [
        "two.html: three.html (no such file)",
        "two.html: one.html#nowhere (no such place)",
        "two.html: none.png (no such file)",
        "two.html: ../outside.html (outside of the site)",
    ]
    assert links.outside_links(tmp_path) == {"https://x.org/y"}


def test_the_checker_lists_links_elsewhere_and_ends_badly_for_a_dead_one(tmp_path: Path) -> None:
    site(tmp_path, one='<a href="https://x.org/y">x</a>')
    command = [sys.executable, str(DOCS / "check_links.py"), str(tmp_path)]
    fine = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "0 dead links" in fine.stdout
    assert "https://x.org/y" in fine.stdout
    site(tmp_path, two='<a href="none.html">x</a>')
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 1


def test_what_readme_says_of_the_site_is_what_make_does() -> None:
    assert "`make docs`" in (ROOT / "README.md").read_text()
    rule = (ROOT / "Makefile").read_text().split("\ndocs: ")[1].split("\n\n")[0]
    assert " -W " in rule
    assert "docs/check_links.py build/docs" in rule
    assert "build/docs/index.html" in rule


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_without_a_dead_link(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason="needs the extra docs")
    pytest.importorskip("jupyter_server_mathjax", reason="needs the extra docs")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", "docs", "."]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(links.dead_links(tmp_path)) == []
    search = (tmp_path / "searchindex.js").read_text()
    terms = json.loads(search[search.index("(") + 1 : search.rindex(")")])["terms"]
    assert "dash" in terms
    font = re.search(r'"webFont": "([\w-]+)"', (tmp_path / "docs" / "theory.html").read_text())
    assert font is not None
    assert list((tmp_path / "_static" / "fonts" / "HTML-CSS" / font[1]).rglob("*.woff"))
    assert "<code" in (tmp_path / "docs" / "api" / "rules.html").read_text()
    pages = {path.stem for path in (tmp_path / "docs" / "rules").glob("*.html")}
    assert pages == {*RULES, "index"}
