"""The examples of a rule, data and a network of one's own: the same everywhere, and they run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from torch import nn

from dashtheory.command.program import main
from dashtheory.measure import compare
from dashtheory.record import load_table
from dashtheory.rules import make_rule
from dashtheory.user_code import COMMAND_EXAMPLE, EPILOG, NETWORK_EXAMPLE, RULE_EXAMPLE, STREAM_EXAMPLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "your_own.md").read_text()
EXAMPLES = (RULE_EXAMPLE, STREAM_EXAMPLE, NETWORK_EXAMPLE)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the examples of the page in a mine.py."""
    (tmp_path / "mine.py").write_text("\n\n".join(blocks(PAGE, "python")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_page_and_help_show_the_same_examples() -> None:
    assert blocks(PAGE, "python") == list(EXAMPLES)
    assert blocks(PAGE, "sh")[0] == COMMAND_EXAMPLE
    assert "](docs/your_own.md)" in (ROOT / "README.md").read_text()
    for example in (*EXAMPLES, COMMAND_EXAMPLE):
        assert "\n".join(f"    {line}".rstrip() for line in example.splitlines()) in EPILOG
    assert " <your_own>\n" in (ROOT / "docs" / "index.md").read_text()


def test_the_command_of_the_page_runs(folder: Path) -> None:
    words = shlex.split(COMMAND_EXAMPLE.replace("\\\n", " "))
    assert words[0] == "dashtheory"
    toy = ["--seeds", "1", "--jobs", "1", "--max-epochs", "2", "--out", str(folder / "out")]
    assert main([*words[1:], *toy]) == 0
    (path,) = (folder / "out").glob("run+*.csv")
    table, facts = load_table(path)
    rules = words[words.index("--rules") + 1].split(",")
    assert set(table["rule"]) == set(rules)
    assert set(table["stage"]) == {1, 2, 3, 4}
    data = facts["data"]
    assert isinstance(data, dict)
    names = ["python:mine.py:stream", "python:mine.py:network", "python:mine.py:Mine"]
    assert sorted(data["user_code"]) == sorted(names)
    assert len(set(data["user_code"].values())) == 1  # one file


def test_the_commands_that_put_it_beside_others_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = blocks(PAGE, "sh")[1]
    shown, run = (shlex.split(line)[1:] for line in block.splitlines())
    assert main(shown) == 0
    assert "Shrink every weight by one factor. Its fields are its options." in capsys.readouterr().out
    toy = ["--model", "mlp", "--num-chunks", "2", "--chunk-size", "40", "--num-test", "50", "--max-epochs", "2"]
    out = folder / "out"
    more = "python:mine.py:Mine:strength=0.3"
    for words in (run, [*run[:-1], f"{run[-1]},{more}"]):
        assert main([*words, *toy, "--seeds", "1", "--jobs", "1", "--out", str(out)]) == 0
        (path,) = out.glob("run+*.csv")
        table, _ = load_table(path)
        assert set(table["rule"]) == set(words[-1].split(","))
        told = capsys.readouterr().err
        assert ("warm-seed0: stage 1/2" in told) == (words is run)  # one rule more trains that one alone
    assert words[-1].split(",") == ["warm", "dash", "python:mine.py:Mine", more]
    scores = table[(table["metric"] == "weight_norm") & (table["stage"] == 2)].set_index("rule")["value"]
    assert scores[more] < scores["python:mine.py:Mine"] < scores["warm"]


@pytest.mark.usefixtures("folder")
def test_the_rule_of_the_page_does_what_it_says() -> None:
    model = nn.Linear(3, 2)
    chunk = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    for text, factor in (("python:mine.py:Mine", 0.5), ("python:mine.py:Mine:strength=0.3", 0.3)):
        table = compare(model, text, [chunk])
        norm = table[(table["measure"] == "weight_norm") & (table["layer"] == "")].iloc[0]
        assert norm["after"] == pytest.approx(factor * norm["before"])
    assert make_rule("python:mine.py:Mine", strength=0.3) != make_rule("python:mine.py:Mine")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("python:mine.py:Yours", "--rules must name a rule (a subclass of dashtheory.rules.Rule) of 'mine.py'"),
        ("python:mine.py:Mine:force=2", "options of rule python:mine.py:Mine must be among"),
        ("python:none.py:Mine", "--rules must name a file that is there, got 'none.py'"),
        ("python:mine.py", "--rules must be python:FILE.py:NAME or python:MODULE:NAME, got 'python:mine.py'"),
        ("python:mine.py:Mine,python:mine.py:Mine", "--rules must name at least one, each once"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_wrong_is_one_line(rules: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--rules", rules]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dashtheory run: {message}")
