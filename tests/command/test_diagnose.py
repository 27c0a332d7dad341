"""`dashtheory diagnose`: a page, a figure, and one line for what goes wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

import dashtheory
from dashtheory.command import program
from dashtheory.command.diagnose import draw
from dashtheory.deep.config import RunConfig
from tests.paper.toys import serially

TOY: dict[str, Any] = {
    **{"data": "digits", "model": "mlp", "model_options": ("widths=8",), "num_chunks": 2, "chunk_size": 30},
    **{"num_test": 40, "batch_size": 12, "max_epochs": 2},
}
OPTIONS = [
    *["--model", "mlp", "--model-options", "widths=8", "--num-chunks", "2", "--chunk-size", "30"],
    *["--num-test", "40", "--batch-size", "12", "--max-epochs", "2", "--seeds", "2"],
]
MINE = """
import torch

from dashtheory.stream import Examples, Stream


def stream(generator):
    inputs = torch.from_numpy(generator.normal(size=(3, 20, 6))).float()
    targets = (inputs.sum(-1) > 0).long()
    parts = [Examples(x, y) for x, y in zip(inputs, targets)]
    return Stream(tuple(parts[:2]), parts[2])


def network(input_shape, num_classes, generator):
    return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, num_classes))
"""


@pytest.fixture(autouse=True)
def serial(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs in this process; their names."""
    ran: list[str] = []

    def note(jobs: list[Any], **options: Any) -> Any:
        for done in serially(jobs, **options):
            ran.append(done.name)
            yield done

    monkeypatch.setattr("dashtheory.command.grow.run_jobs", note)
    return ran


def test_a_page_a_figure_and_a_table_and_the_second_call_computes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], serial: list[str]
) -> None:
    assert program.main(["diagnose", *OPTIONS, "--out", str(tmp_path)]) == 0
    pages = list(tmp_path.glob("*.md"))
    assert len(pages) == 1
    text = pages[0].read_text()
    assert text in capsys.readouterr().out
    assert all(pages[0].with_suffix(suffix).stat().st_size > 10_000 for suffix in (".png", ".svg"))
    assert {"warm", "cold", "uniform", "dash"} <= set(re.findall(r"^\| (\w+), ", text, re.MULTILINE))
    assert serial
    serial.clear()
    assert program.main(["diagnose", *OPTIONS, "--out", str(tmp_path)]) == 0
    assert not serial
    assert pages[0].read_text() == text


def test_a_stream_and_a_network_of_your_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    place = f"python:{tmp_path}/mine.py"
    config = RunConfig.of(data=f"{place}:stream", model=f"{place}:network", batch_size=5, max_epochs=2)
    found = dashtheory.diagnose(config, seeds=2)
    assert found.setting.num_stages == 2
    assert found.setting.metric == "test_accuracy"
    assert len(found.costs) >= 4
    assert all(answer.difference is not None for answer in found.answers)


def test_the_weight_decay_of_your_setting_is_that_of_the_runs_as_you_train(tmp_path: Path) -> None:
    config = RunConfig.of(**TOY, weight_decay=0.05)
    found = dashtheory.diagnose(config, seeds=2, out=tmp_path)
    assert found.setting.decays == (0.0, 0.05, 0.5)
    tuned = set(found.costs[found.costs["arm"] == "tuned"]["text"])
    assert not any("weight_decay=0.05" in text for text in tuned)  # as the setting has it
    ours = found.costs.set_index(["rule", "arm"])
    assert ours["text"]["warm", "as you train"] == "warm"


def test_a_device_that_is_to_be_found_is_found(tmp_path: Path) -> None:
    assert program.main(["diagnose", *OPTIONS, "--device", "auto", "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.md"))) == 1


def test_the_picture_has_a_row_per_question(tmp_path: Path) -> None:
    found = dashtheory.diagnose(RunConfig.of(**TOY), seeds=2, out=tmp_path)
    figure = draw(found)
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert [label.split("\n")[0] for label in labels] == [one.question for one in found.answers]
    plt.close(figure)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "1"], "--seeds must be an integer >= 2"),
        (["--margin", "0"], "--margin must be a number"),
        (["--jobs", "0"], "--jobs must be an integer >= 1"),
        (["--data", "python:nowhere.py:stream"], "--num-chunks must be left out with a stream of your own, got 2"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["diagnose", *OPTIONS, *options, "--out", str(tmp_path / "out")]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert message in text


def test_a_stream_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["diagnose", "--data", "python:nowhere.py:stream", "--model", "mlp", "--out", str(tmp_path / "out")]
    assert program.main(words) == 2
    assert "data must name a file that is there, got 'nowhere.py'" in capsys.readouterr().err
