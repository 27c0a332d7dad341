"""The command line of every script: options, files, one-line errors, stopping and going on."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashtheory.command.script import main
from dashtheory.parallel import run_jobs
from dashtheory.record import load_table, only_one
from dashtheory.record.provenance import plain
from tests.toys import TOY, ToyConfig, plan

ROOT = Path(__file__).parents[2]


def call(out: Path, *options: str) -> int:
    return main(TOY, ["--out", str(out), "--jobs", "1", *options])


def test_a_call_writes_picture_table_and_provenance_and_leaves_nothing_else(tmp_path: Path) -> None:
    assert call(tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.csv", "toy.json", "toy.png", "toy.svg"]
    table, facts = load_table(tmp_path / "toy.csv")
    assert len(table) == 2 * 2 * 3
    assert facts["config"]["slope"] == 2.0  # type: ignore[index]
    assert facts["seeds"] == [0, 1]
    assert facts["data"] == {"source": "arithmetic"}
    runs: dict[str, dict[str, object]] = facts["runs"]  # type: ignore[assignment]
    assert set(runs) == {"cold-0", "cold-1", "warm-0", "warm-1"}
    assert all(run["seconds"] >= 0 for run in runs.values())  # type: ignore[operator]
    assert facts["quick"] is False


def test_options_beat_quick_and_quick_beats_defaults(tmp_path: Path) -> None:
    assert call(tmp_path, "--quick", "--slope", "7", "--rules", "warm") == 0
    table, facts = load_table(tmp_path / "toy.csv")
    assert facts["quick"] is True
    assert table[["rule", "seed", "stage", "value"]].to_numpy().tolist() == [["warm", 0, 1, 7.0]]
    assert call(tmp_path, "--quick", "--num-stages", "2", "--seeds", "3", "--fresh") == 0
    table, _ = load_table(tmp_path / "toy.csv")
    assert sorted(set(table["stage"])) == [1, 2]
    assert sorted(set(table["seed"])) == [0, 1, 2]


def test_the_table_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    assert call(tmp_path / "a") == 0
    assert main(TOY, ["--out", str(tmp_path / "b"), "--jobs", "3"]) == 0
    assert (tmp_path / "a" / "toy.csv").read_bytes() == (tmp_path / "b" / "toy.csv").read_bytes()
    assert (tmp_path / "a" / "toy.png").read_bytes() == (tmp_path / "b" / "toy.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--slope", "-1"], "slope must be a number in [0, inf), got -1.0. Lines here go up."),
        (["--slope", "steep"], "invalid float value: 'steep'"),
        (["--jobs", "0"], "--jobs must be an integer >= 1, got 0"),
        (["--seeds", "0"], "--seeds must be an integer >= 1, got 0"),
        (["--seeds", "-2"], "--seeds must be an integer >= 1, got -2"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
        (["--error", "the data is\n  torn"], "the data is torn"),
        (["--error", "torch cannot\nmultiply"], "run cold-1 must end without an error, got torch cannot. Look at"),
        (["--error", "torch is out of memory"], "got torch is out of memory. Try smaller sizes."),
        (["--slo", "3"], "unrecognized arguments: --slo 3 (see --help)"),
        (["--out", ""], "argument --out: must name a folder, got ''"),
        (["--redraw", "--slope", "3"], "--redraw must come without --quick, --seeds and options"),
        (["--redraw", "--quick"], "--redraw must come without --quick"),
        (["--redraw"], "--redraw must find a table of toy, got no '"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = call(tmp_path, *options)
    except SystemExit as stop:
        status = int(str(stop.code))
    assert status == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("  ")]
    assert len(lines) == 1
    assert lines[0].startswith("toy.py: ")
    assert words in lines[0]
    assert not (tmp_path / "toy.csv").exists()


def test_an_unwritable_output_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    log = tmp_path / "log"
    assert call(tmp_path / "file" / "below", "--log", str(log)) == 2
    assert "--out must be a folder that can be written" in capsys.readouterr().err
    assert not log.exists()


def test_redrawing_uses_the_saved_table_and_computes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    assert call(tmp_path / "out", "--log", str(log), "--slope", "3") == 0
    first = (tmp_path / "out" / "toy.png").read_bytes()
    (tmp_path / "out" / "toy.png").unlink()
    ran = log.read_text()
    assert call(tmp_path / "out", "--redraw") == 0
    assert (tmp_path / "out" / "toy.png").read_bytes() == first
    assert log.read_text() == ran
    text = (tmp_path / "out" / "toy.json").read_text()
    (tmp_path / "out" / "toy.json").write_text(text.replace('"experiment": "toy"', '"experiment": "other"'))
    capsys.readouterr()
    assert call(tmp_path / "out", "--redraw") == 2
    assert "--redraw must find a table of toy" in capsys.readouterr().err


def test_lists_may_have_spaces(tmp_path: Path) -> None:
    assert call(tmp_path, "--rules", "warm, cold", "--quick") == 0
    assert set(load_table(tmp_path / "toy.csv")[0]["rule"]) == {"warm", "cold"}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda config: {**config, "colour": "red"}, "must have the fields of ToyConfig"),
        (
            lambda config: {key: value for key, value in config.items() if key != "slope"},
            "must have the fields of ToyConfig",
        ),
        (lambda config: {**config, "slope": -1.0}, "slope must be a number"),
        (lambda config: {**config, "slope": [1]}, "slope must be a number"),
        (lambda config: [], "must find a table of toy"),
    ],
)
def test_redrawing_never_invents_a_configuration(
    tmp_path: Path, damage: Callable[[Any], Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path) == 0
    facts = json.loads((tmp_path / "toy.json").read_text())
    (tmp_path / "toy.json").write_text(json.dumps({**facts, "config": damage(facts["config"])}))
    assert call(tmp_path, "--redraw") == 2
    assert words in capsys.readouterr().err


def test_infinite_options_survive_strict_json(tmp_path: Path) -> None:
    assert call(tmp_path, "--pause", "0", "--num-stages", "1") == 0
    facts = json.loads((tmp_path / "toy.json").read_text())
    facts["config"]["slope"] = "inf"
    (tmp_path / "toy.json").write_text(json.dumps(facts))
    assert call(tmp_path, "--redraw") == 2  # this field must be finite, and it was read as a number
    assert plain({"gamma": float("inf")}) == {"gamma": "inf"}


def test_a_picture_that_cannot_be_written_loses_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    with monkeypatch.context() as patch:
        patch.setattr("dashtheory.command.work.save_figure", full_disk)
        assert call(tmp_path / "out", "--log", str(log)) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "--out must be able to take the results" in message
    assert "No space left on device" in message
    assert "Finished runs are kept" in message
    ran = log.read_text()
    assert call(tmp_path / "out", "--log", str(log)) == 0
    assert log.read_text() == ran


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_second_call_on_the_same_results_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with only_one(tmp_path / ".partial" / "toy.lock", "--out"):
        assert call(tmp_path) == 2
        assert "--out must be used by one call at a time" in capsys.readouterr().err
    assert call(tmp_path) == 0
    assert not (tmp_path / ".partial").exists()


def test_what_finished_together_with_a_failure_is_handed_over_first() -> None:
    jobs = plan(ToyConfig(rules=("cold",), error="no luck"), [0, 2, 3, 1])
    names: list[str] = []

    def consume_slowly() -> None:
        for run in run_jobs(jobs, num_workers=1):
            names.append(run.name)
            time.sleep(0.3)  # meanwhile the rest end, the failure among them

    for _ in range(5):
        names.clear()
        with pytest.raises(ValueError, match="no luck"):
            consume_slowly()
        assert sorted(names) == ["cold-0", "cold-2", "cold-3"]


def test_jobs_are_handed_over_as_they_finish() -> None:
    jobs = plan(ToyConfig(num_stages=1), [0, 1])
    done = list(run_jobs(jobs, num_workers=2))
    assert sorted(run.name for run in done) == sorted(job.name for job in jobs)
    assert all(run.seconds >= 0 and len(run.table) == 1 for run in done)


def test_help_shows_every_field_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(TOY, ["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--slope X of the line (default: 2.0)" in text
    assert "--rules X names (default: cold,warm)" in text
    assert "--out OUT folder for picture, table, provenance (default: figures; with --quick: build/quick)" in text
    assert "--seeds SEEDS number of seeds: 0, 1, ... (default: 2)" in text
    assert "--quick toy size: num_stages 1" in text
    assert "None" not in text
