"""A command whose runs are computed elsewhere: the same table, and what others have computed comes first."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dashtheory.command import grow as grow_module
from dashtheory.command.script import main
from dashtheory.parallel import ended
from dashtheory.parallel import engine as engine_module
from dashtheory.parallel.ended import write_table
from dashtheory.parallel.place import Place
from dashtheory.record import load_results
from tests.paper.toys import serially, silent
from tests.toys import TOY


class Stopped(KeyboardInterrupt):
    """Ctrl-C."""


class Elsewhere:
    """Calls of the toy whose executor is a thread, as if it were on another machine."""

    def __init__(self, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out, self.log = out, out / "log"
        self.patch = monkeypatch
        monkeypatch.setattr(engine_module, "PAUSE", 0.01)
        monkeypatch.setattr(Place, "here", property(lambda place: False))
        monkeypatch.setattr(Place, "opened", lambda place, folder: self.opened())

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        with ThreadPoolExecutor(1) as executor:
            yield executor

    def __call__(self, status: int = 0) -> list[str]:
        """Names of the runs that a call computes."""
        self.log.unlink(missing_ok=True)
        options = ["--seeds", "2", "--rules", "cold", "--log", str(self.log)]
        assert main(TOY, ["--out", str(self.out / "out"), *options]) == status
        return self.log.read_text().split() if self.log.exists() else []

    def leaves_files(self) -> None:
        """A call that is stopped when all of its runs have ended, and none is saved."""

        def stopped(jobs: list[Any], **options: Any) -> Any:
            for job in jobs:
                write_table(job.ended, job, job.function(**job.arguments, report=silent), 1.0)
            raise Stopped

        with self.patch.context() as patch:
            patch.setattr(grow_module, "run_jobs", stopped)
            assert len(self(130)) == 2


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    return Elsewhere(tmp_path, monkeypatch)


def test_the_table_is_that_of_runs_here(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    assert elsewhere() == ["cold-0", "cold-1"]
    found = elsewhere.out / "out" / "toy.csv"
    content = found.read_bytes()
    assert not (elsewhere.out / "out" / ".partial").exists()
    found.unlink()
    monkeypatch.setattr(Place, "here", property(lambda place: True))
    monkeypatch.setattr(Place, "opened", lambda place, folder: contextlib.nullcontext())
    monkeypatch.setattr(grow_module, "run_jobs", serially)
    assert elsewhere() == ["cold-0", "cold-1"]
    assert found.read_bytes() == content


def test_files_of_a_lost_call_are_taken_with_what_they_say_of_their_machine(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ended, "machine", lambda device: {"device": "another"})
        elsewhere.leaves_files()
    assert elsewhere() == []
    runs = load_results(elsewhere.out / "out" / "toy.csv").runs
    assert {facts["machine"]["device"] for facts in runs.values()} == {"another"}
    assert not (elsewhere.out / "out" / ".partial").exists()


def test_files_made_with_other_libraries_are_not_used(
    elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere.leaves_files()
    (first, _) = sorted((elsewhere.out / "out").rglob("ended/*.json"))
    whole = json.loads(first.read_text())
    facts = json.loads(whole["content"])
    facts["made"]["identity"]["versions"] = "0" * 32
    text = json.dumps(facts)
    first.write_text(json.dumps({**whole, "content": text, "sha256": ended._sha256(text)}))
    capsys.readouterr()
    assert elsewhere() == ["cold-0"]
    assert "not used again, made with other versions of the libraries: cold-0\n" in capsys.readouterr().err
