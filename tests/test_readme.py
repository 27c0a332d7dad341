"""The README tells the truth: its examples run, its numbers are those of the committed tables, its files exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from dashtheory.record import load_table, summarize
from dashtheory.shrink import ShrinkReport

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def last_stage(table: pd.DataFrame, rule: str, metric: str, decimals: int, scale: float = 1.0) -> str:
    """Mean ± sample sd over seeds at the last stage, as the README prints it."""
    summary = summarize(table, metric, "sd")
    row = summary[(summary["rule"] == rule)].iloc[-1]
    mean, sd = scale * row["mean"], scale * (row["high"] - row["mean"])
    return f"{mean:,.{decimals}f} ± {sd:,.{decimals}f}"


def discrete_rows(table: pd.DataFrame) -> list[str]:
    """A row per rule: accuracy, features, memorised, active."""
    columns = (("learned_features", 1, 1.0), ("memorized_samples", 0, 1.0), ("active_samples", 0, 1.0))
    return [
        f"| {rule} | {last_stage(table, rule, 'test_accuracy', 1, 100.0)} | "
        + " | ".join(last_stage(table, rule, *column) for column in columns)
        + " |"
        for rule in ("cold", "warm", "ideal")
    ]


def text_rows(table: pd.DataFrame) -> list[str]:
    """A row per rule: loss, accuracy, steps of the last stage."""
    return [
        f"| {label} | {last_stage(table, rule, 'test_loss', 2)} | "
        f"{last_stage(table, rule, 'test_accuracy', 1, 100.0)} | {last_stage(table, rule, 'steps', 0)} |"
        for rule, label in (("cold", "cold"), ("warm", "warm"), ("sp", "S&P"), ("dash", "DASH"))
    ]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("discrete_learning", discrete_rows),
        ("warm_start_text", text_rows),
        ("embedding_std_1/warm_start_text", text_rows),
    ],
)
def test_every_number_in_the_tables_is_the_committed_one(name: str, rows: object) -> None:
    assert callable(rows)
    table, _ = load_table(ROOT / "figures" / f"{name}.csv")
    for row in rows(table):
        assert row in README


def test_the_share_at_the_floor_is_the_committed_one() -> None:
    table, _ = load_table(ROOT / "figures" / "warm_start_text.csv")
    shares = table[table["metric"] == "share_clamped"]["value"]
    assert f"{100 * shares.min():.0f} to {100 * shares.max():.0f}%" in README


def test_the_speeds_are_those_of_the_committed_benchmark() -> None:
    saved = json.loads((ROOT / "benchmarks" / "results" / "discrete.json").read_text())
    given, whole, one, plain, half, naive = saved["measurements"]
    assert saved["quick"] is False
    assert (given["name"], plain["name"], naive["name"]) == ("ours, data given", "plain numpy", "naive oracle")
    big = saved["big_run"]
    for cell in (
        f"data given | {given['seconds_median']:.2f} s |",
        f"test samples | {whole['seconds_median']:.2f} s |",
        f"| {one['seconds_median']:.3f} s | plain vectorised numpy: {plain['ratio_to_ours']:.0f} times longer |",
        f"| {half['seconds_median']:.3f} s | the naive loop of the tests: {naive['ratio_to_ours']:,.0f} times",
        f"| {big['seconds_total']:.0f} s, {big['peak_memory_gib']:.2f} GiB |",
    ):
        assert cell in README, cell


def test_the_first_example_runs_and_says_what_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    assert EXAMPLES[0].count("\n") < 10
    exec(EXAMPLES[0], {})
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: int(line.split()[1]) for line in lines}
    assert found["cold"] == found["ideal"] > 2 * found["warm"]


def test_the_second_example_runs_in_a_training_loop(capsys: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    names = {
        "model": nn.Linear(3, 2),
        "loss_fn": nn.functional.cross_entropy,
        **{f"x_{age}": torch.randn(4, 3, generator=generator) for age in ("old", "new")},
        **{f"y_{age}": torch.tensor([0, 1, 0, 1]) for age in ("old", "new")},
    }
    exec(EXAMPLES[1], names)
    assert isinstance(names["report"], ShrinkReport)
    assert len(capsys.readouterr().out.split()) == 2


def test_files_and_targets_that_the_readme_names_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"python (simulations/\S+\.py)", README):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`(\w+)\.\{png,svg,csv,json\}`", README):
        for suffix in ("png", "svg", "csv", "json"):
            assert (ROOT / "figures" / f"{name}.{suffix}").exists(), name
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile, target
    assert "@" not in re.sub(r"\]\([^)]*\)", "", README)
