"""What the page says of batches that leave no small last one is what the tables hold."""

from __future__ import annotations

from statistics import mean

from dashtheory.record import load_table
from tests.docs.results_cases import RESULTS, ROOT, measured, rows_not_asked

PLACE = '<a id="paper_batches"></a>'
SECTION = next((part for part in RESULTS.split("\n## ") if PLACE in part), "")
TEXT = " ".join(SECTION.split())
FOLDER = ROOT / "paper_repro" / "results" / "cpu"
EVEN, USUAL = (
    load_table(FOLDER / f"{name}.csv")[0] for name in ("cifar10-resnet18+batch_size=125", "cifar10-resnet18")
)
ENDS, USUAL_ENDS = (measured(table, "test_accuracy", 100) for table in (EVEN, USUAL))
EPOCHS, USUAL_EPOCHS = (measured(table, "epochs") for table in (EVEN, USUAL))
NAMES = {"dash": "DASH", "uniform": "one factor for all", "permuted": "random places"}
RULES = {seed: [rule for rule in NAMES if (rule, seed, 5) in ENDS] for seed in (0, 1, 2)}
"""Rules that were run to stage 5, by seed."""

Ends = dict[tuple[str, int, int], float]


def listed(values: list[str]) -> str:
    *first, last = values
    return f"{', '.join(first)} and {last}" if first else last


def lead(ends: Ends, other: str, seed: int, stage: int = 5) -> str:
    return f"{ends['dash', seed, stage] - ends[other, seed, stage]:+.1f}".replace("-", "−")


def epochs(seed: int) -> str:
    counts = [f"{EPOCHS[one, seed, 5]:.0f}, not {USUAL_EPOCHS[one, seed, 5]:.0f}" for one in RULES[seed]]
    others = [f", {NAMES[one]} {count}" for one, count in zip(RULES[seed][1:], counts[1:], strict=True)]
    return f"DASH trains {counts[0].replace(',', ' epochs in stage 5,')}{''.join(others)}"


def ends(values: Ends, seed: int) -> str:
    return listed([f"{values[one, seed, 5]:.1f}%" for one in RULES[seed]])


def leads(seed: int) -> str:
    return listed(
        [
            f"{lead(ENDS, one, seed)} points from {NAMES[one]} (with batches of 128 {lead(USUAL_ENDS, one, seed)})"
            for one in RULES[seed][1:]
        ]
    )


def sentences() -> list[str]:
    early = listed(
        [
            f"{', '.join(lead(ENDS, one, 2, stage) for stage in (2, 3, 4))} from {NAMES[one]}"
            for one in RULES[2][1:]
        ]
    )
    small = listed([f"{stage}" for stage in range(1, 51) if 0 < 1000 * stage % 128 <= 8])
    words = [
        f"It is the batch. With seed 2 {epochs(2)}: about as many as in the stages before.",
        f"All end higher, at {ends(ENDS, 2)} ({ends(USUAL_ENDS, 2)} with batches of 128), DASH, which the small "
        "batch held up longest, by most.",
        f"With this seed it decides who is ahead: after stage 5 DASH is {leads(2)}; after stages 2 to 4 {early}.",
        f"(Of the paper's fifty stages {small} leave so small a batch.)",
    ]
    means = [
        f"{mean(one['dash', seed, 5] - one['uniform', seed, 5] for seed in (0, 2)):+.1f}"
        for one in (ENDS, USUAL_ENDS)
    ]
    return [
        *words,
        f"With seed 0 {epochs(0)}; they end at {ends(ENDS, 0)} ({ends(USUAL_ENDS, 0)}): DASH is {leads(0)}.",
        f"In the mean over both DASH is {means[0]} points from one factor for all, where it was {means[1]}.",
    ]


def fools() -> list[str]:
    first, usual = ENDS["dash", 2, 1], USUAL_ENDS["dash", 2, 1]
    least = min(1000 * stage % 256 for stage in range(1, 6))
    return [
        f"Other batches alone move an end by some tenths of a point or more (after stage 1 {first:.1f}%, not "
        f"{usual:.1f}%).",
        f"(VGG-16's batches of 256 leave at least {least} pictures in these stages.)",
    ]


def test_the_small_batch_held_training_up() -> None:
    assert (RULES[2], RULES[0]) == (list(NAMES), ["dash", "uniform"])
    leads_by_seed = [
        [one["dash", seed, 5] > one["uniform", seed, 5] for seed in (0, 2)] for one in (ENDS, USUAL_ENDS)
    ]
    assert leads_by_seed == [[False, True], [True, False]]  # "turns both round"
    for words in (*sentences(), *fools()):
        assert words in TEXT, words
    for seed, rules in RULES.items():
        for rule in rules:
            assert EPOCHS[rule, seed, 5] < USUAL_EPOCHS[rule, seed, 5]
            assert ENDS[rule, seed, 5] > USUAL_ENDS[rule, seed, 5]  # "all end higher"
            before = [EPOCHS[rule, seed, stage] for stage in range(1, 5)]
            assert min(before) <= EPOCHS[rule, seed, 5] <= max(before)  # "about as many as"
    gains = {rule: ENDS[rule, 2, 5] - USUAL_ENDS[rule, 2, 5] for rule in NAMES}
    held = {rule: USUAL_EPOCHS[rule, 2, 5] for rule in NAMES}
    assert max(gains, key=gains.__getitem__) == max(held, key=held.__getitem__) == "dash"
    steps = [
        measured(table, "steps")["dash", 2, 5] / one["dash", 2, 5]
        for table, one in ((EVEN, EPOCHS), (USUAL, USUAL_EPOCHS))
    ]
    assert steps == [40, 40]


def test_the_commands_make_every_row() -> None:
    assert rows_not_asked(SECTION, EVEN, "--batch-size 125") == []


if __name__ == "__main__":
    print(" ".join(sentences()), *fools(), sep="\n")  # noqa: T201
