"""docs/benchmarks.md tells what the committed records say."""

from __future__ import annotations

import json
import re

from tests.docs.results_cases import BENCHMARKS, ROOT


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
        assert cell in BENCHMARKS, cell


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
    assert shrink_sentence() in " ".join(BENCHMARKS.split())


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
    assert stacked_sentence() in " ".join(BENCHMARKS.split())


def test_the_speeds_of_pictures_and_sliders_are_those_of_the_committed_benchmarks() -> None:
    images, explore = (
        json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
        for name in ("images", "explore")
    )
    assert not images["quick"]
    assert not explore["quick"]
    times = {row["name"]: row["median_ratio_of_loader"] for row in images["contenders"]}
    text = " ".join(BENCHMARKS.split())
    assert (
        f"takes {times['fast, bfloat16']:.2f} times as long as the fast engine in bfloat16 and "
        f"{times['fast, float32']:.2f} times as long as the same in float32"
    ) in text
    for one in explore["explorers"]:
        cells = [one["name"], one["states"], *(f"{one[kind]['wall']:.0f}" for kind in ("median_ms", "worst_ms"))]
        assert f"| {' | '.join(map(str, cells))} |" in BENCHMARKS


def speed_rows() -> str:
    """Table of the second benchmark."""
    saved = json.loads((ROOT / "benchmarks" / "results" / "theory.json").read_text())
    assert saved["quick"] is False
    single, threads, every, alone = saved["batch"]
    limit, one = saved["limit"]
    large_limit, large_one = saved["large"]
    law, chain, samples = saved["creep"]
    per_second = single["simulations_per_second"]
    return "\n".join(
        [
            "| work | ours | against |",
            "| --- | --- | --- |",
            f"| simulations per second (three rules each), last stage, one thread | {per_second:.0f} | one at "
            "a time: "
            f"{alone['ratio_to_first']:.1f} times longer |",
            f"| the same on {threads['name'].split()[-2]} threads | {threads['simulations_per_second']:.0f} | |",
            f"| the same with every stage recorded, one thread | {every['simulations_per_second']:.0f} | one at a "
            f"time: {alone['seconds_median'] / every['seconds_median']:.1f} times longer |",
            f"| population limit, three rules, 50 stages, N = 1,000 | {1000 * limit['seconds_median']:.0f} ms "
            "| one "
            f"simulation of it: {one['ratio_to_first']:.0f} times longer |",
            f"| the same, N = 100,000 | {1000 * large_limit['seconds_median']:.0f} ms | "
            f"{large_one['ratio_to_first']:,.0f} times longer |",
            f"| 20 warm learners over 1,000 chunks: exact chain by counts | {chain['seconds_median']:.2f} s | "
            "on samples "
            f"(in one batch): {samples['seconds_median'] / chain['seconds_median']:.1f} times longer |",
            f"| the law of a warm learner over 1,000 chunks | {law['seconds_median']:.2f} s | |",
        ]
    )


def test_the_speed_of_batches_and_closed_forms_is_the_committed_one() -> None:
    assert speed_rows() in BENCHMARKS, speed_rows()


def test_every_record_has_its_section() -> None:
    names = {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert names == set(re.findall(r"(?m)^## `(\w+)`$", BENCHMARKS))
    assert "Toy sizes" not in BENCHMARKS
