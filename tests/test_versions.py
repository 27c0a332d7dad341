"""What is said of versions is said alike everywhere, and the matrix of `make test-versions` is what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.versions import OLDEST, PINNED, ROOT, Row, interpreter, oldest, project, rows, supported


def test_all_places_name_the_same_interpreters() -> None:
    first, last = supported()[0], supported()[-1]
    after = f"3.{int(last.partition('.')[2]) + 1}"
    assert project()["requires-python"] == f">={first},<{after}"
    gate = re.search(r"\((3, \d+)\) <= sys.version_info\[:2\] <= \((3, \d+)\)", (ROOT / "Makefile").read_text())
    assert gate is not None
    assert [found.replace(", ", ".") for found in gate.groups()] == [first, last]
    assert sys.version_info[:2] >= tuple(int(part) for part in first.split("."))


def test_every_dependency_has_a_lower_end_that_is_tried() -> None:
    own: list[str] = project()["dependencies"]  # type: ignore[assignment]
    assert len(oldest(own)) == len(own)
    assert oldest(["numpy>=2.0", "scikit-learn>=1.5 # why", "torch>=2.11,<2.14"]) == {
        "numpy": "2.0",
        "scikit-learn": "1.5",
        "torch": "2.11",
    }


def test_old_libraries_are_the_lower_ends_and_what_they_need_is_not_pinned() -> None:
    pinned = Row("3.11", PINNED).requirements()[1]
    old = Row("3.11", OLDEST, "2.13.0").requirements()[1]
    names = [line.partition("==")[0].lower() for line in old]
    assert len(set(names)) == len(names)
    own: list[str] = project()["dependencies"]  # type: ignore[assignment]
    assert {f"{name}=={version}" for name, version in oldest(own).items()} <= set(old)
    assert "hypothesis==6.100" in old
    assert "torch==2.13.0" in old
    assert any(line.startswith("llvmlite==") for line in pinned)
    assert not any(line.startswith("llvmlite==") for line in old)  # numba's own word counts


def test_the_matrix_has_a_row_for_each_interpreter_and_each_torch() -> None:
    found = [str(row) for row in rows(["3.11", "3.13"], ["2.11.0"])]
    assert found == [
        "Python 3.11, pinned libraries, torch none",
        "Python 3.13, pinned libraries, torch none",
        "Python 3.11, oldest libraries, torch none",
        "Python 3.11, pinned libraries, torch 2.11.0",
        "Python 3.13, pinned libraries, torch 2.11.0",
    ]


def test_an_interpreter_is_found_by_what_it_says_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert interpreter(here) is None
    monkeypatch.setenv("PYTHONS", f"{tmp_path}/python9.9 {sys.executable}")
    assert interpreter(here) == sys.executable
    assert interpreter("9.9") is None
