"""What the course says in words of committed tables holds for these tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dashtheory.record import load_results, load_table, paired_differences

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def paper() -> Mapping[str, float]:
    """Accuracy (per cent) by rule at the last stage of the paper's own setting, as far as it was run."""
    table = load_results(ROOT / "paper_repro" / "results" / "cpu" / "cifar10-resnet18.csv").table
    assert table is not None
    rows = table[(table["metric"] == "test_accuracy") & (table["stage"] == table["stage"].max())]
    return {str(rule): 100 * float(mean) for rule, mean in rows.groupby("rule")["value"].mean().items()}


def test_notebook_1_warm_is_last_and_cold_as_the_paper_trains_it_next_to_last(paper: Mapping[str, float]) -> None:
    assert sorted(paper, key=paper.__getitem__)[:2] == ["warm", "cold"]


def test_notebook_1_most_of_the_lead_is_a_larger_step_and_nearly_all_one_factor(
    paper: Mapping[str, float],
) -> None:
    lead = paper["dash"] - paper["cold"]
    assert paper["cold:learning_rate=0.1"] - paper["cold"] > 0.6 * lead
    assert paper["uniform"] - paper["cold"] > 0.85 * lead
    assert paper["permuted"] - paper["cold"] > 0.85 * lead
    assert 0.5 < paper["dash"] - max(paper["uniform"], paper["permuted"]) < 1.5  # "about a point"


def test_notebook_5_cold_and_warm_are_below_the_larger_step_and_shrinking_rules_are_not_told_from_it() -> None:
    table, _ = load_table(ROOT / "figures" / "effective_step.csv")
    beside = paired_differences(table, "test_accuracy", "rewarm")
    ends = zip(beside["rule"], beside["low"].tolist(), beside["high"].tolist(), strict=True)
    intervals = {rule: (100 * low, 100 * high) for rule, low, high in ends}
    for rule in ("cold", "warm"):
        assert intervals[rule][1] < 0
    for rule in ("dash", "sp", "uniform"):
        low, high = intervals[rule]
        assert -2.5 < low < 0 < high < 2.5  # "a point or two"


def test_notebook_5_norms_fall_under_shrinking_and_rise_under_the_larger_step() -> None:
    table, _ = load_table(ROOT / "figures" / "effective_step.csv")

    def mean(metric: str, rule: str, stage: int) -> float:
        chosen = (table["metric"] == metric) & (table["rule"] == rule) & (table["stage"] == stage)
        return float(table.loc[chosen, "value"].mean())

    def growth(metric: str, rule: str) -> float:
        return mean(metric, rule, 5) / mean(metric, rule, 1)

    for rule in ("dash", "sp", "uniform", "rewarm"):
        assert growth("effective_step_at_start", rule) > 10
        assert (growth("weight_norm_at_start", rule) < 0.5) != (rule == "rewarm")
    assert growth("weight_norm_at_start", "rewarm") > 2
    for rule in ("cold", "warm"):
        assert growth("weight_norm_at_start", rule) == pytest.approx(1, rel=0.1)
        assert growth("effective_step_at_start", rule) == pytest.approx(1, rel=0.1)
    last = {str(rule): mean("test_accuracy", str(rule), 5) for rule in set(table["rule"])}
    assert set(sorted(last, key=last.__getitem__)[:2]) == {"cold", "warm"}
