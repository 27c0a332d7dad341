"""`dashtheory rules`: a line for each rule, a page for one, one line for what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dashtheory.command.guard import guarded
from dashtheory.command.program import main
from dashtheory.rules import MOMENTS, RULES
from dashtheory.rules.listing import rule_lines
from dashtheory.rules.pages import rule_page
from dashtheory.user_code import RULE_EXAMPLE


@pytest.fixture(params=[80, 132])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Columns of the terminal."""
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["rules", *words]) == 0
    return capsys.readouterr().out


def test_the_list_has_a_row_for_every_rule(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys)
    rows = [line for line in text.splitlines() if line[:1].strip() and line.split()[0] in RULES]
    assert [row.split()[0] for row in rows] == list(RULES)
    starts = {row.index(line.summary.split()[0], 20) for row, line in zip(rows, rule_lines(), strict=True)}
    assert len(starts) == 1  # aligned
    assert all(len(line) <= width and line == line.rstrip() for line in text.splitlines())
    words = " ".join(text.split())
    if width == 132:
        assert " between DASH: each group of weights shrinks by how well it aligns with the smoothed" in words


@pytest.mark.parametrize("moment", MOMENTS)
def test_rules_can_be_had_by_where_they_act(moment: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(capsys, "--acts", moment, "--json"))
    assert [one["name"] for one in found] == [name for name in RULES if moment in RULES[name].acts]
    assert all(moment in one["acts"] for one in found)
    assert set(found[0]) == {"name", "label", "summary", "acts"}


@pytest.mark.parametrize("name", RULES)
def test_a_page_holds_all_that_there_is_to_say(name: str, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, name)
    assert all(len(line) <= width and line == line.rstrip() for line in text.splitlines())
    words, page = "".join(text.split()), rule_page(name)  # a long formula may be cut into lines
    blocks = [*page.text, *(block for part in page.sections.values() for block in part)]
    for said in (page.label, page.summary, page.inert, page.place, *(block.text for block in blocks), *page.laws):
        assert "".join(said.split()) in words, said
    for one in page.options:
        assert any(line.split()[:1] == [one.name] for line in text.splitlines()), one.name


def test_a_page_as_json_has_options_sections_and_laws(capsys: pytest.CaptureFixture[str]) -> None:
    page = json.loads(told(capsys, "dash", "--json"))
    assert page["options"][0] == {
        "name": "alpha",
        "kind": "number",
        "default": "0.3",
        "meaning": "weight of each newer chunk, in (0, 1]; published 0.3.",
    }
    assert page["inert"] == "dash:lam=1"
    assert page["acts"] == ["between"]
    assert {"Formula", "Cost", "Source", "Published", "Elsewhere"} == set(page["sections"])
    assert page["laws"] == list(rule_page("dash").laws)


def test_a_rule_of_ones_own_has_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(RULE_EXAMPLE)
    monkeypatch.chdir(tmp_path)
    text = told(capsys, "python:mine.py:Mine")
    assert "Shrink every weight by one factor." in text
    assert "  strength   0.5" in text
    assert "Laws" not in text


BAD = [
    (["dsh"], "NAME must be one of cold, warm, ", "got 'dsh'. Did you mean dash?"),
    (["xyz"], "NAME must be one of cold, warm, ", "got 'xyz'. Choose a name from the list."),
    (["dash:lam=1"], "NAME must be a rule without options, got 'dash:lam=1'", "Its page lists them."),
    (["--acts", "los"], "--acts must be one of between, optimizer, loss", "got 'los'. Did you mean loss?"),
    (["dash", "--acts", "loss"], "--acts must come without the name of a rule, got 'loss'", "Drop one of them."),
    (["python:none.py:Mine"], "NAME must name a file that is there, got 'none.py'", ""),
    (["dash", "sp"], "unrecognized arguments: sp", "(see --help)"),
]


@pytest.mark.parametrize(("words", "beginning", "end"), BAD)
def test_what_is_wrong_is_one_line_and_status_2(
    words: list[str], beginning: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["rules", *words])
    except SystemExit as stop:  # argparse
        status = int(str(stop.code))
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"dashtheory rules: {beginning}")
    assert line.endswith(end)


def test_a_reader_that_has_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "dashtheory.command.program", "rules"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [["--help"], ["figure"], ["rules", "dash"]])
def test_every_word_ends_quietly_where_nobody_reads(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-u", "-m", "dashtheory.command.program", *words]  # -u: every line is sent at once
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == (141 if words == ["figure"] else 0)  # which may have been at work


def test_an_output_that_is_closed_is_no_error() -> None:
    command = [sys.executable, "-m", "dashtheory.command.program", "rules"]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_pipe_that_is_not_the_output_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    assert guarded("here", lambda: "there", work) == 2
    assert "got 'there' (Broken pipe)" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device is Linux's")
@pytest.mark.parametrize("word", ["--help", "rules"])
@pytest.mark.parametrize("options", [[], ["-u"]])
def test_an_output_without_room_is_one_line(word: str, options: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, *options, "-m", "dashtheory.command.program", word]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "dashtheory: the output must go where there is room, got 'No space left on device'. Free some.\n"
    )
