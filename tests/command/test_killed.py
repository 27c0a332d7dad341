"""A command that is killed after any operation on files goes on to the same bytes, and leaves nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dashtheory.command import grow
from dashtheory.record import load_table
from tests.killed import COMMANDS, killed
from tests.paper.toys import serially


def held(folder: Path) -> dict[str, bytes]:
    """All files of a folder; of JSON files, which tell times, the hash of their table."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            if file.suffix == ".json":
                content = json.loads(content)["table_sha256"].encode()
            found[file.relative_to(folder).as_posix()] = content
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_after_any_operation_it_goes_on_to_the_same_bytes(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grow, "run_jobs", serially)
    if command == "report":
        COMMANDS["reproduce"](tmp_path / "results")
    COMMANDS[command](tmp_path / "whole")
    whole, count = held(tmp_path / "whole"), 0
    for count in range(1, 200):
        out = tmp_path / str(count)
        if not killed(count, command, out):
            break
        for table in out.rglob("[!.]*.csv"):
            load_table(table)  # a reader never finds half a pair
        COMMANDS[command](out)
        assert held(out) == whole, f"killed after operation {count}"
        assert not (out / ".partial").exists(), f"killed after operation {count}"
    assert count > 10
