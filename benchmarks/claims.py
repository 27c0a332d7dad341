"""How often the claims of `dashtheory.theory.claims` fail: in random universes, and on sampled chunks.

    python -m benchmarks.claims [--quick] [--out benchmarks/results]

Not a measure of speed: a survey whose numbers docs/theory.md quotes. Random universes: up to 3 classes, 5
features, 6 combinations with up to 6 copies each, 5 stages, tau up to 3, gamma uniform up to one more than all
samples. Sampled chunks: one class, up to 5 features with probabilities uniform on [0, 1], 2 to 20 samples per
chunk, 2 to 5 stages, gamma uniform up to two chunks, tau up to 3. Writes OUT/claims.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.discrete import circumstances
from benchmarks.script import write_record
from dashtheory.discrete import DISCRETE_RULES, sample_features, simulate
from dashtheory.seeds import numpy_stream
from dashtheory.theory import CLAIMS, Universe

SEED = 0


def random_universe(generator: np.random.Generator) -> Universe:
    """A universe of the kind described above."""
    num_classes, num_features, num_rows = (int(generator.integers(1, top + 1)) for top in (3, 5, 6))
    copies = generator.integers(0, 7, size=(num_classes, num_rows))
    copies[:, 0] = np.maximum(copies[:, 0], 1)  # no class without samples
    num_stages = int(generator.integers(1, 6))
    return Universe(
        combinations=generator.random((num_classes, num_rows, num_features)) < 0.5,
        copies=copies,
        num_stages=num_stages,
        gamma=int(generator.integers(1, num_stages * int(copies.sum()) + 2)),
        tau=int(generator.integers(1, 4)),
    )


def survey_universes(number: int) -> dict[str, Any]:
    """Failures of every claim about universes, and in how many universes its assumptions are met."""
    generator = numpy_stream(SEED, "universes")
    fails: Counter[str] = Counter()
    applies: Counter[str] = Counter()
    long = Counter[int]()
    for _ in range(number):
        universe = random_universe(generator)
        long.update(stages for stages in (3, 4) if universe.num_stages >= stages)
        for name, claim in CLAIMS.items():
            if claim.about is Universe:
                verdict = claim.check(universe)
                applies[name] += verdict.applies
                fails[name] += not verdict.holds
    return {
        "number": number,
        "with_3_stages_or_more": long[3],
        "with_4_stages_or_more": long[4],
        "applies": dict(applies),
        "fails": dict(fails),
    }


def survey_samples(number: int) -> dict[str, Any]:
    """On how many sampled streams each conclusion fails."""
    generator = numpy_stream(SEED, "samples")
    fails: Counter[str] = Counter()
    for _ in range(number):
        num_features, size, num_stages = (int(generator.integers(*span)) for span in ((1, 6), (2, 21), (2, 6)))
        p = generator.random((1, num_features))
        data = sample_features(p, size * num_stages, generator)
        gamma, tau = int(generator.integers(1, 2 * size + 1)), int(generator.integers(1, 4))
        cold, warm, ideal = (
            simulate(data, size, gamma=gamma, tau=tau, rule=rule).learned for rule in DISCRETE_RULES
        )
        fails["warm_stops"] += bool((warm != warm[0]).any())
        fails["cold_equals_ideal"] += bool((cold != ideal).any())
        fails["warm_in_ideal"] += bool((warm & ~ideal).any())
        fails["cold_grows"] += bool((cold[:-1] & ~cold[1:]).any())
    return {"number": number, "fails": dict(fails)}


def survey(*, quick: bool) -> dict[str, Any]:
    """Both surveys, printed and returned."""
    numbers = (200, 100) if quick else (20_000, 5_000)
    found = {"universes": survey_universes(numbers[0]), "samples": survey_samples(numbers[1])}
    for part, counts in found.items():
        print(f"{part}: {counts['number']:,}")
        for name, fails in counts["fails"].items():
            print(f"  {name:<46} fails in {fails:6d} = {100 * fails / counts['number']:.1f}%")
    return {"quick": quick, "seed": SEED, **circumstances(), **found}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, survey, and write OUT/claims.json."""
    write_record("claims", __doc__ or "", survey, arguments)


if __name__ == "__main__":
    main()
