"""The fingerprint of code: what a run needs counts, how it is written down does not."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dashtheory
from dashtheory.record import code

PACKAGE = Path(dashtheory.__file__).parent
FILES = {
    "__init__.py": "",
    "a.py": '"""Words."""\nfrom dashtheory.b import one  # words\nfrom dashtheory import whole\n\n\n'
    "def f():\n    return one\n",
    "b.py": "one = 1\n",
    "other.py": "two = 2\n",
    "late.py": "def g():\n    from dashtheory.deeper.d import three\n",
    "whole/__init__.py": "",
    "whole/__init__.pyi": "from .part import name as name\n",
    "whole/part.py": "name = 1\n",
    "deeper/__init__.py": "top = 1\n",
    "deeper/d.py": "three = 3\n",
    "named.py": 'WHERE = "dashtheory.b:one"\n',
    "lazy.py": "from dashtheory.whole import name\n",
    "plot/__init__.py": "",
    "plot/draw.py": "color = 1\n",
    "figure.py": "from dashtheory.plot.draw import color\nfrom dashtheory import parallel\n",
    "parallel.py": "jobs = 1\n",
}
"""A package of this name in small."""

Of = Callable[..., str]


@pytest.fixture
def of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Of]:
    """Takes the fingerprint of a module of the small package, with some files changed."""

    def fingerprint(module: str, **changed: str) -> str:
        for name, text in {**FILES, **changed}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        forget()
        return code.code_of(f"dashtheory.{module}")

    def forget() -> None:
        for cached in (code.code_of, code._needed, code._substance, code._exports):
            cached.cache_clear()

    monkeypatch.setattr(code, "_ROOT", tmp_path)
    forget()
    yield fingerprint
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    "text",
    [
        FILES["a.py"] + "# more words\n",
        FILES["a.py"].replace('"""Words."""', '"""Other words."""'),
        FILES["a.py"].replace('"""Words."""\n', ""),
        FILES["a.py"].replace("    return one", '    """What it does."""\n\n    return (\n        one\n    )'),
        FILES["a.py"] + '"""Of an attribute."""\n',
    ],
)
def test_comments_docstrings_and_layout_do_not_count(text: str, of: Of) -> None:
    assert of("a", **{"a.py": text}) == of("a")


def test_a_body_that_is_words_alone_is_a_body(of: Of) -> None:
    first = of("b", **{"b.py": 'class A:\n    """Words."""\n'})
    assert first == of("b", **{"b.py": 'class A:\n    """Other words."""\n'})
    assert first != of("b", **{"b.py": 'class B:\n    """Words."""\n'})


@pytest.mark.parametrize(
    ("module", "file", "text"),
    [
        ("a", "a.py", FILES["a.py"].replace("return one", "return -one")),
        ("a", "b.py", "one = 2\n"),
        ("a", "whole/part.py", "name = 2\n"),  # of a package that is imported whole, on first use
        ("lazy", "whole/part.py", "name = 2\n"),
        ("late", "deeper/d.py", "three = 4\n"),  # imported in a function
        ("late", "deeper/__init__.py", "top = 2\n"),  # of the package that it is in
        ("named", "b.py", "one = 2\n"),  # named in a text, as a registry does
    ],
)
def test_a_change_of_what_is_needed_counts(module: str, file: str, text: str, of: Of) -> None:
    assert of(module, **{file: text}) != of(module)


@pytest.mark.parametrize(
    ("module", "file", "text"),
    [
        ("a", "other.py", "two = 3\n"),
        ("a", "deeper/d.py", "three = 4\n"),
        ("b", "a.py", "from dashtheory.other import two\n"),  # what needs it
        ("figure", "plot/draw.py", "color = 2\n"),
        ("figure", "parallel.py", "jobs = 2\n"),
    ],
)
def test_a_change_of_anything_else_does_not(module: str, file: str, text: str, of: Of) -> None:
    assert of(module, **{file: text}) == of(module)


def test_modules_are_not_taken_for_each_other(of: Of) -> None:
    assert of("a", **{"b.py": "one = 1\n", "other.py": "two = 2\n"}) == of("a")
    assert len({of(name) for name in ("a", "b", "other", "late", "lazy", "figure")}) == 6
    assert of("b", **{"b.py": "two = 2\n"}) != of("other")


def test_it_is_taken_once_in_a_process(of: Of, tmp_path: Path) -> None:
    first = of("a")
    (tmp_path / "b.py").write_text("one = 2\n")
    (tmp_path / "a.py").write_text("import nothing\n")
    assert code.code_of("dashtheory.a") == first
    assert of("a") == first  # read anew, the files are as they were


def test_a_module_outside_the_package_counts_by_its_file_and_what_it_imports_of_the_package(
    of: Of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "scripts"
    outside.mkdir()
    monkeypatch.syspath_prepend(str(outside))
    (outside / "mine_of_test_code.py").write_text("import dashtheory.record\n")
    module = importlib.import_module("mine_of_test_code")

    def taken(text: str, **changed: str) -> str:
        (outside / "mine_of_test_code.py").write_text(text)
        of("a", **changed)
        return code.code_of(module.__name__)

    first = taken("from dashtheory.b import one\n")
    assert taken("from dashtheory.b import one  # words\n") == first
    assert taken("from dashtheory.b import one as two\n") != first
    assert taken("from dashtheory.b import one\n", **{"b.py": "one = 2\n"}) != first
    assert taken("from dashtheory.b import one\n", **{"other.py": "two = 3\n"}) == first


def test_the_package_s_own_modules_need_what_they_are_made_of() -> None:
    """The real thing: a runner needs engines, rules and data, and no other level or figure."""
    needed = code._needed("dashtheory.deep.run")
    for name in (
        "protocol.training",
        "protocol.fast_engine",
        "rules.dash",
        "deep.data.cifar",
        "seeds",
        "evaluate",
    ):
        assert f"dashtheory.{name}" in needed, name
    rooms = {name.split(".")[1] for name in needed}
    assert not rooms & {"discrete", "theory", "twolayer", "experiments", "explore", "plot", "command", "paper"}
    assert "dashtheory.theory.finite" in code._needed("dashtheory.experiments.warm_creep")
    assert "dashtheory.theory.finite" not in code._needed("dashtheory.experiments.discrete_learning")


def test_a_copy_of_the_package_with_other_words_has_the_same_fingerprint(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "dashtheory", ignore=shutil.ignore_patterns("__pycache__"))

    def taken() -> str:
        command = "from dashtheory.record.code import code_of; print(code_of('dashtheory.deep.run'))"
        done = subprocess.run(
            [sys.executable, "-c", command],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    assert taken() == code.code_of("dashtheory.deep.run")
    dash = tmp_path / "dashtheory" / "rules" / "dash.py"
    dash.write_text(dash.read_text() + "\n# words\n")
    (tmp_path / "dashtheory" / "twolayer" / "config.py").write_text("broken = 1\n")
    assert taken() == code.code_of("dashtheory.deep.run")
    dash.write_text(dash.read_text() + "\nchanged = True\n")
    assert taken() != code.code_of("dashtheory.deep.run")
