"""Places that real machines have: names in any script under any locale, read-only homes and installations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dashtheory.record import load_table

ROOT = Path(__file__).resolve().parents[1]
NETWORK = """\
from torch import nn


def network(shape, classes, generator):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes))  # größe
"""
OPTIONS = (
    *("--rules", "cold", "--seeds", "1", "--num-chunks", "1", "--chunk-size", "8", "--max-epochs", "1"),
    *("--batch-size", "4", "--jobs", "1"),
)


def call(folder: Path, code: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """A process without a home that can be written, in a folder, with these variables alone."""
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": "/dev/null"}
    command = [sys.executable, *code]
    return subprocess.run(
        command, cwd=folder, env=path | variables, capture_output=True, text=True, encoding="utf-8", check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with pictures and a network, all under names that ASCII lacks."""
    place = tmp_path / "ünï cödé 数据"
    for name in "ab":
        (place / "bilder" / f"ä{name}").mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng(i).integers(0, 256, (4, 4), np.uint8)
            Image.fromarray(pixels).save(place / "bilder" / f"ä{name}" / f"é{i}.png")
    (place / "größe.py").write_text(NETWORK, encoding="utf-8")
    return place


@pytest.mark.skipif(sys.platform == "win32", reason="no such locale there")
def test_any_name_works_in_the_locale_c_and_without_a_home(folder: Path) -> None:
    data, model = f"folder:{folder / 'bilder'}", f"python:{folder / 'größe.py'}:network"
    code = [
        "-m",
        "dashtheory.command.program",
        "run",
        "--data",
        data,
        "--model",
        model,
        "--out",
        str(folder / "öut"),
    ]
    done = call(folder, [*code, *OPTIONS], LC_ALL="C")
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "öut").glob("*.csv")
    table, facts = load_table(path)
    assert set(table["rule"]) == {"cold"}
    assert facts["config"]["data"]["name"] == data  # type: ignore[index]


@pytest.mark.skipif(sys.platform == "win32", reason="paths are text there")
def test_where_names_are_ascii_alone_the_way_out_is_said_and_works(folder: Path) -> None:
    code = ["-m", "dashtheory.command.program", "run", "--data", "digits", "--out", "öut", "--seeds", "0"]
    forced = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = call(folder, code, **forced)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "must be names that this Python can spell" in done.stderr
    assert done.stderr.endswith("Set PYTHONUTF8=1. (see --help)\n")
    done = call(folder, code, **forced | {"PYTHONUTF8": "1"})
    assert done.stderr.startswith("dashtheory run: --seeds must be an integer >= 1, got 0.")


READ_ONLY = """
import numba.core.caching as caching

def refuse(self):
    raise PermissionError("Read-only file system")

caching._CacheLocator.ensure_cache_path = refuse
import numpy as np
from dashtheory.discrete import simulate, sample_packed
from dashtheory.discrete._kernel import transpose_bits
words = np.arange(6, dtype=np.uint64).reshape(3, 2)
print(transpose_bits(words, 70).tolist() == np.stack([
    sum(((words[k, i // 64] >> np.uint64(i % 64)) & np.uint64(1)) << np.uint64(k) for k in range(3))
    for i in range(70)
])[:, None].tolist())
"""


def test_a_read_only_installation_without_a_home_compiles_all_the_same(tmp_path: Path) -> None:
    done = call(tmp_path, ["-c", READ_ONLY])
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
