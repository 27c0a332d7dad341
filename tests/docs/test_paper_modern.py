"""What the page says of a recipe of today is what the tables hold."""

from __future__ import annotations

import re

from dashtheory.record import load_table
from tests.docs.results_cases import RESULTS, ROOT

(SECTION,) = (part for part in RESULTS.split("\n## ") if '<a id="paper_modern"></a>' in part)
TEXT = " ".join(SECTION.split())
FOLDER = ROOT / "paper_repro" / "results" / "cpu"
RUNS, _ = load_table(FOLDER / "cifar10-resnet18-modern.csv")
LONG, _ = load_table(FOLDER / "cifar10-resnet18-modern+anneal=45+max_epochs=45.csv")
PAPER, _ = load_table(FOLDER / "cifar10-resnet18.csv")
Place = tuple[str, int, int]


def measured(table, metric: str) -> dict[Place, float]:  # type: ignore[no-untyped-def]
    """By rule, seed and stage."""
    rows = table[table["metric"] == metric][["rule", "seed", "stage", "value"]].to_numpy()
    return {(rule, seed, stage): value for rule, seed, stage, value in rows}


ENDS = {place: 100 * value for place, value in measured(RUNS, "test_accuracy").items()}
FITTED = {place: 100 * value for place, value in measured(RUNS, "train_accuracy").items()}


def test_a_cold_start_with_as_many_pictures_ends_where_warm_does() -> None:
    cold = 100 * measured(LONG, "test_accuracy")["cold", 0, 5]
    epochs = measured(LONG, "epochs")["cold", 0, 5]
    assert all(value == 15 for value in measured(RUNS, "epochs").values())
    pictures = sum(15 * 1000 * stage for stage in range(1, 6))
    assert pictures == 5000 * epochs
    for words in (
        f"warm ends at {ENDS['warm', 0, 5]:.1f}%, and a cold start that sees as many pictures in stage 5 alone as "
        f"warm in all five ({epochs:.0f} epochs, {pictures:,} pictures) at {cold:.1f}%.",
        f"(With 15 epochs cold is at {ENDS['cold', 0, 5]:.1f}%, but has fitted {FITTED['cold', 0, 5]:.0f}% of its "
        "data.)",
    ):
        assert words in TEXT, words
    assert abs(cold - ENDS["warm", 0, 5]) < 0.2


def test_shrinking_costs() -> None:
    dash, uniform, warm = (ENDS[rule, 0, 5] for rule in ("dash", "uniform", "warm"))
    fitted = {rule: f"{FITTED[rule, 0, 5]:.0f}%" for rule in ("dash", "uniform", "warm")}
    assert f"DASH ends at {dash:.1f}%, one factor for all at {uniform:.1f}%." in TEXT
    assert (
        f"They come to {fitted['dash']} and {fitted['uniform']} of the data in the 15 epochs in which warm comes "
        f"to {fitted['warm']}"
    ) in TEXT
    assert max(dash, uniform) < warm - 1
    old = 100 * measured(PAPER, "test_accuracy")["dash", 0, 5]
    epochs = measured(PAPER, "epochs")
    seen = sum(1000 * stage * epochs["dash", 0, stage] for stage in range(1, 6))
    assert f"ahead of DASH with the paper's recipe ({old:.1f}% on {seen:,.0f})" in TEXT
    assert min(dash, uniform, warm) > old
    assert max(FITTED.values()) < 75  # "no rule fits its data"


def test_early_a_shrink_is_ahead() -> None:
    two, three = ([ENDS[rule, 0, stage] for rule in ("uniform", "warm")] for stage in (2, 3))
    assert f"one factor for all is ahead of warm ({two[0]:.1f}%, {two[1]:.1f}%)," in TEXT
    assert f"at stage 3 level (both {three[0]:.1f}%)" in TEXT
    assert f"{three[0]:.1f}" == f"{three[1]:.1f}"


def test_the_commands_make_every_row() -> None:
    (first,) = re.findall(r"cifar10-resnet18-modern --rules (\S+) --seeds 1 --stages 5`", SECTION)
    more = re.findall(r"`--rules (\S+) --seeds 2`", SECTION)
    assert "`--rules cold --stages 2,5` and `--rules cold --stages 1,5 --max-epochs 45 --anneal 45`" in TEXT
    for seed, rules in ((0, f"{first},cold"), (1, ",".join(more))):
        assert {str(rule) for rule in RUNS.loc[RUNS["seed"] == seed, "rule"]} == set(rules.split(","))
    assert {(rule, seed) for rule, seed, _ in measured(LONG, "epochs")} == {("cold", 0)}
