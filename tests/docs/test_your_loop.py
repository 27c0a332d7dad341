"""The page about loops of one's own: its code runs as it stands, and what it says holds."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import torch

from dashtheory.rules import PartlyShrunk, layers
from dashtheory.scoring import SCORINGS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "your_loop.md").read_text()


def test_its_code_runs_in_order(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_FOR_GOOD", {})
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", PartlyShrunk)
        for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(code, names)
    first, last = capsys.readouterr().out.splitlines()
    mean_scale, share_shrunk, left = map(float, first.split())
    assert 0.3 <= mean_scale < 0.6
    assert share_shrunk == 1
    assert left > 0.9
    assert 0 <= float(last) <= 1


def test_it_names_all_ways_to_score() -> None:
    assert all(f'"{kind}"' in PAGE for kind in SCORINGS)
