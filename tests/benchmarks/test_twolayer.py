"""The benchmark of level 2 measures equal work and writes a complete record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.twolayer as bench


@pytest.mark.parametrize("regime", bench.REGIMES)
def test_contenders_that_differ_are_not_timed(regime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work = replace(bench.QUICK, steps=5)
    setting = bench.Setting.make(bench.REGIMES[regime], work, 20, torch.float64)
    bench.require_equal(setting, work)
    for name in ("separate_autograd", "separate_by_hand"):
        honest = getattr(bench, name)

        def shifted(setting: bench.Setting, number: int, honest: Any = honest) -> Any:
            return [{key: value + 1e-6 for key, value in one.items()} for one in honest(setting, number)]

        monkeypatch.setattr(bench, name, shifted)
        with pytest.raises(RuntimeError, match=f"stacked and {name.replace('_', ' ')} differ"):
            bench.require_equal(setting, work)
        monkeypatch.setattr(bench, name, honest)


def test_a_quick_record_has_all_parts(tmp_path: Path) -> None:
    bench.main(["--quick", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "twolayer.json").read_text())
    assert record["quick"] is True
    assert "torch" in record["versions"]
    assert len(record["measurements"]) == 2 * 4
    for row in record["measurements"]:
        assert 0 < row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"]
        assert (row["name"] == "stacked") <= (row["median_ratio_to_stacked"] == 1)
