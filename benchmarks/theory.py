"""Speed of batches and of theory: thousands of simulations in one call, and closed forms in place of them.

    python -m benchmarks.theory [--quick] [--out benchmarks/results]

Run from the root of the repository. Three comparisons, each side by side in one run after a warm-up call, on one
thread but where a row says otherwise. Before a batch is timed, every simulation of it is checked against
`simulate` on the same data. Writes OUT/theory.json.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.discrete import circumstances, repeated
from benchmarks.script import write_record
from dashtheory.discrete import (
    DISCRETE_RULES,
    Batch,
    draw_data,
    expected_accuracy,
    paper_probabilities,
    sample_packed,
    simulate,
    simulate_batch,
)
from dashtheory.parallel import usable_cores
from dashtheory.seeds import numpy_stream
from dashtheory.theory import population, warm_chain, warm_law


@dataclass(frozen=True, kw_only=True)
class Work:
    """One amount of work in the paper's setting: C = 2, K = 50, gamma a tenth of a class's chunk, tau = 3."""

    num_simulations: int
    per_class_chunk_size: int = 500  # samples of each class in a chunk: N / C
    num_stages: int = 50
    repeats: int = 5

    @property
    def gamma(self) -> float:
        """Count that teaches a feature."""
        return self.per_class_chunk_size / 10


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one call measures."""

    batch: Work
    limit: Work
    large: Work
    creep: Work


FULL = Plan(
    batch=Work(num_simulations=64),
    limit=Work(num_simulations=1),
    large=Work(num_simulations=1, per_class_chunk_size=50_000, repeats=3),
    creep=Work(num_simulations=20, num_stages=1000, repeats=3),
)
QUICK = Plan(
    batch=Work(num_simulations=4, num_stages=4, repeats=2),
    limit=Work(num_simulations=1, num_stages=4, repeats=2),
    large=Work(num_simulations=1, per_class_chunk_size=2000, num_stages=4, repeats=1),
    creep=Work(num_simulations=3, num_stages=20, repeats=2),
)


def worlds(work: Work) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """Feature probabilities (C, K) of each simulation."""
    return [paper_probabilities(numpy_stream(seed, "probabilities")) for seed in range(work.num_simulations)]


def one_at_a_time(work: Work) -> list[Any]:
    """From seed to accuracy of the last stage, simulation by simulation, all rules."""
    found = []
    for seed, p in enumerate(worlds(work)):
        data = sample_packed(p, work.per_class_chunk_size * work.num_stages, numpy_stream(seed, "data"))
        for rule in DISCRETE_RULES:
            run = simulate(data, work.per_class_chunk_size, gamma=work.gamma, rule=rule)
            found.append(expected_accuracy(run.learned[-1], p, 3))
    return found


def in_one_batch(work: Work, *, every_stage: bool, num_threads: int) -> Batch:
    """The same in one call."""
    return simulate_batch(
        np.stack(worlds(work)),
        work.per_class_chunk_size,
        work.num_stages,
        seeds=range(work.num_simulations),
        gamma=work.gamma,
        stages=range(1, work.num_stages + 1) if every_stage else None,
        num_threads=num_threads,
    )


def require_equal(work: Work, batch: Batch) -> None:
    """Stop unless every simulation of the batch is what `simulate` does with the same data."""
    for seed, p in enumerate(worlds(work)):
        data = draw_data(p, work.per_class_chunk_size * work.num_stages, seed)
        for place, rule in enumerate(DISCRETE_RULES):
            for label, samples in enumerate(data):
                run = simulate(samples, work.per_class_chunk_size, gamma=work.gamma, rule=rule)
                if not np.array_equal(batch.learned[seed, place, :, label], run.learned[:, 0]):
                    raise RuntimeError("a batch and simulate differ on the same data; times would mean nothing")


def limit_of_all_rules(work: Work) -> list[Any]:
    """Learned sets, accuracy, memorised and active samples after every stage, without sampling."""
    return [
        population(p, work.per_class_chunk_size, work.num_stages, gamma=work.gamma, rule=rule)
        for p in worlds(work)
        for rule in DISCRETE_RULES
    ]


def simulation_of_all_rules(work: Work) -> list[Any]:
    """The same from a simulation of one seed."""
    found = []
    for seed, p in enumerate(worlds(work)):
        data = sample_packed(p, work.per_class_chunk_size * work.num_stages, numpy_stream(seed, "data"))
        for rule in DISCRETE_RULES:
            run = simulate(data, work.per_class_chunk_size, gamma=work.gamma, rule=rule)
            found.append((run, expected_accuracy(run.learned, p, 3), run.num_memorized))
    return found


def compare(work: Work, contenders: dict[str, Callable[[], object]]) -> list[dict[str, Any]]:
    """Times of each contender on the same work; ratios of medians to the first."""
    rows: list[dict[str, Any]] = []
    for name, function in contenders.items():
        function()  # warm-up
        seconds = repeated(function, work.repeats)
        rows.append(
            {
                "name": name,
                "work": asdict(work),
                "seconds_min": min(seconds),
                "seconds_median": statistics.median(seconds),
                "seconds_max": max(seconds),
                "simulations_per_second": work.num_simulations / statistics.median(seconds),
                "ratio_to_first": 1.0,
            }
        )
        rows[-1]["ratio_to_first"] = rows[-1]["seconds_median"] / rows[0]["seconds_median"]
        print(
            f"{name:<58}{rows[-1]['seconds_median']:10.4f} s{rows[-1]['ratio_to_first']:10.1f} x first", flush=True
        )
    return rows


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them as they come."""
    plan, cores = QUICK if quick else FULL, usable_cores()
    record = {"quick": quick, **circumstances()}
    require_equal(plan.batch, in_one_batch(plan.batch, every_stage=True, num_threads=1))
    batch = compare(
        plan.batch,
        {
            "batch, last stage, 1 thread": lambda: in_one_batch(plan.batch, every_stage=False, num_threads=1),
            f"batch, last stage, {cores} threads": lambda: in_one_batch(
                plan.batch, every_stage=False, num_threads=cores
            ),
            "batch, every stage, 1 thread": lambda: in_one_batch(plan.batch, every_stage=True, num_threads=1),
            "one at a time": lambda: one_at_a_time(plan.batch),
        },
    )
    limits = {
        name: compare(
            work,
            {
                f"population limit, N = {2 * work.per_class_chunk_size:,}": partial(limit_of_all_rules, work),
                f"one simulation, N = {2 * work.per_class_chunk_size:,}": partial(simulation_of_all_rules, work),
            },
        )
        for name, work in (("limit", plan.limit), ("large", plan.large))
    }
    return {**record, "batch": batch, **limits, "creep": measure_creep(plan.creep)}


def measure_creep(work: Work) -> list[dict[str, Any]]:
    """Warm over many stages of one world: law, exact chain, and simulation of as many learners."""
    p = worlds(work)[0]
    size, stages, gamma, learners = work.per_class_chunk_size, work.num_stages, work.gamma, work.num_simulations

    def chain() -> object:
        generator = np.random.default_rng(0)
        return warm_chain(p, size, stages, gamma=gamma, num_chains=learners, generator=generator, stages=[stages])

    def samples() -> object:
        return simulate_batch(
            p, size, stages, seeds=range(learners), gamma=gamma, rules=["warm"], stages=[stages], num_threads=1
        )

    return compare(
        work,
        {
            f"mean-field law, {stages} stages": lambda: warm_law(p, size, stages, gamma=gamma),
            f"exact chain, {learners} learners": chain,
            f"batch of simulations, {learners} learners": samples,
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/theory.json."""
    write_record("theory", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
