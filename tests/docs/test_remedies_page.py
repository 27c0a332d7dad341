"""What docs/remedies.md says was found is what the committed comparison holds."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from dashtheory.command.remedy_results import compared, kept_results
from dashtheory.experiments.remedies import STREAM_NAMES
from dashtheory.experiments.remedy_scores import TUNED
from dashtheory.experiments.remedy_tables import at_ends, best_remedy, findings, render
from tests.docs.results_cases import ROOT

PAGE = " ".join((ROOT / "docs" / "remedies.md").read_text(encoding="utf-8").split())
FOLDER = ROOT / "figures" / "remedies"
KEPT = kept_results(FOLDER)
STREAMS = {one.name: one for one in compared(KEPT)}
HALF = STREAMS["half"]


def row(stream: str, rule: str, arm: str = TUNED) -> pd.Series[float]:
    scores = STREAMS[stream].scores
    (found,) = (one for _, one in scores[(scores["rule"] == rule) & (scores["arm"] == arm)].iterrows())
    return found


def minus(stream: str, rule: str, reference: str = "warm", arm: str = TUNED) -> str:
    found = row(stream, rule, arm)
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(
        *(found[f"{part}_{reference}"] for part in ("mean", "low", "high"))
    ).replace("-", "−")


def test_the_tables_are_those_of_the_results() -> None:
    assert (FOLDER / "TABLES.md").read_text(encoding="utf-8") == render(list(STREAMS.values()))


def test_what_was_not_run_is_named() -> None:
    missing = [name for name in STREAM_NAMES if name not in STREAMS]
    said = re.search(r"Not run yet: ([^.]*)\.", PAGE)
    assert (said is None) == (not missing)
    if said is not None:
        assert re.findall(r"`(\w+)`", said[1]) == missing


@pytest.mark.parametrize("stream", STREAMS)
def test_counts_of_the_finding(stream: str) -> None:
    one = STREAMS[stream]
    warm, cold = findings(one, "warm"), findings(one, "cold")
    total = sum(map(len, warm.values()))
    said = (
        f"| `{stream}` | {total} | {len(warm['better'])} | {len(warm['worse'])} | {len(cold['better'])} "
        f"| {len(cold['worse'])} |"
    )
    assert said in PAGE


def test_numbers_of_the_finding() -> None:
    for said in (
        f"({minus('cifar10', 'aid', 'cold')} points, a regulariser",
        f"Muon after a start with wrong labels ({minus('wrong_first', 'muon', 'cold')})",
        f"that are put right ({minus('wrong_first', 'dash')} points from warm)",
        f"gains as much ({minus('wrong_first', 'uniform')})",
        f"with no weight touched ({minus('wrong_first', 'rewarm')})",
        f"it does harm ({minus('half', 'dash')}; S&P {minus('half', 'sp')})",
        f"a tuned cold start is {minus('half', 'cold')} points from warm",
        f"it is {minus('half', 'dash', 'left')}, {minus('wrong_first', 'dash', 'left')} and "
        f"{minus('cifar10', 'dash', 'left')} points from its norms",
    ):
        assert said in PAGE
    assert {name: findings(one, "cold")["better"] for name, one in STREAMS.items()} == {
        "half": [],
        "wrong_first": ["muon"],
        "cifar10": ["aid"],
    }
    assert best_remedy(STREAMS["wrong_first"]) == "dash"
    ends = at_ends(HALF)
    said = f"{ends['smallest step size']} of {len(HALF.choices)} rules are best with the smallest step size of the"
    assert f"{said} grid and {ends['largest weight decay']} with the largest weight decay" in PAGE


def test_numbers_of_the_predictions() -> None:
    for said in (
        f"({minus('half', 'ewc')} points with wrong labels",
        f"{minus('cifar10', 'ewc')} on CIFAR-10)",
        f"({minus('wrong_first', 'mas')} and {minus('wrong_first', 'lwf')}), EWC there does not "
        f"({minus('wrong_first', 'ewc')})",
        f"its norms alone ({minus('wrong_first', 'fire', 'left')} and {minus('cifar10', 'fire', 'left')})",
        f"that its authors propose ({minus('wrong_first', 'hare_tortoise')})",
    ):
        assert said in PAGE
    for stream in ("wrong_first", "cifar10"):
        (fire,) = (choice for choice in STREAMS[stream].choices if choice.remedy.rule == "fire")
        assert fire.values["steps"] == 5
