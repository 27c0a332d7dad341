"""The command line of every script: options, files, one-line errors, stopping and going on."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
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
    assert set(facts["run_seconds"]) == {"cold-0", "cold-1", "warm-0", "warm-1"}  # type: ignore[call-overload]
    assert facts["quick"] is False


def test_options_beat_quick_and_quick_beats_defaults(tmp_path: Path) -> None:
    assert call(tmp_path, "--quick", "--slope", "7", "--rules", "warm") == 0
    table, facts = load_table(tmp_path / "toy.csv")
    assert facts["quick"] is True
    assert table[["rule", "seed", "stage", "value"]].to_numpy().tolist() == [["warm", 0, 1, 7.0]]
    assert call(tmp_path, "--quick", "--num-stages", "2", "--seeds", "3") == 0
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
        (["--error", "torch cannot\nallocate"], "run cold-1 must end without an error, got torch cannot. Try"),
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
        (lambda config: {**config, "colour": "red"}, "other fields"),
        (lambda config: {key: value for key, value in config.items() if key != "slope"}, "other fields"),
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
        patch.setattr("dashtheory.command.script.save_figure", full_disk)
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


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_announced_as_finished_is_saved(tmp_path: Path, number: int, status: int) -> None:
    options = ["--out", str(tmp_path), "--pause", "0.5", "--jobs", "1", "--rules", "cold"]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.toys", *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as from a terminal
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "[1/2] cold-0" in line:
                process.send_signal(number)
                break
        process.stderr.read()
    assert process.returncode == status
    assert len(list(tmp_path.glob(".partial/toy/*/cold-0.json"))) == 1


def test_an_error_in_a_run_keeps_the_finished_ones(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ("--log", str(log), "--rules", "cold")
    assert call(tmp_path / "out", *options, "--error", "no luck") == 2
    kept = list((tmp_path / "out" / ".partial" / "toy").glob("*/cold-0.csv"))
    assert len(kept) == 1
    assert call(tmp_path / "out", *options) == 0  # another configuration: everything runs
    assert log.read_text().split() == ["cold-0", "cold-1", "cold-0", "cold-1"]


def test_a_killed_call_loses_no_finished_run_and_leaves_no_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ["--out", str(tmp_path / "out"), "--log", str(log), "--pause", "1.0", "--jobs", "1", "--seeds", "3"]
    command = [sys.executable, "-m", "tests.toys", *options]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    kept = tmp_path / "out" / ".partial" / "toy"
    deadline = time.monotonic() + 120
    while len(list(kept.glob("*/[!.]*.json"))) < 2:
        assert time.monotonic() < deadline, "no run finished"
        assert process.poll() is None, "the call ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path.stem for path in kept.glob("*/[!.]*.json")}
    started_before = log.read_text().split()
    time.sleep(1.5)  # an orphan would start the next run by now
    assert len(log.read_text().split()) <= len(started_before) + 1
    before = log.read_text().split()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    again = log.read_text().split()[len(before) :]
    assert not finished & set(again)
    assert sorted([*finished, *again]) == sorted(
        f"{rule}-{seed}" for seed in range(3) for rule in ("cold", "warm")
    )
    assert f"{len(finished)} of 6 runs were finished by an earlier call" in done.stderr
    assert not kept.exists()
    assert main(TOY, ["--out", str(tmp_path / "whole"), "--jobs", "1", "--seeds", "3", "--slope", "2"]) == 0
    assert (tmp_path / "whole" / "toy.csv").read_bytes() == (tmp_path / "out" / "toy.csv").read_bytes()


def test_an_interrupt_ends_with_status_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    options = ["--out", str(tmp_path / "out"), "--pause", "30", "--jobs", "2", "--log", str(tmp_path / "log")]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.toys", *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as from a terminal
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "log").exists():
        assert time.monotonic() < deadline, "no run started"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (
        errors.splitlines()[-1] == "toy.py: stopped. Finished runs are kept; the same command goes on from there."
    )
    assert "Traceback" not in errors


def test_fresh_forgets_kept_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ("--log", str(log), "--rules", "cold", "--error", "no luck")
    assert call(tmp_path / "out", *options) == 2
    assert call(tmp_path / "out", *options) == 2
    assert log.read_text().split() == ["cold-0", "cold-1", "cold-1"]
    assert call(tmp_path / "out", *options, "--fresh") == 2
    assert log.read_text().split() == ["cold-0", "cold-1", "cold-1", "cold-0", "cold-1"]


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
