"""The page about other people's training loops: its code runs as it stands, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adapters.md").read_text()


def test_its_code_runs_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "page"}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(code, names)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith("2 chunks that were given kept")
    assert all(float(share) > 0.9 for share in second.split())
    assert float(third) == 1


def test_it_names_every_example() -> None:
    for path in (ROOT / "examples").glob("*.py"):
        assert f"`examples/{path.name}`" in PAGE
