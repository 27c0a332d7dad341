"""The benchmark of streams measures equal work and writes a complete record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import benchmarks.streams as bench


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_contenders_that_differ_are_not_timed(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.require_equal(bench.QUICK, optimizer)
    honest = bench.separate

    def shifted(*arguments: Any) -> Any:
        numbers, seconds = honest(*arguments)
        return numbers + 1e-4, seconds

    monkeypatch.setattr(bench, "separate", shifted)
    with pytest.raises(RuntimeError, match="differ with"):
        bench.require_equal(bench.QUICK, optimizer)


def test_a_quick_record_has_all_parts(tmp_path: Path) -> None:
    bench.main(["--quick", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "streams.json").read_text())
    assert record["quick"] is True
    assert "torch" in record["versions"]
    found = [(row["optimizer"], row["networks"]) for row in record["measurements"]]
    assert found == [(name, number) for name in ("sgd", "adam") for number in bench.QUICK.stacks]
    assert all(row["seconds_median"] > 0 and row["median_ratio"] > 0 for row in record["measurements"])
