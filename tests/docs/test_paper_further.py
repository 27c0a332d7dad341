"""What the page says of the stages that one seed went on to in the paper's setting is what the table holds."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from dashtheory.paper.figure import furthest
from dashtheory.paper.published import PUBLISHED
from dashtheory.record import load_table
from tests.docs.results_cases import RESULTS, ROOT, measured

TEXT = " ".join(RESULTS.split())
TABLE = furthest(load_table(ROOT / "paper_repro" / "results" / "cpu" / "cifar10-resnet18.csv")[0])
(SEED,) = set(TABLE["seed"])
BEST = "cold:learning_rate=0.1:weight_decay=0.0005"
END, STEPS, EPOCHS = (
    {(rule, stage): value for (rule, _, stage), value in measured(TABLE, metric, scale).items()}
    for metric, scale in (("test_accuracy", 100), ("steps", 1), ("epochs", 1))
)


def end(rule: str, stage: int = 10) -> str:
    return f"{END[rule, stage]:.1f}%"


def signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def lead(over: str, stage: int) -> str:
    return signed(END["dash", stage] - END[over, stage])


def authors(rule: str) -> list[str]:
    wanted = ("cifar10-resnet18", rule, "test_accuracy", 10)
    return [
        f"{100 * one.value:.1f}%" for one in PUBLISHED if (one.preset, one.rule, one.metric, one.stage) == wanted
    ]


def listed(values: list[str]) -> str:
    *first, last = values
    return f"{', '.join(first)} and {last}" if first else last


def rank(values: Sequence[float]) -> str:
    """Correlation of DASH's epochs by stage, from the second on."""
    found = stats.spearmanr(values, [EPOCHS["dash", stage] for stage in range(2, 11)]).statistic
    return f"{found:+.2f}".replace("-", "−")


LATE = [stage for stage in range(6, 11) if ("uniform", stage) in END]
"""Stages after the fifth that one factor for all was run to."""


def sentences() -> list[str]:
    (theirs,) = authors("cold")
    growing = {rule: listed([end(rule, stage) for stage in LATE]) for rule in ("uniform", "dash")}
    apart = listed([lead("uniform", stage) for stage in LATE])
    lefts = [1000 * stage % 128 for stage in range(2, 11)]
    epochs = [f"{EPOCHS['dash', stage]:.0f}" for stage in range(6, 11)]
    words = [
        f"*To stage 10, with seed {SEED} alone.* After stage 10 cold is at {end('cold')} (the authors' run "
        f"{theirs}) and DASH at {end('dash')}, {lead('cold', 10)} points, where it is {lead('cold', 5)} after "
        "stage 5 of this seed.",
        f"One factor for all is at {growing['uniform']} after stages {LATE[0]} to {LATE[-1]}, DASH at "
        f"{growing['dash']}: {apart} points.",
        f"DASH trains {listed(epochs)} epochs in stages 6 to 10, cold {EPOCHS['cold', 10]:.0f} in stage 10.",
        "How long a stage lasts goes with the size of its last batch rather than with the stage: over stages 2 to "
        f"10 DASH's epochs have rank correlation {rank(lefts)} with it and {rank(range(2, 11))} with the stage "
        f"(batches of 128 leave {listed([str(left) for left in lefts])} pictures).",
        f"Stage 5, where most of what is compared here ends, has the smallest, {lefts[3]} pictures, and at least "
        "twice the epochs of any other stage of this run: it is not like those after it.",
    ]
    if (BEST, 10) in END:
        words.insert(
            1,
            f"The best cold start is at {end(BEST)}: DASH is {lead(BEST, 10)} points from it ({lead(BEST, 5)} "
            f"after stage 5), on {STEPS['dash', 10]:,.0f} steps of that stage where it takes "
            f"{STEPS[BEST, 10]:,.0f}.",
        )
    return words


def test_the_stages_that_one_seed_went_on_to() -> None:
    for words in sentences():
        assert words in TEXT, words
    assert EPOCHS["dash", 5] >= 2 * max(EPOCHS["dash", stage] for stage in range(1, 11) if stage != 5)
    assert END["dash", 10] - END["cold", 10] > END["dash", 5] - END["cold", 5] + 3  # "grows"
    assert all(abs(END["dash", stage] - END["uniform", stage]) < 1.1 for stage in (5, *LATE))  # "about a point"
