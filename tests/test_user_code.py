"""Code of your own: the same file gives the same things, an edited one is another; what goes wrong is one line."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashtheory import user_code
from dashtheory.user_code import OwnCode, find, fingerprint, fingerprints

SOURCE = "from dataclasses import dataclass\n@dataclass\nclass Plain:\n    a: int = 1\ndef make(): return 'one'\n"


@pytest.fixture(autouse=True)
def modules_kept() -> Iterator[None]:
    """Leave `sys.modules`, `sys.path` and what is found beside files as they were."""
    modules, path, files = dict(sys.modules), list(sys.path), dict(user_code._FINDER.files)
    yield
    user_code._FINDER.files = files
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)
    sys.path[:] = path


def load(text: str) -> OwnCode:
    return find("data", text, "function", callable)


def rewrite(path: Path, text: str) -> None:
    """Another text of the same size and time: what a compiled file would be taken for."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_same_file_gives_the_same_things_and_an_edited_one_is_loaded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # compiled files could be taken for the edited one's
    place = tmp_path / "mine.py"
    place.write_text(SOURCE)
    first, again = load(f"python:{place}:Plain"), load(f"python:{tmp_path}/../{tmp_path.name}/mine.py:Plain")
    assert first.value is again.value
    assert first.value() == again.value()
    assert first.sha256 == hashlib.sha256(place.read_bytes()).hexdigest()
    assert first.fingerprint == again.fingerprint == fingerprints([f"python:{place}:x:a=1"])[f"python:{place}:x"]
    rewrite(place, SOURCE.replace("one", "two"))
    edited = load(f"python:{place}:make")
    assert edited.value() == "two"
    assert edited.fingerprint != first.fingerprint
    rewrite(place, SOURCE)
    assert load(f"python:{place}:make").value() == "one"
    assert load(f"python:{place}:make").fingerprint == first.fingerprint


def test_a_fingerprint_is_that_of_the_texts_not_of_their_folder(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text("import helper\n")
        (tmp_path / folder / "helper.py").write_text("x = 1\n")
    one, other = (fingerprints([f"python:{tmp_path}/{folder}/mine.py:f"]) for folder in ("a", "b"))
    assert list(one.values()) == list(other.values())
    assert fingerprint("dash", f"python:{tmp_path}/a/mine.py:f") != ""
    assert fingerprint("dash", "sp:shrink=0.5", "digits", "folder:x") == ""
    assert fingerprints(["cold"]) == {}


HELPERS = {
    "mine.py": "from helper import one\nimport lib.deep as deep\ndef make():\n    return one() + deep.two()\n",
    "helper.py": "import math, dashtheory\ndef one():\n    from other import value\n    return value\n",
    "other.py": "value = 1\n",
    "lib/__init__.py": "from . import base\n",
    "lib/base.py": "ten = 10\n",
    "lib/deep.py": "from .base import ten\nfrom lib.more.last import zero\ndef two():\n    return ten + zero\n",
    "lib/more/last.py": "zero = 0\n",  # a folder without __init__.py
    "unused.py": "x = 1\n",
}
USED = [name for name in HELPERS if name != "unused.py"]


def folder_of_helpers(folder: Path) -> Path:
    for name, text in HELPERS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "mine.py"


@pytest.mark.parametrize("as_module", [False, True])
def test_every_module_beside_it_belongs_to_the_fingerprint(
    as_module: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder_of_helpers(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = "python:mine:make" if as_module else f"python:{place}:make"
    start = load(text)
    assert start.value() == 11
    for name in HELPERS:
        (tmp_path / name).write_text(HELPERS[name] + "# edited\n")
        assert (fingerprint(text) != fingerprint(text.replace(":make", ":other"))) is True
        assert (load(text).fingerprint != start.fingerprint) is (name in USED), name
        (tmp_path / name).write_text(HELPERS[name])
    assert load(text).fingerprint == start.fingerprint
    for name, before, after, expected in (
        ("other.py", "1", "2", 12),
        ("lib/base.py", "10", "20", 21),
        ("lib/more/last.py", "0", "5", 16),
        ("mine.py", "+", "*", 10),
    ):
        rewrite(tmp_path / name, HELPERS[name].replace(before, after))
        assert load(text).value() == expected, name
        rewrite(tmp_path / name, HELPERS[name])
    assert load(text).value() == 11


def test_folders_whose_modules_share_names_do_not_mix(tmp_path: Path) -> None:
    for folder, number in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "shared_name.py").write_text(f"value = {number}\n")
        (tmp_path / folder / "mine.py").write_text("import shared_name\ndef make(): return shared_name.value\n")
    made = [load(f"python:{tmp_path}/{folder}/mine.py:make").value for folder in "abab"]
    assert [make() for make in made] == [1, 2, 1, 2]


def test_a_module_of_the_process_is_not_taken_for_yours_nor_lost(tmp_path: Path) -> None:
    import tests.toys as theirs

    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "toys.py").write_text("value = 7\n")
    (tmp_path / "tests" / "__init__.py").write_text("")
    (tmp_path / "mine.py").write_text("from tests.toys import value\ndef make(): return value\n")
    assert load(f"python:{tmp_path}/mine.py:make").value() == 7
    assert sys.modules["tests.toys"] is theirs


def test_modules_that_come_with_python_are_no_part_of_it() -> None:
    found = load("python:json:loads")
    assert found.value("[1]") == [1]
    assert found.sha256
    assert fingerprint("python:math:sqrt") != fingerprint("python:json:loads")
    assert load("python:math:sqrt").facts == {
        "source": "python:math:sqrt",
        "sha256": "",
        "fingerprint": load("python:math:sqrt").fingerprint,
    }


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (None, "make", r"data must name a file that is there, got '.*mine\.py'\. It would be '.*mine\.py'\."),
        (SOURCE, "mak", r"data must name a function of '.*mine.py', got 'mak'\. There: Plain, make\."),
        ("x = 3\n", "x", r"data must name a function of '.*', got 'x', which is of type int\. There: none\."),
        (
            "import json\n\n1 / 0\n",
            "f",
            r"data must name .* \(mine\.py, line 3: ZeroDivisionError: division",
        ),
        ("def f(:\n", "f", r"data must name code .* \(mine\.py, line 1: SyntaxError: .*\)\. Mend it\."),
        ("raise SystemExit(3)\n", "f", r"data must name code .* \(mine\.py, line 1: SystemExit: 3\)"),
        ("import no_such_thing\n", "f", r"data must name .* line 1: ModuleNotFoundError: .*no_such_thing"),
        ("import json\njson.loads('{')\n", "f", r"data must name .* \(mine\.py, line 2: JSONDecodeError"),
        ("raise ValueError('a\\nb')\n", "f", r"data must name .* ValueError: a b\)"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(source: str | None, name: str, message: str, tmp_path: Path) -> None:
    place = tmp_path / "mine.py"
    if source is not None:
        place.write_text(source)
    before = {module for module in sys.modules if module.startswith("dashtheory_user")}
    for _ in range(2):  # a failure leaves nothing behind
        with pytest.raises(ValueError, match=f"^{message}") as caught:
            load(f"python:{place}:{name}")
        assert "\n" not in str(caught.value)
    made = {module for module in sys.modules if module.startswith("dashtheory_user")} - before
    assert len(made) == (source in (SOURCE, "x = 3\n"))  # those that can be imported


def test_an_error_in_a_module_beside_it_names_that_module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import broken_one\n")
    (tmp_path / "broken_one.py").write_text("x = 1\nx.y\n")
    with pytest.raises(ValueError, match=r"\(broken_one\.py, line 2: AttributeError"):
        load(f"python:{tmp_path}/mine.py:f")
    (tmp_path / "broken_one.py").write_text("def f(): return 5\n")
    (tmp_path / "mine.py").write_text("from broken_one import f\n")
    assert load(f"python:{tmp_path}/mine.py:f").value() == 5


@pytest.mark.parametrize("module", ["no_such_module", "json.no_such", "__main__", "no.such.module", "tests.none"])
def test_a_module_that_is_not_there_is_refused(module: str) -> None:
    with pytest.raises(ValueError, match=r"^data must name (a module|code) that can be imported, got ") as caught:
        load(f"python:{module}:f")
    assert "\n" not in str(caught.value)


def test_nothing_is_imported_for_a_fingerprint_and_torch_never_is(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("print('imported')\n")
    code = (
        "import sys, dashtheory.user_code as own\n"
        f"own.fingerprint('python:{tmp_path}/mine.py:f')\n"
        "print(sorted({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_examples_are_about_ten_lines_each() -> None:
    for example in (user_code.RULE_EXAMPLE, user_code.STREAM_EXAMPLE, user_code.NETWORK_EXAMPLE):
        assert len([line for line in example.splitlines() if line]) <= 12
        assert re.sub(r"(?m)^", "    ", example.splitlines()[0]) in user_code.EPILOG
