"""What the pages say of three seeds in the paper's setting is what the table holds."""

from __future__ import annotations

from typing import Any

from dashtheory.paper.repeats import dash_minus, points
from dashtheory.record import holm, load_table, paired_differences
from tests.docs.results_cases import RESULTS, ROOT, measured

TEXT = " ".join(RESULTS.split())
RUNS, _ = load_table(ROOT / "paper_repro" / "results" / "cpu" / "cifar10-resnet18.csv")
BEST = "cold:learning_rate=0.1:weight_decay=0.0005"
THREE = ("warm", "cold", BEST, "sp", "uniform", "permuted")
FOUND: dict[tuple[str, int], dict[str, Any]] = {
    (line["rule"], line["stage"]): line
    for line in ({str(name): value for name, value in one.items()} for one in dash_minus(RUNS).to_dict("records"))
}
ACCURACY = measured(RUNS, "test_accuracy", 100)


def interval(rule: str, stage: int) -> str:
    line = FOUND[rule, stage]
    return f"{points(line['mean'])} [{points(line['low'])}, {points(line['high'])}]"


def lead(rule: str, *stages: int) -> str:
    *first, last = (points(FOUND[rule, stage]["mean"]) for stage in stages)
    return f"{', '.join(first)} and {last}"


def each(rule: str, stage: int) -> str:
    *first, last = (points(value) for value in FOUND[rule, stage]["differences"])
    return f"{', '.join(first)} and {last}"


def mean(rule: str, stage: int) -> float:
    return sum(ACCURACY[rule, seed, stage] for seed in range(3)) / 3


HOLM = dict(zip(FOUND, holm([float(line["p"]) for line in FOUND.values()]), strict=True))


LAST = RUNS[(RUNS["stage"] == 5) & RUNS["rule"].isin(["warm", "cold"])]
COLDER = paired_differences(LAST, "test_accuracy", "cold").iloc[0]
"""Warm minus cold."""


NAMES = {
    "warm": "warm",
    "cold": "cold",
    BEST: "the best cold start",
    "sp": "S&P",
    "uniform": "one factor",
    "permuted": "random places",
}


def colder() -> str:
    mean, low, high = (points(float(COLDER[name])) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def told() -> str:
    """Which contrasts of the table are told from zero, in words."""
    stages = {rule: [str(s) for one, s in HOLM if one == rule and HOLM[one, s] < 0.05] for rule in THREE}
    words = [
        f"{NAMES[rule]} (stage{'s' * (len(found) > 1)} {', '.join(found)})"
        for rule, found in stages.items()
        if found
    ]
    *first, last = words
    return f"those with {', '.join(first)} and {last} are told from zero"


def test_three_seeds_are_of_seven_rules() -> None:
    assert {rule for rule, stage in FOUND if stage == 5} == set(THREE)
    assert {line["n"] for line in FOUND.values()} == {3}
    assert "seven rules with three seeds, all others with one" in TEXT
    others = RUNS[~RUNS["rule"].isin(["dash", *THREE])]
    assert set(others["seed"]) == {0}


def test_what_is_left_of_the_lead() -> None:
    ends = {rule: f"{mean(rule, 5):.1f}%" for rule in ("dash", *THREE)}
    for words in (
        f"*Three seeds.* After stage 5 warm is at {ends['warm']}, cold at {ends['cold']}, S&P at {ends['sp']}, "
        f"the best cold start at {ends[BEST]}, one factor for all at {ends['uniform']}, DASH at {ends['dash']}, "
        f"its factors at random places at {ends['permuted']} (means).",
        f"Warm is {colder()} points from cold, DASH {interval('cold', 5)}, {interval('sp', 5)} from S&P "
        f"({each('sp', 5)}), {interval(BEST, 5)} from the best cold start ({each(BEST, 5)}), "
        f"{interval('uniform', 5)} from one factor ({each('uniform', 5)}) and "
        f"{interval('permuted', 5)} from random places ({each('permuted', 5)}).",
        f"after stages 2, 3 and 4 by {lead('uniform', 2, 3, 4)} points of one factor and by "
        f"{lead('permuted', 2, 3, 4)} of random places. Of the {len(HOLM)} contrasts in the table {told()} after "
        "Holm's correction.",
    ):
        assert words in TEXT, words
    assert COLDER["high"] < 0  # "told from zero as single contrasts"
    for rule in ("warm", "cold"):  # "is sure"
        assert FOUND[rule, 5]["low"] > 0
    assert all(one >= 0.0195 for one in FOUND["sp", 5]["differences"])  # "of two points or more in each seed"
    assert FOUND["sp", 5]["low"] > 0
    assert HOLM["sp", 5] > 0.05  # "as single contrasts"
    for rule in (BEST, "uniform", "permuted"):  # "cannot be told from nothing; nor is a point or two excluded"
        assert FOUND[rule, 5]["low"] < 0 < 0.01 < FOUND[rule, 5]["high"]
    for rule in ("uniform", "permuted"):  # "Early it is ahead"
        assert all(FOUND[rule, stage]["mean"] > 0 for stage in (2, 3, 4))
