"""The benchmark of a step on a CPU compares equal work and writes a whole record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import benchmarks.cpu_step as bench
from dashtheory.deep.models import small_maps


def test_a_record_has_steps_peaks_and_every_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_maps, "FEWEST_WEIGHTS", 1)
    bench.main(["--quick", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "cpu_step.json").read_text())
    assert [row["precision"] for row in record["steps"]] == ["float32", "bfloat16"]
    assert sum(row["number"] for row in record["layers"]) == 20  # of ResNet-18: 17 of 3x3, 3 of 1x1
    by_products = [row["number"] for row in record["layers"] if "all by products" in row["seconds"]]
    assert by_products == [1, 3]  # the last stage, whose maps are 2x2
    first = record["layers"][0]
    assert first["gigaflops"] * 1e9 == 2 * bench.QUICK.batch_size * 32 * 32 * 3 * bench.QUICK.width * 9
    assert first["share_of_peak"]["forward"] == pytest.approx(
        first["gigaflops"] * 1e9 / first["seconds"]["forward"] / record["peaks"]["bfloat16"]
    )


def test_contenders_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_maps, "FEWEST_WEIGHTS", 1)
    monkeypatch.setattr(small_maps, "_flat", lambda values, place: values[:, *place].flatten(1).roll(1, 0))
    with pytest.raises(RuntimeError, match="differ; times would mean nothing"):
        bench.measure_steps(bench.QUICK)
