"""What a comparison of remedies says: scores by arm, differences paired by seed, what controls leave of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dashtheory._spec import split_text
from dashtheory.experiments.equal_tuning import Choice, chosen_text
from dashtheory.experiments.remedies import CONTROLS, StreamSetting
from dashtheory.record import holm, paired_differences
from dashtheory.rules.spec import TRAINING_OPTIONS, parse_spec

TUNED, PUBLISHED, NORMS = "tuned", "published", "norms alone"
"""Arms of a rule: numbers chosen by trials; published defaults at the stream's own step size, without decay; and
the tuned rule's norms without its directions, trained as it is. Tuned arms and norms alone are compared with the
tuned warm and cold start, published ones with theirs."""
REFERENCES = ("warm", "cold")
NUMBERS = ("last", "mean", "steps", "rule_share", "seconds", "rule_bytes", "optimizer_bytes", "unconverged")
"""What is known of every run."""
CLAMPED = "share_clamped"
"""What is known of runs of DASH and its kin."""
IS_CONTROL = frozenset(split_text(text)[0] for text in CONTROLS)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to run a rule.

    Attributes:
        rule: the rule's text, as remedies are known by.
        arm: `TUNED`, `PUBLISHED` or `NORMS`.
        text: what is run.
    """

    rule: str
    arm: str
    text: str


def arms_of(choice: Choice, setting: StreamSetting) -> list[Arm]:
    """The arms of a rule; two of them may run the same text."""
    rule, tuned = choice.remedy.rule, chosen_text(choice, setting)
    found = [Arm(rule=rule, arm=TUNED, text=tuned), Arm(rule=rule, arm=PUBLISHED, text=rule)]
    norms = _norms_alone(tuned)
    return [*found, Arm(rule=rule, arm=NORMS, text=norms)] if norms else found


def _norms_alone(tuned: str) -> str:
    """The control that leaves each tensor the norm of the rule; empty where there is none.

    Controls have none of their own; nor have rules that do not change weights in place, or begin anew.
    """
    from dashtheory.rules.rule import InPlace

    spec = parse_spec(tuned)
    if spec.name in IS_CONTROL or spec.name not in spec.registry:
        return ""
    rule = spec.make()
    if not isinstance(rule, InPlace) or set(rule.acts) != {"between"}:
        return ""
    trained = [part for part in split_text(tuned)[1] if part.partition("=")[0] in TRAINING_OPTIONS]
    parts = (spec.name, *(part for part in split_text(tuned)[1] if part not in trained))
    options: dict[str, object] = {"of": "+".join(parts) if len(parts) > 1 else spec.name}
    if rule.optimizer != "kept":
        options["optimizer"] = rule.optimizer
    return ":".join(["norm_matched", *(f"{name}={value}" for name, value in options.items()), *trained])


def runs_of(table: pd.DataFrame, setting: StreamSetting) -> pd.DataFrame:
    """A row per text and seed: `NUMBERS`, and `share_clamped` of rules that report it; whole runs alone.

    Args:
        table: tidy table of the runs of a stream.
        setting: of the stream.

    Returns:
        rule and seed as index; `last` and `mean` (over stages) of the setting's metric; `steps` of all stages;
        `rule_share`, seconds of the rule between stages as a share of those of training; bytes at the last stage;
        `share_clamped`, of entries whose factor is the smallest that is allowed, mean over stages.
    """
    wide = table.pivot_table(index=["rule", "seed", "stage"], columns="metric", values="value")
    groups = wide.groupby(level=["rule", "seed"])
    whole = groups.size() == setting.stages
    found = pd.DataFrame(
        {
            "last": groups[setting.metric].last(),
            "mean": groups[setting.metric].mean(),
            "steps": groups["steps"].sum(),
            "rule_share": groups["rule_seconds"].sum() / groups["train_seconds"].sum(),
            "seconds": groups["rule_seconds"].sum() + groups["train_seconds"].sum(),
            "rule_bytes": groups["rule_bytes"].last(),
            "optimizer_bytes": groups["optimizer_bytes"].last(),
            "unconverged": groups["converged"].agg(lambda values: int((values == 0).sum())),
            CLAMPED: groups[CLAMPED].mean() if CLAMPED in wide else math.nan,
        }
    )
    return found[whole]


def score_table(runs: pd.DataFrame, arms: Sequence[Arm], setting: StreamSetting) -> pd.DataFrame:
    """A row per arm: means over seeds, and differences to the tuned warm and cold starts, paired by seed.

    Published arms are compared with the published warm and cold start. Differences are signed so that more is
    better, and scaled as the setting says; intervals are Student's t of the paired difference, each by itself;
    `holm_warm` and `holm_cold` are p-values of the paired t-test, corrected for all rules of the arm by Holm's
    method. `..._left` is the tuned arm minus that of its norms alone.

    `step_ratio` is the time of a step as a multiple of that of the reference of the arm, both of the seed in which
    it was least, `more_bytes` what rule and optimizer keep beyond the reference's optimizer. `idle` says whether
    scores and steps are those of the reference in every run.

    Args:
        runs: of `runs_of`.
        arms: that are wanted; those without whole runs are left out.
        setting: of the stream.
    """
    seeds = runs.index.get_level_values("seed").nunique()
    there = [arm for arm in arms if (runs.index.get_level_values("rule") == arm.text).sum() == seeds]
    by_arm = {(arm.rule, arm.arm): arm.text for arm in there}
    rows = []
    for arm in there:
        mine = runs[runs.index.get_level_values("rule") == arm.text]
        means = {str(name): float(mine[name].mean()) for name in mine.columns}
        row: dict[str, Any] = {"rule": arm.rule, "arm": arm.arm, "text": arm.text, "n": seeds, **means}
        alike = PUBLISHED if arm.arm == PUBLISHED else TUNED
        for reference in REFERENCES:
            row |= _difference(runs, arm.text, by_arm.get((reference, alike), arm.text), setting, reference)
        if ("warm", alike) in by_arm:
            warm = runs[runs.index.get_level_values("rule") == by_arm["warm", alike]]
            row |= _beside_warm(mine, warm)
        if arm.arm == TUNED:
            row |= _difference(runs, arm.text, by_arm.get((arm.rule, NORMS), arm.text), setting, "left")
        rows.append(row)
    for reference in REFERENCES:
        _correct_(rows, reference)
    return pd.DataFrame(rows)


def _beside_warm(mine: pd.DataFrame, warm: pd.DataFrame) -> dict[str, Any]:
    """What the runs of a rule cost beside those of warm, and whether they are the same."""
    step, of_warm = (one["seconds"] / (1 + one["rule_share"]) / one["steps"] for one in (mine, warm))
    more = mine["rule_bytes"].mean() + mine["optimizer_bytes"].mean() - warm["optimizer_bytes"].mean()
    same = [one.sort_index()[["last", "mean", "steps"]].to_numpy() for one in (mine, warm)]
    idle = bool((same[0] == same[1]).all())
    return {"step_ratio": float(step.min() / of_warm.min()), "more_bytes": float(more), "idle": idle}


def _correct_(rows: Sequence[dict[str, Any]], reference: str) -> None:
    """Add Holm's correction over the rules of each arm."""
    for arm in (TUNED, PUBLISHED, NORMS):
        mine = [row for row in rows if row["arm"] == arm and f"p_{reference}" in row]
        for row, value in zip(mine, holm([row[f"p_{reference}"] for row in mine]), strict=True):
            row[f"holm_{reference}"] = value


def _difference(
    runs: pd.DataFrame, text: str, reference: str, setting: StreamSetting, name: str
) -> dict[str, Any]:
    """Mean, interval and p-value of one paired difference; nothing of a text to itself."""
    if text == reference:
        return {}
    rows = [
        {"level": "deep", "experiment": "remedies", "rule": rule, "seed": seed, "stage": 1, "metric": "score"}
        | {"value": setting.sign * setting.scale * value}
        for rule in (text, reference)
        for seed, value in runs.loc[rule]["last"].items()
    ]
    (found,) = paired_differences(pd.DataFrame(rows), "score", reference).to_dict("records")
    return {f"{part}_{name}": found[part] for part in ("mean", "low", "high", "p")}
