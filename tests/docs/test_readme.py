"""The README tells the truth: its examples run, its numbers are those of the committed tables, its files exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from dashtheory.paper import summarize_runs
from dashtheory.paper.report import read_all, render
from dashtheory.record import load_results, load_table, paired_differences, summarize
from dashtheory.rules import ShrinkReport

ROOT = Path(__file__).parents[2]
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


def creep_sentence() -> str:
    """What warm and cold know after a thousand chunks."""
    table, _ = load_table(ROOT / "figures" / "warm_creep.csv")
    last = table[table["stage"] == table["stage"].max()].groupby(["rule", "metric"])["value"].mean()
    first = table[table["stage"] == 1].groupby(["rule", "metric"])["value"].mean()
    warm = last["warm"]
    return (
        f"after 1,000 chunks it knows {warm['learned_features']:.1f} of 100 features "
        f"({first['warm', 'learned_features']:.1f} after the first), as the exact chain "
        f"({warm['chain_learned_features']:.1f}) and a law without sampling "
        f"({warm['law_learned_features']:.1f}) say, "
        f"while cold knows {last['cold', 'learned_features']:.1f}."
    )


def forgetting_sentences() -> tuple[str, str]:
    """How far accuracy moves with phi_feature, and what forgetting features costs."""
    table, _ = load_table(ROOT / "figures" / "forgetting_map.csv")
    mean = table.groupby(["metric", "phi_noise", "phi_feature"])["value"].mean()
    accuracy = 100 * mean["test_accuracy"].unstack()
    spread = (accuracy.max(axis=1) - accuracy.min(axis=1)).max()
    active = mean["mean_active_samples"]
    half = [active[0.5, feature] for feature in (0.0, 0.05, 0.5)]
    return (
        f"from {accuracy.loc[0.0].mean():.1f}% at 0 to {accuracy.loc[0.1].mean():.1f}% at 0.1 and "
        f"{accuracy.loc[1.0].mean():.1f}% at 1, it moves by at most {spread:.1f} points with φ_feature.",
        f"at φ_noise = 0.5 a stage starts with {half[0]:,.0f} active samples on average if no feature is "
        "forgotten, "
        f"{half[1]:,.0f} at φ_feature = 0.05, and {half[2]:,.0f} if features are forgotten as often as noise.",
    )


def phase_sentence() -> str:
    """Errors of both predictions over all cells of all maps."""
    table, _ = load_table(ROOT / "figures" / "phase_diagram.csv")
    points = table
    wide = points.groupby(["map", "x", "y", "rule", "metric"])["value"].mean().unstack(["metric", "rule"])
    gap = wide["test_accuracy", "cold"] - wide["test_accuracy", "warm"]
    cold = wide["predicted_test_accuracy", "cold"]
    limit = (cold - wide["predicted_test_accuracy", "warm"] - gap).abs().mean()
    law = (cold - wide["law_test_accuracy", "warm"] - gap).abs().mean()
    return (
        f"over {len(gap)} cells of five maps the gap between cold and warm runs from {100 * gap.min():.0f} to "
        f"{100 * gap.max():.0f} points, and the law for finite chunks misses it by {100 * law:.1f} points on "
        "average "
        f"(the limit of large chunks by {100 * limit:.1f})."
    )


def beyond_sentence() -> str:
    """The larger and the smaller class at 900 to 100 samples per chunk."""
    table, _ = load_table(ROOT / "figures" / "beyond_independence.csv")
    points = table
    rows = points[(points["kind"] == "unbalanced") & (points["x"] == 0.9)]
    mean = rows.groupby(["metric", "rule"])["value"].mean()
    accuracy, worst = 100 * mean["test_accuracy"], 100 * mean["worst_class_accuracy"]
    return (
        f"with 900 samples of one class and 100 of the other per chunk, warm is at {accuracy['warm']:.1f}% "
        "against "
        f"{accuracy['cold']:.1f}% for cold, yet at {worst['warm']:.1f}% (guessing) against "
        f"{worst['cold']:.1f}% in the "
        "smaller class."
    )


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
            "|---|---|---|",
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


def test_every_number_about_theory_is_the_committed_one() -> None:
    text = " ".join(README.split())
    for sentence in (creep_sentence(), *forgetting_sentences(), phase_sentence(), beyond_sentence()):
        assert sentence in text, sentence
    assert speed_rows() in README, speed_rows()


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


def difference(table: pd.DataFrame, rule: str, reference: str) -> str:
    """Paired difference of test accuracy in points at the last stage, with its 95% interval."""
    if rule == reference:
        return ""
    row = paired_differences(table, "test_accuracy", reference).set_index("rule").loc[rule]
    mean, low, high = (f"{100 * row[name]:+.1f}".replace("-", "−") for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def ablation_rows() -> list[str]:
    """A row per rule on CIFAR-10 (JPEG): accuracy, differences to cold and DASH, steps after stage 1."""
    table, _ = load_table(ROOT / "figures" / "cifar10" / "rule_ablation.csv")
    rows = table[(table["metric"] == "steps") & (table["stage"] > 1)]
    steps = rows.groupby(["rule", "seed"])["value"].sum().groupby("rule").mean()
    names = (
        ("cold", "cold"),
        ("cold:learning_rate=tuned", "cold, learning rate tuned"),
        ("cold:weight_decay=tuned", "cold, weight decay tuned"),
        ("cold_shrunk", "cold from weights × 0.45"),
        ("warm", "warm"),
        ("sp", "S&P"),
        ("dash", "DASH"),
        ("dash:lam=0.05", "DASH, λ = 0.05"),
        ("uniform", "uniform shrink by DASH's mean"),
        ("permuted", "DASH's factors permuted"),
        ("threshold", "threshold (DASH reversed)"),
    )
    return [
        f"| {label} | {last_stage(table, rule, 'test_accuracy', 1, 100.0)} | {difference(table, rule, 'cold')} | "
        f"{difference(table, rule, 'dash')} | {steps[rule]:,.0f} |".replace("|  |", "| |")
        for rule, label in names
    ]


def test_every_number_about_the_controls_is_the_committed_one() -> None:
    for row in ablation_rows():
        assert row in README, row


def two_layer_rows() -> list[str]:
    """A row per rule: accuracy and memorised noise in two regimes of level 2."""
    tables = [load_table(ROOT / "figures" / f"{name}two_layer_dynamics.csv")[0] for name in ("", "mlp_small/")]
    names = (
        ("cold", "cold"),
        ("warm", "warm"),
        ("sp", "S&P"),
        ("dash", "DASH"),
        ("uniform", "uniform"),
        ("permuted", "permuted"),
        ("ideal", "ideal (oracle)"),
        ("ridge", "ridge on the same samples"),
    )
    rows = []
    for rule, label in names:
        cells = []
        for table, decimals in zip(tables, (1, 2), strict=True):
            cells.append(last_stage(table, rule, "test_accuracy", 1, 100.0))
            cells.append("" if rule == "ridge" else last_stage(table, rule, "noise_norm", decimals))
        rows.append(f"| {label} | {' | '.join(cells)} |".replace("|  |", "| |"))
    return rows


def alpha_lambda_sentence() -> str:
    """How far DASH is from a uniform shrink by its own mean, over the map."""
    points = load_table(ROOT / "figures" / "alpha_lambda_map.csv")[0]
    rows = points[points["rule"].isin(["dash", "uniform"]) & (points["metric"] == "test_accuracy")]
    mean = rows.groupby(["regime", "alpha", "lam", "rule"])["value"].mean().unstack("rule")
    apart = 100 * (mean["dash"] - mean["uniform"])
    low, high = (f"{value:+.1f}".replace("-", "−") for value in (apart.min(), apart.max()))
    return (
        f"over {len(apart)} settings of α and λ in both networks, DASH is {low} to {high} points from a uniform "
        "shrink by its own mean factor"
    )


def regimes_sentence() -> str:
    """Where DASH helps most and hurts most."""
    points = load_table(ROOT / "figures" / "activation_regimes.csv")[0]
    rows = points[points["metric"] == "test_accuracy"]
    mean = 100 * rows.groupby(["map", "q", "y", "rule"])["value"].mean().unstack("rule")
    lost, gained = mean["warm"] - mean["cold"], mean["dash:lam=0.05"] - mean["warm"]
    relu = lost.xs(1.0, level="q")
    ends = [
        f"{value:+.1f}".replace("-", "−") for which in ("init", "threshold") for value in _ends(relu.loc[which])
    ]
    order = gained.sort_values()
    worst, best = order.index.get_level_values("q")[[0, -1]]
    guess = mean["dash:lam=0.05"][order.index].iloc[0]
    return (
        f"in the patch network with the ReLU (q = 1) warm-starting moves accuracy by {ends[0]} to {ends[1]} "
        f"points over four scales of the initialisation, and by {ends[2]} to {ends[3]} over stopping losses "
        f"from 0.2 to 0.01; over both maps DASH's largest gain over warm is {order.iloc[-1]:.1f} points "
        f"(q = {best:g}), its largest loss {-order.iloc[0]:.0f} points (q = {worst:g}), to {guess:.0f}% "
        "(guessing): there it fits its samples by their noise alone"
    )


def _ends(values: pd.Series) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def test_every_number_about_two_layer_networks_is_the_committed_one() -> None:
    text = " ".join(README.split())
    for row in two_layer_rows():
        assert row in README, row
    for sentence in (alpha_lambda_sentence(), regimes_sentence()):
        assert sentence in text, sentence


def phases_sentence() -> str:
    """When right and wrong labels are learned."""
    points = load_table(ROOT / "figures" / "learning_phases.csv")[0]
    wide = 100 * points.groupby(["epoch", "metric"])["value"].mean().unstack("metric")
    turn = int(wide["true_class"].to_numpy().argmax())
    at, end = wide.iloc[turn], wide.iloc[-1]
    return (
        f"after {turn} epochs {at['right_accuracy']:.0f}% of the right labels are fitted and "
        f"{at['wrong_accuracy']:.0f}% of the wrong ones, and the network gives {at['true_class']:.0f}% of the "
        f"wrongly labelled samples their true class; by epoch {len(wide) - 1} it has memorised "
        f"{end['wrong_accuracy']:.0f}% of the wrong labels, and its test accuracy has fallen from "
        f"{wide['test_accuracy'].max():.1f}% to {end['test_accuracy']:.1f}%"
    )


def pretraining_sentence() -> str:
    """What pretraining costs in the end."""
    points = load_table(ROOT / "figures" / "pretraining_epochs.csv")[0]
    rows = points[points["metric"].isin(["test_accuracy", "half_test_accuracy"])]
    mean = 100 * rows.groupby(["metric", "rule", "epochs"])["value"].mean()
    warm, dash = mean["test_accuracy", "warm"], mean["test_accuracy", "dash"]
    best, last, half = warm.idxmax(), warm.index[-1], mean["half_test_accuracy", "warm"]
    return (
        f"from {warm[0.0]:.1f}% without pretraining over {warm[best]:.1f}% after {best:.0f} epochs on half of the "
        f"data to {warm[last]:.1f}% after {last:.0f}; with DASH in between it is at {dash.max():.1f}% after "
        f"{dash.idxmax():.0f} epochs and at {dash[last]:.1f}% after {last:.0f}. (Stopping early is worth as much: "
        f"after {half.idxmax():.0f} epochs on the half alone it is at {half.max():.1f}%.)"
    )


def clamped_sentence() -> str:
    """How many of DASH's entries sit at the floor at the last stage, on both kinds of pictures."""
    shares = []
    for folder in ("cifar10/", ""):
        table, _ = load_table(ROOT / "figures" / f"{folder}rule_ablation.csv")
        rows = table[(table["rule"] == "dash") & (table["metric"] == "share_clamped")]
        shares.append(100 * rows[rows["stage"] == rows["stage"].max()]["value"].mean())
    return f"{shares[0]:.0f}% of the entries that DASH shrinks sit at λ here, {shares[1]:.1f}% on the digits below"


def digits_sentence() -> str:
    """Differences to cold on digits with wrong labels."""
    table, _ = load_table(ROOT / "figures" / "warm_start_images.csv")
    found = {rule: difference(table, rule, "cold") for rule in ("warm", "sp", "dash", "uniform")}
    return (
        f"warm is {found['warm']} points from cold (95% interval), S&P {found['sp']}, DASH {found['dash']} and "
        f"uniform {found['uniform']}"
    )


def test_every_number_about_pictures_and_pretraining_is_the_committed_one() -> None:
    text = " ".join(README.split())
    for sentence in (phases_sentence(), pretraining_sentence(), digits_sentence(), clamped_sentence()):
        assert sentence in text, sentence


def test_the_start_of_gpt_2_is_the_committed_one() -> None:
    table, _ = load_table(ROOT / "figures" / "linear_std_0.02" / "warm_start_text.csv")
    for row in text_rows(table):
        assert row in README, row


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


def paper_sentences() -> tuple[str, str]:
    """Ends of the cut preset, and what DASH leaves of right and wrong labels."""
    found = load_results(ROOT / "paper_repro" / "results" / "cpu" / "cifar10-resnet18-cut.csv")
    assert found.table is not None
    exact = load_results(ROOT / "paper_repro" / "results" / "cpu" / "cifar10-resnet18-cut+precision=float32.csv")
    assert exact.table is not None

    def end(rule: str, table: pd.DataFrame = found.table) -> str:
        row = 100 * summarize_runs(table, 8).loc[rule]
        return f"{row['last_accuracy']:.1f} ± {row['last_accuracy_sd']:.1f}%"

    ends = (
        f"cold ends at {end('cold')}, warm at {end('warm')}, S&P at {end('sp')}, DASH at {end('dash')}, "
        f"its uniform control at {end('uniform')}, and cold with the paper's weight decay and learning rate at "
        f"{end('cold:weight_decay=0.0005:learning_rate=0.1')}. The order among the repaired rules is open: "
        f"the same DASH runs in float32 end at {end('dash', exact.table)}."
    )
    canaries, _ = load_table(ROOT / "paper_repro" / "results" / "cpu" / "cifar10-resnet18-canaries-cut.csv")
    dash = 100 * canaries[canaries["rule"] == "dash"].pivot(index="stage", columns="metric", values="value")
    old, wrong = dash["old_accuracy_reestimated_epoch0"], dash["canary_accuracy_at_start_reestimated"]
    assert (old > wrong).any()
    assert (old.dropna() < wrong.dropna()).any()
    return ends, (
        f"DASH leaves between {old.min():.0f}% and {old.max():.0f}% of all old labels predicted and between "
        f"{wrong.min():.0f}% and {wrong.max():.0f}% of the wrong ones, in some stages more of the right "
        "and in some more of the wrong."
    )


def test_every_number_about_the_paper_s_experiments_is_the_committed_one() -> None:
    for sentence in paper_sentences():
        assert sentence in " ".join(README.split())


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
