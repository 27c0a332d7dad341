"""What docs/beyond.md says of agents is what the committed table holds."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pandas as pd

from dashtheory.record import load_table, paired_differences
from tests.docs.results_cases import ROOT

SECTION = " ".join((ROOT / "docs" / "beyond.md").read_text().split("## Reinforcement learning")[1].split())
NAMES = {
    "a full reset": "cold",
    "S&P": "sp",
    "DASH": "dash",
    "DASH's factors permuted": "permuted",
    "its norms alone": "norm_matched",
    "tuned weight decay": "warm:weight_decay=tuned",
    "ReDo": "redo",
    "a new optimizer": "warm_rm",
    "random actions alone": "explore",
}


def interval(row: Any, scale: float, decimals: int = 0) -> str:
    ends = (f"{scale * row[end]:+.{decimals}f}".replace("-", "−") for end in ("mean", "low", "high"))
    mean, low, high = (re.sub(r"^[+−](0(\.0+)?)$", r"\1", end) for end in ends)
    return f"{mean} [{low}, {high}]"


@cache
def agents() -> pd.DataFrame:
    return load_table(ROOT / "figures" / "primacy_bias.csv")[0]


def acrobot() -> pd.DataFrame:
    table = agents()
    return table[table["environment"] == "acrobot"].drop(columns=["epsilon", "replay_ratio"])


def test_differences_on_acrobot() -> None:
    found = paired_differences(acrobot(), "episode_return", "warm").set_index("rule")
    for name, rule in NAMES.items():
        words = f"{name} {interval(found.loc[rule], 1)}"
        assert words in SECTION or words.replace(name, f"{name} is") in SECTION, words


def test_how_many_agents_stay_low_on_acrobot() -> None:
    table = acrobot()
    last = table[(table["metric"] == "episode_return") & (table["stage"] == table["stage"].max())]
    low = last.assign(low=last["value"] < -350).groupby("rule")["low"].sum()
    assert f"{low['warm']} of 20 primed agents stay below −350" in SECTION
    assert not low[["cold", "reset_last", "sp", "dash", "permuted"]].any()
    assert (
        f"{low['norm_matched']} after DASH's norms alone, {low['warm:weight_decay=tuned']} with tuned weight "
        f"decay, {low['redo']} after ReDo, {low['warm_rm']} with a new optimizer, {low['explore']} after random "
        "actions alone"
    ) in SECTION


def test_every_interval_is_one_of_the_table() -> None:
    table, possible = agents(), set()
    lake = table[table["environment"] == "lake"].drop(columns="environment")
    parts = [(acrobot(), "episode_return", 1.0)]
    for (_, _), here in lake.groupby(["epsilon", "replay_ratio"]):
        parts.append((here.drop(columns=["epsilon", "replay_ratio"]), "success_after_switch", 100.0))
    for here, metric, scale in parts:
        for reference in set(here["rule"]):
            for _, row in paired_differences(here, metric, reference).iterrows():
                possible.add(interval(row, scale))
    told = [words for words in re.findall(r"[+−]?\d+ \[[^\]]*\]", SECTION) if "." not in words]
    assert len(told) > 30
    assert set(told) <= possible, set(told) - possible
