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
from dashtheory.experiments.remedy_tables import (
    Compared,
    at_ends,
    best_remedy,
    findings,
    idle_rules,
    render,
    told_over_all,
)
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
                "optimizer_bytes": 16.0 + 4 * (rule == "sp"),
                **({"share_clamped": 0.25 * stage} if rule == "sp" and stage > 1 else {}),
            },
        )
    )


def row_of(scores: pd.DataFrame, rule: str, arm: str) -> dict[str, Any]:
    (row,) = scores[(scores["rule"] == rule) & (scores["arm"] == arm)].to_dict("records")
    return {str(name): value for name, value in row.items()}


def scale_(runs: pd.DataFrame, place: tuple[str, int], column: str, factor: float) -> None:
    """Multiply a number of the run of a rule and seed."""
    runs.loc[place, column] = factor * float(runs[column].loc[place])


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


def test_published_arms_are_compared_with_published_references() -> None:
    """Here warm is tuned to another step size, and cold is not."""
    choices = [tuned("warm", "warm:learning_rate=0.06"), *CHOICES[1:]]
    arms = [arm for choice in choices for arm in arms_of(choice, SETTING)]
    values = {**VALUES, "warm:learning_rate=0.06": [0.52, 0.66, 0.6]}
    scores = score_table(runs_of(table(values), SETTING), arms, SETTING)
    for arm, reference in (
        (TUNED, "warm:learning_rate=0.06"),
        (PUBLISHED, "warm"),
        (NORMS, "warm:learning_rate=0.06"),
    ):
        mine = values["norm_matched:of=sp" if arm == NORMS else "sp"]
        differences = [100 * (one - two) for one, two in zip(mine, values[reference], strict=True)]
        assert row_of(scores, "sp", arm)["mean_warm"] == pytest.approx(sum(differences) / 3)
    assert math.isnan(row_of(scores, "warm", PUBLISHED)["mean_warm"])


def test_costs_are_those_of_the_seed_that_was_fastest_and_beyond_warm_s_optimizer() -> None:
    runs = runs_of(table(VALUES), SETTING)
    scale_(runs, ("sp", 1), "seconds", 0.5)  # of which a fifth is the rule's
    scale_(runs, ("warm", 2), "seconds", 0.4)
    scale_(runs, ("warm", 0), "steps", 0.5)
    row = row_of(score_table(runs, ARMS, SETTING), "sp", TUNED)
    assert row["step_ratio"] == pytest.approx(0.5 / 0.4)
    assert row["more_bytes"] == 8 + 20 - 16
    assert row["share_clamped"] == 0.5
    assert math.isnan(row_of(score_table(runs, ARMS, SETTING), "warm", TUNED)["share_clamped"])


def test_a_rule_whose_defaults_do_nothing_is_named() -> None:
    same = {**VALUES, "sp": VALUES["warm"]}
    for runs, named in ((runs_of(table(same), SETTING), ["sp"]), (runs_of(table(VALUES), SETTING), [])):
        scores = score_table(runs, ARMS, SETTING)
        one = Compared(name="half", setting=SETTING, choices=CHOICES, refused={}, scores=scores)
        assert idle_rules(one) == named
        assert ("these did nothing here" in render([one])) == bool(named)
    other = runs_of(table(same), SETTING)
    scale_(other, ("sp", 0), "steps", 2)
    scores = score_table(other, ARMS, SETTING)
    assert idle_rules(Compared(name="", setting=SETTING, choices=CHOICES, refused={}, scores=scores)) == []


def test_over_all_streams_p_values_are_corrected_at_once() -> None:
    scores = score_table(runs_of(table(VALUES), SETTING), ARMS, SETTING)
    streams = [
        Compared(name=name, setting=SETTING, choices=CHOICES, refused={}, scores=scores.copy())
        for name in ("a", "b")
    ]
    for one, (warm, cold, of_cold) in zip(streams, ((0.009, 0.9, 0.03), (0.004, 0.01, 0.6)), strict=True):
        mine = one.scores["arm"] == TUNED
        one.scores.loc[mine & (one.scores["rule"] == "sp"), ["p_warm", "p_cold"]] = warm, cold
        one.scores.loc[mine & (one.scores["rule"] == "cold"), "p_warm"] = of_cold
    # six p-values: .004 x 6 passes, .009 x 5 passes, .01 x 4 passes; .03 x 3 does not, and is a reference's anyway
    assert told_over_all(streams) == {"warm": {"a": ["sp"], "b": ["sp"]}, "cold": {"b": ["sp"]}}
    streams[1].scores.loc[streams[1].scores["rule"] == "sp", "p_cold"] = 0.013
    assert told_over_all(streams)["cold"] == {}
    assert "at once: better than warm 1 on `a`, 1 on `b`; better than cold none." in render(streams)


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


def test_a_warm_up_is_of_the_training_and_a_warm_start_with_one_is_a_remedy() -> None:
    choice = Choice(remedy=read_remedy("sp:warmup_epochs=4:shrink=0.1/0.3/0.6"), values={"shrink": 0.6}, done=True)
    arms = {arm.arm: arm.text for arm in arms_of(choice, SETTING)}
    assert arms[TUNED] == "sp:warmup_epochs=4:shrink=0.6"
    assert arms[NORMS] == "norm_matched:of=sp+shrink=0.6:warmup_epochs=4"
    named = [arm for name in ("warm:warmup_epochs=4", "warm", "cold") for arm in arms_of(tuned(name), SETTING)]
    values = {**VALUES, "warm:warmup_epochs=4": VALUES["sp"]}
    choices = [tuned("warm:warmup_epochs=4"), *CHOICES[:2]]
    scores = score_table(runs_of(table(values), SETTING), named, SETTING)
    one = Compared(name="half", setting=SETTING, choices=choices, refused={}, scores=scores)
    assert best_remedy(one) == "warm:warmup_epochs=4"


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
    assert (ends["smallest step size"], ends["largest step size"], ends["end of some grid"]) == (1, 1, 2)
