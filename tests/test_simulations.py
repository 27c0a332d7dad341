"""Every script of simulations/ at toy size, and the laws that its table must obey."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from dashtheory.command import main
from dashtheory.record import load_table

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "simulations").glob("*.py"))
# Options that make a script end in seconds; --quick is for people and takes longer.
TOY = {
    "discrete_learning": ["--num-stages", "6", "--num-test", "200", "--seeds", "2", "--jobs", "1"],
    "warm_start_text": [
        *["--num-chunks", "2", "--chunk-windows", "8", "--test-windows", "8", "--context", "16", "--width", "16"],
        *["--num-layers", "1", "--max-epochs", "2", "--seeds", "2", "--jobs", "2"],
    ],
}


def script(name: str) -> ModuleType:
    """A script as a module under its own name, as workers import it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "simulations" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def toy_table(name: str, out: Path, *options: str) -> pd.DataFrame:
    assert main(script(name).SCRIPT, ["--out", str(out), *TOY[name], *options]) == 0
    written = sorted(path.name for path in out.iterdir())
    assert written == [f"{name}.{suffix}" for suffix in ("csv", "json", "png", "svg")]
    return load_table(out / f"{name}.csv")[0]


def values(table: pd.DataFrame, rule: str, metric: str) -> pd.DataFrame:
    rows = table[(table["rule"] == rule) & (table["metric"] == metric)]
    return rows.pivot_table(index="seed", columns="stage", values="value")


def test_every_script_has_a_toy_size_and_the_shared_options() -> None:
    assert {path.stem for path in SCRIPTS} == set(TOY)
    for path in SCRIPTS:
        made = script(path.stem).SCRIPT
        assert made.name == path.stem
        assert made.quick
        made.config(**made.quick)


def test_discrete_learning_obeys_the_rules_of_the_discrete_world(tmp_path: Path) -> None:
    table = toy_table("discrete_learning", tmp_path)
    cold, warm, ideal = (values(table, rule, "active_samples") for rule in ("cold", "warm", "ideal"))
    assert (cold == [1000 * stage for stage in range(1, 7)]).all(axis=None)
    assert (warm <= ideal).all(axis=None)
    assert (ideal <= cold).all(axis=None)
    for metric in ("test_accuracy", "learned_features", "memorized_samples"):
        first = [values(table, rule, metric)[1] for rule in ("cold", "warm", "ideal")]
        assert first[0].equals(first[1])
        assert first[0].equals(first[2])
    # At six stages cold has learned more than twice what warm has, in every seed (measured: 61 against 30).
    learned_cold, learned_warm = (values(table, rule, "learned_features")[6] for rule in ("cold", "warm"))
    assert (learned_cold > 1.5 * learned_warm).all()
    assert (values(table, "cold", "test_accuracy")[6] > values(table, "warm", "test_accuracy")[6] + 0.1).all()


def test_warm_start_text_shares_the_first_stage_between_rules(tmp_path: Path) -> None:
    table = toy_table("warm_start_text", tmp_path)
    firsts = table[(table["stage"] == 1)].pivot_table(index=["seed", "metric"], columns="rule", values="value")
    for rule in ("warm", "sp", "dash"):
        assert firsts[rule].equals(firsts["cold"])
    lasts = table[(table["stage"] == 2) & (table["metric"] == "test_loss")]
    assert lasts.groupby("seed")["value"].nunique().tolist() == [4, 4]
    assert set(table["seed"]) == {0, 1}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_bad_input_is_one_line_and_status_2_as_a_person_would_run_it(path: Path, tmp_path: Path) -> None:
    bad = {"discrete_learning": ["--gamma", "0"], "warm_start_text": ["--lam", "2"]}[path.stem]
    done = subprocess.run(
        [sys.executable, str(path), "--out", str(tmp_path), *bad], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{path.name}: {bad[0][2:]} must be a number" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_setting_of_ones_own_makes_no_claim_in_the_title(tmp_path: Path) -> None:
    for name in TOY:
        made = script(name).SCRIPT
        assert main(made, ["--out", str(tmp_path), *TOY[name]]) == 0
        table, facts = load_table(tmp_path / f"{name}.csv")
        config = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["config"].items()}  # type: ignore[attr-defined]
        titles = []
        for setting in (made.config(), made.config(**config)):
            figure = made.draw(table, setting)
            titles.append(figure._suptitle.get_text())
            plt.close(figure)
        assert "of your own" not in titles[0]
        assert "of your own" in titles[1]


def test_committed_figures_come_from_full_runs_of_the_default_setting() -> None:
    for path in SCRIPTS:
        table, facts = load_table(ROOT / "figures" / f"{path.stem}.csv")
        made = script(path.stem).SCRIPT
        assert facts["quick"] is False
        assert sorted(set(table["seed"])) == list(range(made.num_seeds))
        config = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["config"].items()}  # type: ignore[attr-defined]
        assert made.config(**config) == made.config()
        for suffix in (".png", ".svg"):
            assert (ROOT / "figures" / f"{path.stem}{suffix}").stat().st_size > 10_000
