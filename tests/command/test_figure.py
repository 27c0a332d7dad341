"""`dashtheory figure`: list, draw, check against the committed table, and the report of `make figures`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dashtheory.command import checkout as places
from dashtheory.command import figure
from dashtheory.command.checkout import COPY, keep_tables
from dashtheory.command.program import main
from dashtheory.command.script import main as run_script
from dashtheory.record import load_table, save_table
from tests.toys import TOY

ROOT = Path(__file__).parents[2]
SCRIPT = '''"""A toy that is drawn in no time."""
import sys
from dashtheory.command.script import main
from tests.toys import TOY as SCRIPT
if __name__ == "__main__":
    sys.exit(main(SCRIPT))
'''
ONE = ["--jobs", "1"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one figure, drawn."""
    folder = tmp_path_factory.mktemp("drawn")
    for name in ("simulations", "dashtheory"):
        (folder / name).mkdir()
    (folder / "simulations" / "toy.py").write_text(SCRIPT)
    assert run_script(TOY, [*ONE, "--out", str(folder / "figures")]) == 0
    return folder


@pytest.fixture
def toy(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that checkout; it is the current folder."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figure, "checkout", lambda: tmp_path)
    return tmp_path


def change(folder: Path, changed: Callable[[pd.DataFrame], pd.Series], **facts: object) -> None:
    """Save the table of a folder with other values."""
    table, known = load_table(folder / "toy.csv")
    known = {name: value for name, value in known.items() if name not in ("format", "table_sha256")}
    save_table(table.assign(value=changed(table)), folder / "toy.csv", {**known, **facts})


def spread(table: pd.DataFrame) -> pd.Series:
    """Values with another in the last stage of cold."""
    there = (table["rule"] == "cold") & (table["stage"] == 3)
    return table["value"].where(~there, table["value"] + 1e5)


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_figures_are_listed_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figure"]) == main(["figure", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [path.stem for path in sorted((ROOT / "simulations").glob("*.py"))]
    assert [line.split()[0] for line in lines] == names * 2
    assert "Warm-starting in the discrete world" in lines[names.index("discrete_learning")]


def test_a_name_alone_draws_as_the_script_does(toy: Path) -> None:
    assert main(["figure", "toy", *ONE, "--seeds", "3", "--rules", "cold", "--out", "more"]) == 0
    assert sorted(path.name for path in (toy / "more").iterdir()) == ["toy.csv", "toy.json", "toy.png", "toy.svg"]
    assert load_table(toy / "more" / "toy.csv")[0]["seed"].nunique() == 3


def test_a_check_computes_again_elsewhere_and_finds_the_same(
    toy: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = (toy / "figures" / "toy.json").read_bytes()
    for _ in range(2):  # the second is computed too, although the first is there
        log = tmp_path_factory.mktemp("log") / "log"
        assert main(["figure", "toy", "--check", *ONE, "--log", str(log)]) == 2
        assert "--check must be of the setting of the committed table, got log" in capsys.readouterr().err
        assert main(["figure", "toy", "--check", *ONE]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "toy: identical"
    assert (toy / "figures" / "toy.json").read_bytes() == before
    assert (toy / "build" / "check" / "toy.png").exists()


def test_a_figure_that_differs_ends_with_status_1_and_its_numbers(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(toy / "figures", spread)
    assert main(["figure", "toy", "--check", *ONE]) == 1
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[0] == "toy: different: 1 of 6 means over 2 seeds"
    assert lines[1].startswith("    m of cold, stage 3: committed 1e+05, new 6.5 (1.")
    assert lines[1].endswith(" standard errors)")


def test_a_changed_number_of_a_real_figure_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One seed and one rule of the figure of level 1, against the committed table and a changed copy of it."""
    call = ["figure", "discrete_learning", "--check", "--seeds", "1", "--rules", "warm", *ONE]
    assert main([*call, "--out", str(tmp_path / "new")]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("discrete_learning: identical; ")
    table, facts = load_table(ROOT / "figures" / "discrete_learning.csv")
    place = table.index[
        (table["rule"] == "warm") & (table["seed"] == 0) & (table["metric"] == "learned_features")
    ][6]
    table.loc[place, "value"] += 1
    save_table(table, tmp_path / "discrete_learning.csv", {"config": facts["config"], "experiment": "x"})
    again = ["--redraw", "--out", str(tmp_path / "new"), "--against", str(tmp_path)]
    assert main(["figure", "discrete_learning", "--check", *again]) == 1
    words = capsys.readouterr().out.splitlines()[-2:]
    assert "different: 1 of" in words[0]
    assert f"learned_features of warm, seed 0, stage {table.loc[place, 'stage']}: committed" in words[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["walk"], "NAME must be one of toy, got 'walk'"),
        (
            ["toy", "--check", "--quick"],
            "--check must be of the setting of the committed table, got num_stages 1 where",
        ),
        (["toy", "--check", "--slope", "-1"], "slope must be a number"),
        (["toy", "--check", "--out", "figures"], "--out must be another folder than that of the committed table"),
        (
            ["toy", "--check", "--against", "nowhere"],
            "--check must find the committed table of this setting, got no",
        ),
        (["toy", "--against", "figures"], "--against must come with --check"),
        (["--report", "--against", "simulations"], "--against must hold tables of figures"),
        (["--report"], "--report must find the committed tables in git, or a copy of them, got neither"),
        (["--colour"], "must begin with the name of a figure, --list or --report"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    toy: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    try:
        status = main(["figure", *options])
    except SystemExit as stop:
        status = int(str(stop.code))
    lines = capsys.readouterr().err.splitlines()
    assert (status, len(lines)) == (2, 1)
    assert lines[0].startswith("dashtheory figure")
    assert words in lines[0]


def test_without_a_checkout_it_is_said_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "__file__", str(tmp_path / "dashtheory" / "command" / "checkout.py"))
    assert main(["figure"]) == 2
    assert "the current folder must be a checkout with simulations/ and figures/" in capsys.readouterr().err


def test_the_report_compares_with_what_git_has(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(toy, "init", "--quiet")
    git(toy, "add", "figures")
    git(toy, "commit", "--quiet", "-m", "figures")
    capsys.readouterr()
    assert main(["figure", "--report"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "toy: not drawn again"
    keep_tables(toy)
    assert not (toy / COPY).exists()
    change(toy / "figures", lambda table: table["value"], finished="later")
    assert main(["figure", "--report"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "toy: identical"
    change(toy / "figures", spread)
    assert main(["figure", "--report", "--jobs", "2"]) == 1
    assert "toy: different: 1 of 6 means over 2 seeds" in capsys.readouterr().out
    assert main(["figure", "--report", "--quick"]) == 0
    assert "toy figures have no committed tables" in capsys.readouterr().out


def test_without_git_a_copy_of_the_first_call_is_what_was_committed(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figure", "--before"]) == 0
    committed = (toy / "figures" / "toy.csv").read_bytes()
    change(toy / "figures", spread)  # drawn again, and killed before the report
    assert main(["figure", "--before"]) == 0
    assert (toy / COPY / "toy.csv").read_bytes() == committed
    assert [path.name for path in (toy / "build").iterdir()] == ["committed"]
    assert main(["figure", "--report"]) == 1
    assert "the copy in build/committed/" in capsys.readouterr().out


def test_the_report_says_of_a_damaged_or_missing_table_that_it_is(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(toy / "figures", toy / "new")
    facts = json.loads((toy / "new" / "toy.json").read_text())
    (toy / "new" / "toy.json").write_text(json.dumps({**facts, "table_sha256": "0"}))
    call = ["figure", "--report", "--against", "figures", "--out"]
    for folder, words in (("new", "must be the one its .json describes"), ("none", "must be readable")):
        assert main([*call, folder]) == 1
        assert words in capsys.readouterr().out.splitlines()[-1]


def test_a_table_of_another_setting_is_not_compared_and_ends_with_status_1(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(toy / "figures", toy / "new")
    facts = json.loads((toy / "new" / "toy.json").read_text())
    facts["config"]["slope"] += 1
    (toy / "new" / "toy.json").write_text(json.dumps(facts))
    assert main(["figure", "--report", "--against", "figures", "--out", "new"]) == 1
    assert "toy: not compared, it is of another setting: " in capsys.readouterr().out


def test_other_data_are_told_beside_the_verdict(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Python with other help texts has another text to learn: of the same law, but not the same numbers."""
    shutil.copytree(toy / "figures", toy / "new")
    change(toy / "figures", lambda table: table["value"], data={"characters": 7, "sha256": "a" * 64, "mean": 0.1})
    change(toy / "new", lambda table: table["value"], data={"characters": 9, "sha256": "b" * 64, "mean": 0.2})
    capsys.readouterr()
    assert main(["figure", "--report", "--against", "figures", "--out", "new"]) == 0
    told = "    of other data: characters 9 where it has 7, sha256 bbbbbbbb where it has aaaaaaaa"
    assert capsys.readouterr().out.splitlines()[1:] == ["toy: identical", told]
