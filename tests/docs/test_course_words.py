"""What the course says in words of committed tables holds for these tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dashtheory.record import load_results, load_table, paired_differences

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def paper() -> pd.Series:
    """Accuracy (per cent) by rule at the last stage of the paper's own setting, as far as it was run."""
    table = load_results(ROOT / "paper_repro" / "results" / "cpu" / "cifar10-resnet18.csv").table
    rows = table[(table["metric"] == "test_accuracy") & (table["stage"] == table["stage"].max())]
    return 100 * rows.groupby("rule")["value"].mean()


def test_notebook_1_warm_is_last_and_cold_as_the_paper_trains_it_next_to_last(paper: pd.Series) -> None:
    assert list(paper.sort_values().index[:2]) == ["warm", "cold"]


def test_notebook_1_most_of_the_lead_is_a_larger_step_and_nearly_all_one_factor(paper: pd.Series) -> None:
    lead = paper["dash"] - paper["cold"]
    assert paper["cold:learning_rate=0.1"] - paper["cold"] > 0.6 * lead
    assert paper["uniform"] - paper["cold"] > 0.85 * lead
    assert paper["permuted"] - paper["cold"] > 0.85 * lead
    assert 0.5 < paper["dash"] - max(paper["uniform"], paper["permuted"]) < 1.5  # "about a point"


def test_notebook_5_cold_and_warm_are_below_the_larger_step_and_shrinking_rules_are_not_told_from_it() -> None:
    table, _ = load_table(ROOT / "figures" / "effective_step.csv")
    beside = paired_differences(table, "test_accuracy", "rewarm").set_index("rule")
    assert (beside.loc[["cold", "warm"], "high"] < 0).all()
    for rule in ("dash", "sp", "uniform"):
        assert beside.loc[rule, "low"] < 0 < beside.loc[rule, "high"]
        assert 100 * max(-beside.loc[rule, "low"], beside.loc[rule, "high"]) < 2.5  # "a point or two"


def test_notebook_5_norms_fall_under_shrinking_and_rise_under_the_larger_step() -> None:
    table, _ = load_table(ROOT / "figures" / "effective_step.csv")
    wide = {
        metric: table[table["metric"] == metric].pivot_table(index="rule", columns="stage", values="value")
        for metric in ("weight_norm_at_start", "effective_step_at_start", "test_accuracy")
    }
    norm, step, accuracy = wide.values()
    for rule in ("dash", "sp", "uniform"):
        assert norm.loc[rule, 5] < norm.loc[rule, 1] / 2
        assert step.loc[rule, 5] > 10 * step.loc[rule, 1]
    assert norm.loc["rewarm", 5] > 2 * norm.loc["rewarm", 1]
    assert step.loc["rewarm", 5] > 10 * step.loc["rewarm", 1]
    for rule in ("cold", "warm"):
        assert norm.loc[rule, 5] == pytest.approx(norm.loc[rule, 1], rel=0.1)
        assert step.loc[rule, 5] == pytest.approx(step.loc[rule, 1], rel=0.1)
    assert set(accuracy[5].sort_values().index[:2]) == {"cold", "warm"}
