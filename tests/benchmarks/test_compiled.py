"""The benchmark of compiled steps compares equal work and writes a whole record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import benchmarks.compiled as bench

Network = Callable[[Tensor], Tensor]


def test_a_record_has_both_kinds_compiled_and_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Network] = []

    def compile_(model: Network) -> Network:  # the compiler itself takes a minute
        compiled.append(model)
        return model

    monkeypatch.setattr(torch, "compile", compile_)
    bench.main(["--quick", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "compiled.json").read_text())
    places = [(row["kind"], row["compiled"]) for row in record["steps"]]
    assert places == [(kind, made) for kind in bench.KINDS for made in (False, True)]
    assert len(compiled) == 2
    assert all(len(row["seconds"]) == bench.QUICK.turns and row["first"] > 0 for row in record["steps"])


def test_networks_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda model: lambda inputs: 3 * model(inputs))
    with pytest.raises(RuntimeError, match="differ; times would mean nothing"):
        bench.compare(bench.QUICK)
