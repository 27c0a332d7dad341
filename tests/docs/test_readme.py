"""The README tells the truth: its examples run, its files exist, its speeds are the committed ones."""

from __future__ import annotations

import json
import re

import pytest
import torch
from torch import nn

from dashtheory.paper.report import read_all, render
from dashtheory.rules import ShrinkReport
from tests.docs.readme_cases import README, ROOT

EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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


def test_the_third_example_compares_a_model_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, generator=generator)
    y = torch.tensor([0, 1] * 4)
    model = nn.Linear(3, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = {"model": model, "x_old": x[:4], "y_old": y[:4], "x_new": x[4:], "y_new": y[4:]}
    exec(EXAMPLES[2], names)
    assert {"before", "after", "change"} <= set(names["table"].columns)  # type: ignore[attr-defined]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "old_loss" in capsys.readouterr().out


def test_files_and_targets_that_the_readme_names_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"python (simulations/\S+\.py)", README):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`(\w+)\.\{png,svg,csv,json\}`", README):
        for suffix in ("png", "svg", "csv", "json"):
            assert (ROOT / "figures" / f"{name}.{suffix}").exists(), name
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile, target
    assert "@" not in re.sub(r"\]\([^)]*\)|```python\n.*?```", "", README, flags=re.DOTALL)


def shrink_sentence() -> str:
    """What DASH's pass and the grid cost."""
    saved = json.loads((ROOT / "benchmarks" / "results" / "shrink.json").read_text())
    assert saved["quick"] is False
    costs, grids, shares = [], [], []
    for part in ("text", "images"):
        _, dash, grid = saved[part]["passes"]
        costs.append(dash["median_ratio_to"]["forward and backward"])
        grids.append(grid["median_ratio_to"]["dash_"])
        shares += [100 * stage["share"] for stage in saved[part]["stages"] if stage["rule"] == "dash"]
    return (
        f"One pass of DASH over the data takes {costs[0]:.2f} (text) and {costs[1]:.2f} (pictures) times a "
        "forward and "
        f"backward pass over them, which is {min(shares):.0f} to {max(shares):.0f}% of the training time of "
        "its stage; "
        f"all 25 pairs of five alphas and five lams from one pass take {grids[0]:.2f} and {grids[1]:.2f} "
        "times a single "
        "one"
    )


def test_the_cost_of_dash_is_the_committed_one() -> None:
    assert shrink_sentence() in " ".join(README.split())


def stacked_sentence() -> str:
    """What separate networks cost beside stacked ones."""
    saved = json.loads((ROOT / "benchmarks" / "results" / "twolayer.json").read_text())
    assert saved["quick"] is False
    ratio = {
        (row["regime"], row["num_samples"]): row["median_ratio_to_stacked"]
        for row in saved["measurements"]
        if row["name"] == "separate autograd"
    }
    cells = [f"{ratio['cnn_a', size]:.1f} and {ratio['mlp_small', size]:.1f}" for size in (400, 200, 50)]
    return (
        "Two-layer networks trained one by one with autograd take, per step, "
        f"{cells[0]} times as long as stacked ones (64 at once; patch network and MLP) at N = 400 samples, "
        f"{cells[1]} times at 200 and {cells[2]} times at 50"
    )


def test_the_speed_of_stacks_is_the_committed_one() -> None:
    assert stacked_sentence() in " ".join(README.split())


def test_the_page_of_results_is_what_the_tables_give() -> None:
    page = (ROOT / "paper_repro" / "RESULTS.md").read_text()
    assert page == render(read_all(ROOT / "paper_repro" / "results"))
    for picture in re.findall(r"\]\((figures/[^)]+)\)", page):
        assert (ROOT / "paper_repro" / picture).exists()


def test_the_speeds_of_pictures_and_sliders_are_those_of_the_committed_benchmarks() -> None:
    images, explore = (
        json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
        for name in ("images", "explore")
    )
    assert not images["quick"]
    assert not explore["quick"]
    times = {row["name"]: row["median_ratio_of_loader"] for row in images["contenders"]}
    text = " ".join(README.split())
    assert (
        f"takes {times['fast, bfloat16']:.2f} times as long as the fast engine in bfloat16 and "
        f"{times['fast, float32']:.2f} times as long as the same in float32"
    ) in text
    for kind in ("median_ms", "worst_ms"):
        *first, last = (f"{one[kind]['wall']:.0f}" for one in explore["explorers"])
        assert f"{', '.join(first)} and {last} ms" in text
