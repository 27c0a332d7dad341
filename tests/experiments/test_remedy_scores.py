"""Arms of a rule and their scores, against hand-made tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from dashtheory.experiments.equal_tuning import Choice, advanced, next_trials
from dashtheory.experiments.remedies import CONTROLS, REMEDIES, StreamSetting, read_remedy, stream_settings
from dashtheory.experiments.remedy_scores import NORMS, PUBLISHED, TUNED, arms_of, runs_of, score_table
from dashtheory.experiments.remedy_tables import Compared, at_ends, best_remedy, findings, render
from dashtheory.record import make_table, stage_rows
from dashtheory.rules.spec import parse_spec

SETTING = stream_settings(["half"])["half"]


def tuned(text: str, best: str = "") -> Choice:
    choice = Choice(remedy=read_remedy(text))
    while trials := next_trials(choice, SETTING):
        choice = advanced(choice, SETTING, {one: float(one == best) for one in trials})
    return choice


def table(values: Mapping[str, list[float]], *, stages: int = 2) -> pd.DataFrame:
    """The score of each rule, by seed; half of it at the stage before."""
    return make_table(
        row
        for rule, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
        for stage in range(1, stages + 1)
        for row in stage_rows(
            level="deep",
            experiment="x",
            rule=rule,
            seed=seed,
            stage=stage,
            metrics={
                "test_accuracy": value * stage / stages,
                "steps": 10.0 * stage,
                "converged": 1.0,
                "rule_seconds": 1.0,
                "train_seconds": 4.0,
                "rule_bytes": 8.0,
                "optimizer_bytes": 16.0,
            },
        )
    )


def row_of(scores: pd.DataFrame, rule: str, arm: str) -> dict[str, Any]:
    (row,) = scores[(scores["rule"] == rule) & (scores["arm"] == arm)].to_dict("records")
    return {str(name): value for name, value in row.items()}


VALUES = {
    "warm": [0.5, 0.6, 0.55],
    "cold": [0.6, 0.7, 0.67],
    "sp": [0.7, 0.75, 0.8],
    "norm_matched:of=sp": [0.65, 0.72, 0.7],
}
CHOICES = [tuned(text) for text in ("warm", "cold", "sp:shrink=0.1/0.3/0.6")]
ARMS = [arm for choice in CHOICES for arm in arms_of(choice, SETTING)]


def test_scores_are_means_and_paired_differences() -> None:
    scores = score_table(runs_of(table(VALUES), SETTING), ARMS, SETTING)
    row = row_of(scores, "sp", TUNED)
    assert row["last"] == pytest.approx(0.75)
    assert row["mean"] == pytest.approx(0.75 * 0.75)
    assert (row["steps"], row["rule_share"], row["rule_bytes"], row["n"]) == (30, 0.25, 8, 3)
    for name, other in (("warm", "warm"), ("cold", "cold"), ("left", "norm_matched:of=sp")):
        test = stats.ttest_rel([100 * one for one in VALUES["sp"]], [100 * one for one in VALUES[other]])
        interval = test.confidence_interval()
        found = [row[f"{part}_{name}"] for part in ("low", "high", "p")]
        assert found == pytest.approx([interval.low, interval.high, test.pvalue])
        differences = [100 * (one - two) for one, two in zip(VALUES["sp"], VALUES[other], strict=True)]
        assert row[f"mean_{name}"] == pytest.approx(sum(differences) / 3)
    assert math.isnan(row_of(scores, "warm", TUNED)["mean_warm"])
    assert math.isnan(row_of(scores, "sp", PUBLISHED)["mean_left"])


def test_p_values_are_corrected_over_the_rules_of_an_arm() -> None:
    scores = score_table(runs_of(table(VALUES), SETTING), ARMS, SETTING)
    mine = scores[scores["arm"] == TUNED].set_index("rule")
    low, high = sorted(mine["p_warm"].dropna())
    assert sorted(mine["holm_warm"].dropna()) == pytest.approx([2 * low, max(2 * low, high)])


def test_of_a_loss_less_is_better() -> None:
    setting = StreamSetting(title="", config=SETTING.config, sign=-1)
    scores = score_table(runs_of(table(VALUES), setting), ARMS, setting)
    assert row_of(scores, "sp", TUNED)["mean_warm"] == pytest.approx(-20)


def test_a_rule_without_all_of_its_runs_is_left_out_and_named() -> None:
    partial = table({**VALUES, "cold": VALUES["cold"][:2]})
    scores = score_table(runs_of(partial, SETTING), ARMS, SETTING)
    assert set(scores["rule"]) == {"warm", "sp"}
    text = render([Compared(name="half", setting=SETTING, choices=CHOICES, refused={}, scores=scores)])
    assert "- `cold`: not all of its runs ended" in text
    half = table({"warm": VALUES["warm"], "sp": VALUES["sp"]})
    unfinished = half[(half["rule"] != "sp") | (half["stage"] == 1)]
    assert set(score_table(runs_of(unfinished, SETTING), ARMS, SETTING)["rule"]) == {"warm"}


def test_what_is_told_is_told_after_correction() -> None:
    scores = score_table(runs_of(table(VALUES), SETTING), ARMS, SETTING)
    one = Compared(name="half", setting=SETTING, choices=CHOICES, refused={}, scores=scores)
    corrected = scores[(scores["rule"] == "sp") & (scores["arm"] == TUNED)]["holm_warm"].item()
    kind = "better" if corrected <= 0.05 else "not told"
    assert findings(one, "warm")[kind] == ["sp"]
    scores.loc[scores["rule"] == "sp", "holm_warm"] = 0.2
    assert findings(one, "warm") == {"better": [], "worse": [], "not told": ["sp"]}


@pytest.mark.parametrize("text", [*REMEDIES, *CONTROLS])
def test_arms_can_be_run_and_controls_have_no_control(text: str) -> None:
    arms = {arm.arm: arm.text for arm in arms_of(tuned(text), SETTING)}
    for one in arms.values():
        parse_spec(one).make()
    if text in CONTROLS or "loss" in parse_spec(read_remedy(text).rule).rule.acts:
        assert set(arms) == {TUNED, PUBLISHED}


def test_norms_alone_are_those_of_the_tuned_rule_trained_as_it() -> None:
    arms = {arm.arm: arm.text for arm in arms_of(tuned("fire:steps=5/10/20"), SETTING)}
    assert arms[NORMS] == "norm_matched:of=fire:optimizer=renewed"
    values = {"shrink": 0.6, "learning_rate": 0.06}
    choice = Choice(remedy=read_remedy("sp:shrink=0.1/0.3/0.6"), values=values, done=True)
    arms = {arm.arm: arm.text for arm in arms_of(choice, SETTING)}
    assert arms == {
        TUNED: "sp:shrink=0.6:learning_rate=0.06",
        PUBLISHED: "sp",
        NORMS: "norm_matched:of=sp+shrink=0.6:learning_rate=0.06",
    }


def test_a_rule_that_does_nothing_is_not_told_and_counts() -> None:
    scores = score_table(runs_of(table({**VALUES, "sp": VALUES["warm"]}), SETTING), ARMS, SETTING)
    one = Compared(name="half", setting=SETTING, choices=CHOICES, refused={}, scores=scores)
    assert findings(one, "warm") == {"better": [], "worse": [], "not told": ["sp"]}
    assert "| 1 | 0 | 0 | 0 | " in render([one])


def test_the_summary_names_the_best_remedy_and_what_lies_at_the_ends_of_grids() -> None:
    scores = score_table(runs_of(table(VALUES), SETTING), ARMS, SETTING)
    one = Compared(name="half", setting=SETTING, choices=CHOICES, refused={}, scores=scores)
    row = row_of(scores, "sp", TUNED)
    assert best_remedy(one) == "sp"
    assert f"| S&P: {row['mean_warm']:+.1f} [" in render([one])
    low = tuned("sp:shrink=0.1/0.3/0.6", "sp:learning_rate=0.0006")
    assert low.values["learning_rate"] == 0.0006
    high = tuned("warm", "warm:learning_rate=0.06")
    ends = at_ends(Compared(name="half", setting=SETTING, choices=[low, high], refused={}, scores=scores))
    assert (ends["smallest step size"], ends["largest step size"]) == (1, 1)
