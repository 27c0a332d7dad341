"""What is in the folder of results is never lost to a call with other options, nor is another program's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashtheory.command.script import main
from dashtheory.record import load_results
from tests.command.test_grow import Calls
from tests.toys import TOY


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(TOY, tmp_path, ["--jobs", "1", "--seeds", "1"], monkeypatch)


def refused(toy: Calls, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line of a call that computes nothing and leaves all files as they are."""
    capsys.readouterr()
    before = {file: file.read_bytes() for file in toy.out.rglob("*") if file.is_file()}
    assert toy(*options, status=2) == []
    assert {file: file.read_bytes() for file in toy.out.rglob("*") if file.is_file()} == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("more", [[], ["--recompute"]])
def test_results_of_another_setting_are_refused_and_replaced_by_fresh(
    more: list[str], toy: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    toy()
    line = refused(toy, capsys, "--slope", "3", *more)
    assert "--out must hold results of the same setting" in line
    assert "toy.csv', where slope is 2.0." in line
    assert line.endswith("or replace them: --fresh.")
    assert toy("--slope", "3", "--fresh") == ["cold-0", "warm-0"]
    assert toy.table() == toy.at_once("--slope", "3")
    assert not toy.waiting()  # runs of the other setting are not among those of this one


def test_other_rules_of_another_setting_are_refused_too(toy: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    toy("--rules", "cold")
    assert "where rules is ['cold'], slope is 2.0" in refused(toy, capsys, "--rules", "warm", "--slope", "3")


@pytest.mark.parametrize("suffix", [".csv", ".json"])
@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b'{"name": "of a package"}', b""])
def test_another_programs_file_is_refused_and_replaced_by_fresh(
    suffix: str, content: bytes, toy: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    (toy.out / "out").mkdir()
    (toy.out / "out" / f"toy{suffix}").write_bytes(content)
    line = refused(toy, capsys)
    assert f"/out/toy{'.json' if suffix == '.json' else ''}" in line
    assert line.endswith("choose another --out, or replace it: --fresh.")
    assert toy("--fresh") == ["cold-0", "warm-0"]
    assert toy.table() == toy.at_once()


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_damaged_results_are_refused_in_one_line_and_replaced_by_fresh(
    suffix: str, toy: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    toy()
    whole, path = toy.table(), toy.out / "out" / f"toy{suffix}"
    path.write_bytes(path.read_bytes()[:-20])
    line = refused(toy, capsys)
    assert f"toy{suffix}'" in line
    assert line.endswith("choose another --out, or replace it: --fresh.")
    assert toy("--fresh") == ["cold-0", "warm-0"]
    assert toy.table() == whole


def test_a_table_that_was_deleted_is_made_again(toy: Calls) -> None:
    toy()
    whole = toy.table()
    (toy.out / "out" / "toy.csv").unlink()
    assert toy() == ["cold-0", "warm-0"]
    assert toy.table() == whole


def test_stopped_calls_of_two_settings_wait_side_by_side(toy: Calls) -> None:
    for slope in ("3", "4"):
        options = ["--out", str(toy.out / "out"), "--jobs", "1", "--rules", "cold", "--slope", slope]
        assert main(TOY, [*options, "--error", "no luck"]) == 2
    assert len(list(toy.out.glob("out/.partial/toy-*/runs.csv"))) == 2
    for path in toy.out.glob("out/.partial/toy-*/runs.csv"):
        assert set(load_results(path).runs) == {"cold-0"}
