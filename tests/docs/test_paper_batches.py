"""What the page says of batches that leave no small last one is what the tables hold."""

from __future__ import annotations

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
NAMES = {"dash": "DASH", "uniform": "one factor for all", "permuted": "DASH's factors at random places"}
PAIRS = sorted({(rule, seed) for rule, seed, stage in ENDS if stage == 5}, key=lambda pair: (pair[1], pair[0]))


def lead(ends: dict[tuple[str, int, int], float], other: str, seed: int, stage: int = 5) -> str:
    return f"{ends['dash', seed, stage] - ends[other, seed, stage]:+.1f}".replace("-", "−")


def seeds(other: str) -> list[int]:
    """With which both DASH and another rule were run."""
    return [seed for seed in (0, 1, 2) if ("dash", seed) in PAIRS and (other, seed) in PAIRS]


def sentences() -> list[str]:
    words = []
    for rule, name in NAMES.items():
        for seed in (seed for one, seed in PAIRS if one == rule):
            place = (rule, seed, 5)
            words.append(
                f"{name} with seed {seed} takes {EPOCHS[place]:.0f} epochs in stage 5 (with batches of 128 "
                f"{USUAL_EPOCHS[place]:.0f}) and ends at {ENDS[place]:.1f}% ({USUAL_ENDS[place]:.1f}%)"
            )
    for other in ("uniform", "permuted"):
        words += [
            f"DASH is {lead(ENDS, other, seed)} points from {NAMES[other]} with seed {seed} "
            f"(with batches of 128 {lead(USUAL_ENDS, other, seed)})"
            for seed in seeds(other)
        ]
    return words


if __name__ == "__main__":
    print("; ".join(sentences()))  # noqa: T201
