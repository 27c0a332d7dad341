"""Every example runs as it stands."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.ranks import may_abort_at_the_end

FOLDER = Path(__file__).resolve().parents[2] / "examples"
NEEDS = {"avalanche": "avalanche", "lightning": "lightning", "skorch": "skorch", "transformers": "transformers"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for needed in path.stem.split("_"):
        if needed in NEEDS:
            pytest.importorskip(NEEDS[needed], exc_type=ImportError)
    with may_abort_at_the_end():
        runpy.run_path(str(path), run_name="__main__")
    said = capfd.readouterr().out
    assert re.search(r"stage 2: mean factor 0\.[3-9]|same bits: True|left: 1\d\d%|left: 9\d%", said), said
