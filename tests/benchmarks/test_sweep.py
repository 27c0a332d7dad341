"""The sweep of the benchmark is one: every run is in the table, and came by a file."""

from __future__ import annotations

import pytest

from benchmarks.sweep import folder_of, locks, sweep, table_of
from dashtheory.parallel import engine


def test_every_job_is_counted_and_left_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PAUSE", 0.01)
    found = sweep(3)
    assert found["jobs"] == 3
    assert found["saves"] == 1
    assert found["bytes_per_file"] > 500
    assert found["waiting_seconds"] >= 0


def test_what_grows_with_the_jobs_is_measured_on_as_many() -> None:
    assert table_of(4)["table_bytes"] > table_of(2)["table_bytes"]
    assert folder_of(5, b"x")["files"] == 5
    assert locks(2) > 0
