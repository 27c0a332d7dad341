"""The benchmark of packed weights compares equal work and writes a whole record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import benchmarks.prepacked as bench
from benchmarks.cpu_step import layers


def test_a_record_has_every_layer_both_ways(tmp_path: Path) -> None:
    bench.main(["--quick", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "prepacked.json").read_text())
    assert sum(row["number"] for row in record["layers"]) == 20
    for row in record["layers"]:
        assert set(row["seconds"]) == {"as stored", "packed"}
        assert all(len(turns) == bench.QUICK.turns for turns in row["seconds"].values())


def test_layers_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    (layer, *_) = layers(bench.QUICK)
    works = bench.contenders(layer)
    monkeypatch.setattr(bench, "contenders", lambda _: {**works, "packed": lambda: 2 * works["as stored"]()})
    with pytest.raises(RuntimeError, match="times would mean nothing"):
        bench.compare(layer, bench.QUICK)
