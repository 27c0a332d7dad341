"""Within a seed all rules begin with the same bits, whatever the code of the user's draws from or reads."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dashtheory.command.program import SCRIPT
from dashtheory.record import ORIGIN, load_results
from tests.command.test_grow import Calls

HEAD = """
import os, random
import numpy as np
import torch
from torch import nn
from dashtheory.deep.data import stream_of_tensors
"""
STREAM = """
def stream(generator):
    x = torch.from_numpy(generator.normal(size=(90, 3))).float()[torch.randperm(90)]
    x = x[torch.from_numpy(np.random.permutation(90))]
    x = x[torch.tensor(random.sample(range(90), 90))] + SHIFT
    y = (x[:, 0] > 0).long()
    return stream_of_tensors(x[:60], y[:60], x[60:], y[60:], num_chunks=2)
"""
NETWORK = """
def network(input_shape, num_classes, generator):
    made = nn.Linear(3, 2)
    with torch.no_grad():
        made.bias.fill_(np.random.rand() + random.random() + SHIFT)
    return made
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    place = f"python:{tmp_path}/mine.py"
    usual = ["--data", f"{place}:stream", "--model", f"{place}:network", "--jobs", "1", "--seeds", "1"]
    return Calls(SCRIPT, tmp_path, [*usual, "--batch-size", "10", "--max-epochs", "2"], monkeypatch)


def write(mine: Calls, shift: str = "0.0") -> None:
    (mine.out / "mine.py").write_text(f"{HEAD}\nSHIFT = {shift}\n{STREAM}{NETWORK}")


def results_of(mine: Calls) -> Path:
    (path,) = (mine.out / "out").glob("run*.csv")
    return path


def first_stage(table: pd.DataFrame, rule: str) -> dict[str, float]:
    rows = table[(table["rule"] == rule) & (table["stage"] == 1)]
    return dict(zip(rows["metric"], rows["value"], strict=True))


def test_streams_and_networks_that_draw_globally_are_the_same_for_all_rules(mine: Calls) -> None:
    write(mine)
    assert mine("--rules", "cold,warm") == ["cold-seed0", "warm-seed0"]
    found = load_results(results_of(mine))
    assert found.table is not None
    assert first_stage(found.table, "cold") == first_stage(found.table, "warm")
    (origins) = [facts[ORIGIN] for facts in found.runs.values()]
    assert origins[0] == origins[1]
    assert set(origins[0]) == {"stream", "first weights"}


def test_a_stream_that_differs_between_two_calls_is_refused(
    mine: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    write(mine, "float(int.from_bytes(os.urandom(4), 'big'))")
    (mine.out / "mine.py").write_text((mine.out / "mine.py").read_text().replace("+ SHIFT", "+ os.urandom(1)[0]"))
    assert mine("--rules", "cold", status=2) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert "must return the same stream for the same generator, got two that differ" in line


def test_a_file_that_the_stream_reads_is_part_of_the_data(mine: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    number = mine.out / "number.txt"
    write(mine, f"float(np.loadtxt({str(number)!r}))")
    text = (mine.out / "mine.py").read_text().replace("\nSHIFT = float", "\nSHIFT = lambda: float")
    text = text.replace("SHIFT\n    y", "SHIFT()\n    y").replace(" + SHIFT)", ")")
    (mine.out / "mine.py").write_text(text)
    number.write_text("0.0")
    assert mine("--rules", "cold") == ["cold-seed0"]
    number.write_text("0.25")
    capsys.readouterr()
    assert mine("--rules", "cold,warm") == ["cold-seed0", "warm-seed0"]
    assert "not used again, made with other data: cold-seed0" in capsys.readouterr().err


def test_first_weights_that_come_from_a_changed_file_are_refused_beside_the_others(
    mine: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    number = mine.out / "number.txt"
    write(mine)
    text = (
        (mine.out / "mine.py")
        .read_text()
        .replace("random.random() + SHIFT", f"float(np.loadtxt({str(number)!r}))")
    )
    (mine.out / "mine.py").write_text(text)
    number.write_text("0.0")
    assert mine("--rules", "cold") == ["cold-seed0"]
    number.write_text("0.25")
    capsys.readouterr()
    assert mine("--rules", "cold,warm", status=2) == ["warm-seed0"]
    assert set(load_results(results_of(mine)).runs) == {"cold-seed0"}
    line = capsys.readouterr().err.splitlines()[-1]
    assert "run warm-seed0 must begin with the same bits as cold-seed0, got another first weights" in line
    assert mine("--rules", "cold,warm", "--fresh") == ["cold-seed0", "warm-seed0"]
