"""The paper's runner with a rule of one's own: run once, and again when its file was edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashtheory.record import load_results
from dashtheory.rules import parse_spec
from tests.paper.test_program import NAME, numbers, run
from tests.paper.toys import serially
from tests.rules.own import SP


@pytest.fixture(autouse=True)
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process, one after another."""
    monkeypatch.setattr("dashtheory.command.grow.run_jobs", serially)


def test_an_edited_rule_is_run_again_and_others_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = tmp_path / "mine.py", tmp_path / "out"
    place.write_text(SP)
    mine = f"python:{place}:Mine"
    assert run(out, "--seeds", "1", rules=f"sp,{mine}") == 0
    assert capsys.readouterr().out.startswith("2 of 2 runs complete, 6 new stages in ")
    first = numbers(out, mine)
    assert first == numbers(out, "sp")
    assert run(out, rules=f"sp,{mine}") == 0
    assert capsys.readouterr().out.startswith("2 of 2 runs complete, 0 new stages in ")
    runs = load_results(out / "cpu" / f"{NAME}.csv").runs
    assert set(runs) == {"sp-seed0", f"{parse_spec(mine).slug}-seed0"}
    assert "user_code" not in runs["sp-seed0"]

    place.write_text(SP.replace("shrink: float = 0.3", "shrink: float = 0.9"))
    assert run(out, "--stages", "2", rules=f"sp,{mine}") == 0  # its newest code has no stage yet
    assert capsys.readouterr().out.startswith("2 of 2 runs at stage 2 or further, ")
    half = numbers(out, mine)
    place.write_text(SP.replace("shrink: float = 0.3", "shrink: float = 0.6"))  # the checkpoints are another's
    assert run(out, "--stages", "2", rules=f"sp,{mine}") == 0
    assert len(numbers(out, mine)) == len(half) == 2
    assert numbers(out, mine) != half
    place.write_text(SP.replace("shrink: float = 0.3", "shrink: float = 0.9"))
    capsys.readouterr()
    assert run(out, rules=f"sp,{mine}") == 0
    capsys.readouterr()
    assert len(numbers(out, mine)) == 3
    assert numbers(out, mine) != first
    assert load_results(out / "cpu" / f"{NAME}.csv").runs["sp-seed0"] == runs["sp-seed0"]
    assert not (out / ".partial").exists()

    place.write_text(SP)
    assert run(out, rules=mine) == 0
    assert numbers(out, mine) == first


def test_a_rule_that_cannot_be_loaded_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "mine.py"
    place.write_text("1 / 0\n")
    assert run(tmp_path / "out", rules=f"python:{place}:Mine") == 2
    assert run(tmp_path / "out", rules=f"python:{tmp_path}/none.py:Mine") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "(mine.py, line 1: ZeroDivisionError: division by zero)" in lines[0]
    assert "--rules must name a file that is there" in lines[1]
