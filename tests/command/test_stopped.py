"""Calls that are stopped, killed or fail: no finished run is lost, and the same call goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dashtheory.command.script import main
from dashtheory.record import load_results
from tests.toys import TOY

ROOT = Path(__file__).parents[2]


def call(out: Path, *options: str) -> int:
    return main(TOY, ["--out", str(out), "--jobs", "1", *options])


def kept_in(out: Path) -> set[str]:
    """Names of the runs that a call which has not ended keeps."""
    path = next(out.glob(".partial/toy-*/runs.csv"), out / "none")
    return set(load_results(path).runs) if path.with_suffix(".json").exists() else set()


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
    assert kept_in(tmp_path) == {"cold-0"}


def test_an_error_in_a_run_keeps_the_finished_ones(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ("--log", str(log), "--rules", "cold")
    assert call(tmp_path / "out", *options, "--error", "no luck") == 2
    assert kept_in(tmp_path / "out") == {"cold-0"}
    assert call(tmp_path / "out", *options) == 0  # another configuration: everything runs
    assert log.read_text().split() == ["cold-0", "cold-1", "cold-0", "cold-1"]


def test_a_killed_call_loses_no_finished_run_and_leaves_no_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ["--out", str(tmp_path / "out"), "--log", str(log), "--pause", "1.0", "--jobs", "1", "--seeds", "3"]
    command = [sys.executable, "-m", "tests.toys", *options]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(kept_in(tmp_path / "out")) < 2:
        assert time.monotonic() < deadline, "no run finished"
        assert process.poll() is None, "the call ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = kept_in(tmp_path / "out")
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
    assert not (tmp_path / "out" / ".partial").exists()
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
