"""The benchmark of DASH from a part of every chunk writes a whole record, whose full pass agrees with itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import benchmarks.dash_share as bench
from dashtheory.rules import LayerReport, ShrinkReport


def report(*scales: list[float]) -> ShrinkReport:
    layers = tuple(
        LayerReport(
            name=str(place),
            kind="row",
            cosines=torch.tensor(values),
            scales=torch.tensor(values),
            num_entries=4 * (place + 1) * len(values),
            lam=0.0,
        )
        for place, values in enumerate(scales)
    )
    return ShrinkReport(layers=layers, untouched=(), num_batches=1)


def test_a_record_has_every_share(tmp_path: Path) -> None:
    bench.main(["--quick", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "dash_share.json").read_text())
    rows = record["settings"]["digits"]
    assert [row["share"] for row in rows] == [1.0, *bench.SHARES]
    assert all(0 < row["cosine"] <= 1 and row["seconds"] >= 0 for row in rows[1:])


def test_agreement_weighs_groups_by_their_entries() -> None:
    full, sizes = report([0.2, 0.4], [0.6, 0.8]), {"0": 8, "1": 16}
    same = bench._agreement(full, sizes, [(full, 2.0), (full, 4.0)])
    assert (same["cosine"], same["correlation"], same["mean_difference"]) == pytest.approx((1, 1, 0))
    assert same["seconds"] == 3
    other = bench._agreement(full, sizes, [(report([0.2, 0.4], [0.6, 0.5]), 1.0)])
    assert other["mean_difference"] == pytest.approx(0.3 * 8 / 24)
