"""What an index of packages shows of the README: nothing that is dead there, and nothing else changed."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import setuptools  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]
told = runpy.run_path(str(ROOT / "setup.py"))["without_relative_links"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a [page](docs/page.md).", "a page (`docs/page.md`)."),
        ("[docs/page.md](docs/page.md)", "docs/page.md"),
        ("[below](#below)", "below"),
        ("[theory](docs/theory.md#steps)", "theory (`docs/theory.md`)"),
        ("![What it shows](figures/a.png)", "*What it shows: the picture `figures/a.png` of the repository.*"),
        ("[arXiv](https://arxiv.org/abs/1)", "[arXiv](https://arxiv.org/abs/1)"),
        ("![badge](https://host/a.png)", "![badge](https://host/a.png)"),
        ("[plain](http://host/a), [mail](mailto:a@host)", "[plain](http://host/a), [mail](mailto:a@host)"),
        ("`x[0](y)` and\n```python\nf[a](b)\n```\n[c](d)", "`x[0](y)` and\n```python\nf[a](b)\n```\nc (`d`)"),
        ("[`code`](a.py)", "`code` (`a.py`)"),
    ],
)
def test_relative_links_are_words_and_all_else_stays(written: str, shown: str) -> None:
    assert told(written) == shown
    assert told(shown) == shown


def test_nothing_of_the_readme_is_dead_or_lost() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = told(readme)
    assert not re.search(r"\]\((?!https?://|mailto:)", re.sub(r"`[^`]*`", "", shown))
    assert "\0" not in shown
    assert shown.count("```") == readme.count("```")
    assert len(shown.splitlines()) == len(readme.splitlines())


def test_a_build_is_given_the_told_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")
    assert given == {
        "long_description": told((ROOT / "README.md").read_text(encoding="utf-8")),
        "long_description_content_type": "text/markdown",
    }
