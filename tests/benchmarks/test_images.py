"""The benchmark of training on pictures compares equal work, counts what it says, and writes a whole record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

import benchmarks.images as bench
from dashtheory.evaluate import Scores
from dashtheory.protocol import Epoch

TINY = replace(bench.QUICK, batch_size=4, steps=2)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    out = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "QUICK", TINY)
        bench.main(["--quick", "--out", str(out)])
    loaded: dict[str, object] = json.loads((out / "images.json").read_text())
    return loaded


def test_a_record_has_every_contender_and_the_roofline(record: dict[str, object]) -> None:
    rows = record["contenders"]
    assert isinstance(rows, list)
    assert [row["name"] for row in rows] == bench.contenders("cpu")
    assert rows[0]["median_ratio_of_loader"] == 1
    for row in rows:
        assert row["samples_per_second"] == pytest.approx(6 / 2 / row["step_seconds_median"])
    roofline = record["roofline"]
    assert isinstance(roofline, dict)
    assert set(roofline) == {"float32", "bfloat16"}
    for name, found in roofline.items():  # a mean step has 3 pictures, a batch 4, of which the operations are
        (mine,) = (row for row in rows if row["name"] == f"fast, {name}")
        assert found["step_seconds"] == pytest.approx(mine["step_seconds_median"] * 4 / 3)
    shares = record["time"]
    assert isinstance(shares, dict)
    assert sum(shares.values()) == pytest.approx(1)
    assert record["device"] == "cpu"
    assert str(Path.home()) not in json.dumps(record)


def test_contenders_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def run(self, epoch: Epoch) -> Scores:
            return Scores(loss=1.0, accuracy=0.0)

    right = bench.engine

    def planted(name: str, size: bench.Size, device: str) -> object:
        return Wrong() if name == "fast, float32" else right(name, size, device)

    bench.require_equal(TINY, "cpu")
    monkeypatch.setattr(bench, "engine", planted)
    with pytest.raises(RuntimeError, match=r"fast, float32 has loss 1\.0"):
        bench.require_equal(TINY, "cpu")


def test_operations_and_bytes_are_those_of_a_network_that_can_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10, bias=False))
    monkeypatch.setattr(bench, "network", lambda size: flat)
    weights = 3 * 32 * 32 * 10
    # forward and the gradient of the weights; none of the inputs is asked for
    assert bench.step_flops(TINY) == 2 * 2 * 4 * weights
    assert bench.step_bytes(TINY, width=2) == 5 * 2 * 4 * (3 * 32 * 32 + 10) + 8 * 4 * weights


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::mkldnn_convolution_backward", "convolutions"),
        ("aten::cudnn_batch_norm", "batch norm"),
        ("aten::_fused_sgd_", "optimizer"),
        ("aten::max_pool2d_with_indices", "pooling"),
        ("aten::threshold_backward", "ReLU and sums"),
        ("aten::index", "casts, copies, gathers"),
        ("aten::mm", "other"),
    ],
)
def test_operations_are_sorted_by_kind(operation: str, kind: str) -> None:
    assert bench.kind_of(operation) == kind
