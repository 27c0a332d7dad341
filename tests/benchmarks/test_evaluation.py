"""The benchmark of looks at a network compares equal work and writes a whole record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import benchmarks.evaluation as bench
from dashtheory import batchnorm
from dashtheory.evaluate import Scores


def test_a_record_has_both_ways_and_every_batch(tmp_path: Path) -> None:
    bench.main(["--quick", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(record["statistics"]["seconds"]) == set(bench.WAYS)
    assert record["statistics"]["pictures"] == bench.QUICK.number
    assert [row["batch_size"] for row in record["accuracy"]] == [bench.QUICK.number]


def test_each_way_is_taken_inside_alone() -> None:
    device = torch.device("cpu")
    usual = batchnorm.most_numbers(device)
    for name, most in bench.WAYS.items():
        with bench.way(name):
            assert batchnorm.most_numbers(device) == most
    assert batchnorm.most_numbers(device) == usual > 0


def test_statistics_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(model: nn.Module, norms: batchnorm.Norms, inputs: Tensor) -> None:
        for norm in norms:
            norm.reset_running_stats()

    monkeypatch.setattr(batchnorm, "_in_one_sweep", forgets)
    with pytest.raises(RuntimeError, match="apart; times would mean nothing"):
        bench.statistics(bench.QUICK)


def test_accuracies_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(model: object, examples: object, *, batch_size: int) -> Scores:
        return Scores(loss=1.0, accuracy=1 / batch_size)

    monkeypatch.setattr(bench, "evaluate", evaluate)
    monkeypatch.setattr(bench, "BATCHES", (2, 3))
    with pytest.raises(RuntimeError, match="differ; times would mean nothing"):
        bench.accuracy(bench.QUICK)
