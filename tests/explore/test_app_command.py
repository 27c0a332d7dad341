"""The command of the explorers' page: bad input is one line, the port is the one given."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dashtheory.explore import app as app_module

ROOT = Path(__file__).parents[2]


def test_the_app_refuses_bad_input_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = str(ROOT / "notebooks" / "explorers.ipynb")
    with socket.socket() as taken:
        taken.bind((app_module.HOST, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, words in (
            (["absent.ipynb"], "there is no notebook absent.ipynb"),
            ([notebook, "--port", port], f"port {port} is taken"),
            ([notebook, "--port", "70000"], "port 70000 is taken or no port"),
        ):
            assert app_module.main(arguments) == 2
            told = capsys.readouterr().err
            assert told.count("\n") == 1
            assert words in told


def test_make_app_runs_the_explorers_on_the_port_given() -> None:
    for given, expected in (([], ""), (["PORT=8123"], " --port 8123")):
        command = ["make", "--no-print-directory", "-n", "app", *given]  # `make test` is itself a make
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        last = done.stdout.strip().splitlines()[-1].rstrip()
        assert last.endswith(f"-m dashtheory.explore.app notebooks/explorers.ipynb{expected}")


def test_a_voila_that_cannot_start_is_one_line_and_status_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        app_module, "command", lambda notebook, port: [sys.executable, "-c", "raise SystemExit(3)"]
    )
    assert app_module.serve(Path("x.ipynb"), app_module.free_port()) == 1
    assert "voila did not start on port" in capsys.readouterr().err
