"""Numbers of docs/results.md about networks, text and the paper's experiments are the committed ones."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from dashtheory.experiments.effective_step import STEP, Agreement, rank_agreement
from dashtheory.paper import summarize_runs
from dashtheory.paper.report import read_all, render
from dashtheory.record import load_results, load_table, paired_differences
from tests.docs.results_cases import RESULTS, ROOT, difference, last_stage


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
        assert row in RESULTS


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


def step_sentence() -> str:
    """What a larger step alone does, and how far the effective step tells the order."""
    table, _ = load_table(ROOT / "figures" / "effective_step.csv")
    last = table[(table["metric"] == STEP) & (table["stage"] == table["stage"].max())]
    steps = last.groupby("rule")["value"].mean()
    assert steps.idxmin() == "warm"
    repaired = ("sp", "dash", "uniform", "rewarm", "rewarm:momentum=scaled")
    every, among = (rank_agreement(table, rules) for rules in ((), repaired))

    def words(found: Agreement) -> str:
        return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]".replace("-", "−")

    def minus(rule: str, reference: str) -> str:
        return difference(table, rule, reference)

    return (
        "On scikit-learn's digits with right labels (a narrow ResNet, 5 chunks of 100, "
        f"{len(every.by_seed)} seeds) it ends {minus('rewarm', 'warm')} points from warm and "
        f"{minus('rewarm', 'cold')} from cold (95% "
        f"intervals); from it DASH is {minus('dash', 'rewarm')}, S&P {minus('sp', 'rewarm')} and uniform "
        f"{minus('uniform', 'rewarm')}. Effective steps at the start of the last stage run from {steps.min():.4f} "
        f"(warm) to {steps.max():.2f}; their rank correlation with accuracy over the eight rules, within a seed, "
        f"is {words(every)}, and over the five that enlarge the step of a trained network {words(among)}"
    )


def test_every_number_about_effective_steps_is_the_committed_one() -> None:
    assert step_sentence() in " ".join(RESULTS.split()), step_sentence()


def test_every_number_about_pictures_and_pretraining_is_the_committed_one() -> None:
    text = " ".join(RESULTS.split())
    for sentence in (phases_sentence(), pretraining_sentence(), digits_sentence(), clamped_sentence()):
        assert sentence in text, sentence


@pytest.mark.parametrize(
    ("folder", "rules"),
    [("", ("warm", "sp", "dash")), ("embedding_std_1/", ("sp", "dash")), ("linear_std_0.02/", ("sp", "dash"))],
)
def test_how_rules_stand_to_cold_on_text(folder: str, rules: tuple[str, ...]) -> None:
    table, _ = load_table(ROOT / "figures" / f"{folder}warm_start_text.csv")
    names = {"warm": "warm is {} from cold", "sp": "S&P {}", "dash": "DASH {}"}
    words = ", ".join(names[rule].format(difference(table, rule, "cold")) for rule in rules)
    assert words in " ".join(RESULTS.split()), words


def test_the_start_of_gpt_2_is_the_committed_one() -> None:
    table, _ = load_table(ROOT / "figures" / "linear_std_0.02" / "warm_start_text.csv")
    for row in text_rows(table):
        assert row in RESULTS, row


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
        f"the network after DASH still predicts between {old.min():.0f}% and {old.max():.0f}% of all old labels "
        f"and between {wrong.min():.0f}% and {wrong.max():.0f}% of the wrong ones. In some stages it keeps more "
        "of all, in some more of the wrong"
    )


def test_every_number_about_the_paper_s_experiments_is_the_committed_one() -> None:
    for sentence in paper_sentences():
        assert sentence in " ".join(RESULTS.split())


def test_direction_shows_where_the_results_say() -> None:
    table, _ = load_table(ROOT / "figures" / "direction.csv")
    found = {}
    for other in ("warm", "norm_matched", "permuted", "uniform"):
        rows = paired_differences(table, "test_accuracy", other)
        for row in rows[rows["rule"] == "dash"].to_dict("records"):
            found[other, row["setting"]] = (row["mean"], row["low"], row["high"])
    controls = {place: one for place, one in found.items() if place[0] != "warm"}
    apart = [place for place, (_, low, high) in controls.items() if low > 0 or high < 0]
    assert len(controls) == 15
    assert apart == [(other, "blocks=2") for other in ("norm_matched", "permuted", "uniform")]

    def words(other: str, setting: str) -> str:
        mean, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in found[other, setting])
        return f"{mean} [{low}, {high}]"

    text = " ".join(RESULTS.split())
    assert (
        f"DASH is {words('norm_matched', 'blocks=2')} points from its norms alone, "
        f"{words('permuted', 'blocks=2')} from its factors permuted and {words('uniform', 'blocks=2')} from one "
        "factor for all."
    ) in text
    assert f"DASH is {words('warm', 'base')} points from warm" in text


def test_the_page_of_the_paper_s_experiments_is_what_the_tables_give() -> None:
    page = (ROOT / "paper_repro" / "RESULTS.md").read_text()
    assert page == render(read_all(ROOT / "paper_repro" / "results"))
    for picture in re.findall(r"\]\((figures/[^)]+)\)", page):
        assert (ROOT / "paper_repro" / picture).exists()
