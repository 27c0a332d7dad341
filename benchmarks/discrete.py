"""Speed of the exact simulator of level 1, beside plain numpy and the naive oracle of the tests.

    python -m benchmarks.discrete [--quick] [--out benchmarks/results]

Run from the root of the repository. Every contender gets the same data and must return the same result, order of
learning included, before any time is written. All of them run on one thread. Compilation is measured apart, in
a fresh process with an empty cache; all other times are taken after a warm-up call. Writes OUT/discrete.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import simulate_with_numpy
from dashtheory.discrete import (
    DISCRETE_RULES,
    Simulation,
    paper_probabilities,
    sample_features,
    sample_packed,
    simulate,
    test_accuracy,
)
from dashtheory.record import machine, versions, writable_folder, write_text
from tests.oracles.discrete import OracleRun, simulate_with_sets

ROOT = Path(__file__).resolve().parents[1]
Result = TypeVar("Result")
Contender = Callable[..., Simulation | OracleRun]


# --------------------------------------------------------------------------------------------- settings


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One amount of work."""

    num_classes: int = 2  # C
    num_features: int = 50  # K
    per_class_chunk_size: int = 500  # samples of each class in a chunk: N / C
    num_stages: int = 50  # J
    gamma: int = 50
    tau: int = 3
    rules: tuple[str, ...] = DISCRETE_RULES
    num_seeds: int = 1
    num_test: int = 5000  # test samples per class

    @property
    def num_samples(self) -> int:
        """Samples per class, n."""
        return self.per_class_chunk_size * self.num_stages

    def __str__(self) -> str:
        """One line for the table."""
        size = f"C={self.num_classes} K={self.num_features} N={self.num_classes * self.per_class_chunk_size}"
        return f"{size} J={self.num_stages}, {'/'.join(self.rules)}, seeds: {self.num_seeds}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one call of the script measures."""

    paper: Setting  # ours alone
    numpy: Setting  # ours beside plain numpy
    oracle: Setting  # ours beside the naive oracle
    big: Setting  # one run on packed data, in a process of its own
    repeats: int  # of the short measurements


FULL = Plan(
    paper=Setting(num_seeds=10),
    numpy=Setting(),
    oracle=Setting(num_stages=25),
    big=Setting(num_features=200, per_class_chunk_size=50_000, rules=("cold",)),
    repeats=5,
)
QUICK = Plan(
    paper=Setting(num_stages=4, num_seeds=2, num_test=500),
    numpy=Setting(num_stages=4),
    oracle=Setting(num_stages=2, per_class_chunk_size=200, gamma=20),
    big=Setting(num_features=70, per_class_chunk_size=1000, num_stages=3, rules=("cold",)),
    repeats=2,
)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Wall times of one contender on one setting, and how they compare with ours on the same work."""

    name: str
    setting: Setting
    seconds: Sequence[float]
    ours: Measurement | None = None

    @property
    def ratio(self) -> float | None:
        """Median time over the median time of ours on the same work; None for ours itself."""
        if self.ours is None:
            return None
        return statistics.median(self.seconds) / statistics.median(self.ours.seconds)

    def summary(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.name,
            "setting": asdict(self.setting),
            "repeats": len(self.seconds),
            "seconds_min": min(self.seconds),
            "seconds_median": statistics.median(self.seconds),
            "seconds_max": max(self.seconds),
            "ratio_to_ours": self.ratio,
        }

    def __str__(self) -> str:
        """One row of the table."""
        low, middle, high = min(self.seconds), statistics.median(self.seconds), max(self.seconds)
        ratio = "" if self.ratio is None else f"{self.ratio:9.1f}"
        return f"{self.name:<28}{self.setting!s:<58}{low:10.4f}{middle:10.4f}{high:10.4f}{ratio}"


HEADER = f"{'what':<28}{'work':<58}{'min s':>10}{'median s':>10}{'max s':>10}{'x ours':>9}"


# ------------------------------------------------------------------------------------------- the work


@dataclass(frozen=True, kw_only=True)
class Data:
    """The draws of one seed: bool (C, K, n) for training and bool (C, K, m) for testing."""

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def draw(setting: Setting, seed: int) -> Data:
    """Draw probabilities, training and test samples from three streams of `seed`."""
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)]
    probabilities = paper_probabilities(
        streams[0], num_classes=setting.num_classes, num_features=setting.num_features
    )
    return Data(
        train=sample_features(probabilities, setting.num_samples, streams[1]),
        test=sample_features(probabilities, setting.num_test, streams[2]),
    )


def run_all(contender: Contender, setting: Setting, data: Iterable[Data]) -> list[Simulation | OracleRun]:
    """Run one contender with every rule on every data set."""
    return [
        contender(one.train, setting.per_class_chunk_size, gamma=setting.gamma, tau=setting.tau, rule=rule)
        for one in data
        for rule in setting.rules
    ]


def draw_run_and_measure(setting: Setting) -> list[NDArray[np.float64]]:
    """Ours from the seeds to the test accuracy after each stage: float64 (J,) per seed and rule."""
    accuracies = []
    for seed in range(setting.num_seeds):
        data = draw(setting, seed)
        for run in run_all(simulate, setting, [data]):
            accuracies.append(test_accuracy(run.learned, data.test, setting.tau))  # noqa: PERF401
    return accuracies


def require_equal(
    ours: Sequence[Simulation | OracleRun], theirs: Sequence[Simulation | OracleRun], name: str
) -> None:
    """Stop the benchmark if a contender does not return exactly what ours does."""
    for mine, other in zip(ours, theirs, strict=True):
        same = (
            np.array_equal(mine.learned, other.learned)
            and np.array_equal(mine.memorized, other.memorized)
            and np.array_equal(mine.active_at_start, other.active_at_start)
            and [stage.tolist() for stage in mine.order] == [stage.tolist() for stage in other.order]
        )
        if not same:
            raise RuntimeError(f"{name} and ours differ on the same data; times would mean nothing")


# ----------------------------------------------------------------------------------------- the clock


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    """Wall seconds of one call, and what it returned."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def repeated(function: Callable[[], object], repeats: int) -> list[float]:
    """Wall seconds of `repeats` calls."""
    return [timed(function)[0] for _ in range(repeats)]


def measure_paper(plan: Plan) -> list[Measurement]:
    """Ours on the paper's setting: the simulation alone, and with sampling and test accuracy."""
    setting = plan.paper
    data = [draw(setting, seed) for seed in range(setting.num_seeds)]
    run_all(simulate, setting, data[:1])  # warm-up
    alone = repeated(lambda: run_all(simulate, setting, data), plan.repeats)
    whole = repeated(lambda: draw_run_and_measure(setting), plan.repeats)
    return [
        Measurement(name="ours, data given", setting=setting, seconds=alone),
        Measurement(name="ours, sampling + accuracy", setting=setting, seconds=whole),
    ]


def measure_numpy(plan: Plan) -> list[Measurement]:
    """Ours beside plain numpy; both are run and compared once before they are timed."""
    setting, data = plan.numpy, [draw(plan.numpy, 0)]
    mine, other = (run_all(f, setting, data) for f in (simulate, simulate_with_numpy))
    require_equal(mine, other, "plain numpy")
    times = repeated(lambda: run_all(simulate, setting, data), 2 * plan.repeats)
    ours = Measurement(name="ours", setting=setting, seconds=times)
    times = repeated(lambda: run_all(simulate_with_numpy, setting, data), plan.repeats)
    return [ours, Measurement(name="plain numpy", setting=setting, seconds=times, ours=ours)]


def measure_oracle(plan: Plan) -> list[Measurement]:
    """Ours beside the naive oracle, which is slow enough to be timed once, on the call that is compared."""
    setting, data = plan.oracle, [draw(plan.oracle, 0)]
    seconds, other = timed(lambda: run_all(simulate_with_sets, setting, data))
    require_equal(run_all(simulate, setting, data), other, "the naive oracle")
    times = repeated(lambda: run_all(simulate, setting, data), 4 * plan.repeats)
    ours = Measurement(name="ours", setting=setting, seconds=times)
    return [ours, Measurement(name="naive oracle", setting=setting, seconds=[seconds], ours=ours)]


# --------------------------------------------------------------------------------- processes of their own


def first_call() -> dict[str, float]:
    """Seconds of the very first call of `simulate` in this process, on a tiny data set."""
    tiny = np.ones((1, 1, 2), dtype=np.bool_)
    return {"seconds": timed(lambda: simulate(tiny, 1, gamma=1))[0]}


def big_run(setting: Setting) -> dict[str, Any]:
    """Sample packed data, run one rule, and read the peak memory of this process."""
    first_call()
    children = np.random.SeedSequence(0).spawn(2)
    first, second = (np.random.default_rng(child) for child in children)
    probabilities = paper_probabilities(first, num_classes=setting.num_classes, num_features=setting.num_features)
    sampling, data = timed(lambda: sample_packed(probabilities, setting.num_samples, second))
    (rule,) = setting.rules
    running, run = timed(
        lambda: simulate(data, setting.per_class_chunk_size, gamma=setting.gamma, tau=setting.tau, rule=rule)
    )
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    return {
        "setting": asdict(setting),
        "num_samples_all_classes": setting.num_classes * setting.num_samples,
        "seconds_sampling": sampling,
        "seconds_simulation": running,
        "seconds_total": sampling + running,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30,
        "num_learned_last": int(run.num_learned[-1]),
        "num_memorized_last": int(run.num_memorized[-1]),
    }


def in_fresh_process(child: str, *, quick: bool, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Call `first_call` or `big_run` in a new interpreter and return what it printed.

    Linux starts the peak memory of a child at that of its parent, so this must be called before the parent
    has taken much.
    """
    command = [sys.executable, "-m", "benchmarks.discrete", "--child", child]
    done = subprocess.run(
        command + ["--quick"] * quick,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure_compilation() -> float:
    """Seconds of the first call with an empty cache of compiled code."""
    with tempfile.TemporaryDirectory() as empty:
        child = in_fresh_process("first-call", quick=True, environment={"NUMBA_CACHE_DIR": empty})
    return float(child["seconds"])


# ------------------------------------------------------------------------------------------ the record


def circumstances() -> dict[str, Any]:
    """What the numbers depend on; no names of hosts, users or folders."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            **machine(),
            "memory_gib": round(memory / 2**30, 1),
            "threads": os.environ["OPENBLAS_NUM_THREADS"],
            "load_average_at_start": round(os.getloadavg()[0], 2),
        },
        "versions": {name: versions()[name] for name in ("python", "numpy", "numba", "dashtheory")},
    }


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements, print them as they come, and return the record."""
    plan = QUICK if quick else FULL
    record = {"quick": quick, **circumstances()}
    big = in_fresh_process("big", quick=quick)
    compilation = measure_compilation()
    print(HEADER)
    rows: list[Measurement] = []
    for part in (measure_paper, measure_numpy, measure_oracle):
        rows += (new := part(plan))
        print(*new, sep="\n", flush=True)
    print(
        f"big run, {plan.big}: sampling {big['seconds_sampling']:.2f} s, simulation "
        f"{big['seconds_simulation']:.2f} s, peak memory {big['peak_memory_gib']:.2f} GiB"
    )
    print(f"first call with an empty cache of compiled code: {compilation:.2f} s")
    return {
        **record,
        "compilation_seconds": compilation,
        "measurements": [row.summary() for row in rows],
        "big_run": big,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/discrete.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discrete", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that the script works")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder to write to")
    parser.add_argument("--child", choices=("first-call", "big"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child == "first-call":
        print(json.dumps(first_call()))
    elif options.child == "big":
        print(json.dumps(big_run((QUICK if options.quick else FULL).big)))
    else:
        try:
            out = writable_folder("--out", options.out)
        except ValueError as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
        write_text(out / "discrete.json", json.dumps(measure(quick=options.quick), indent=2) + "\n")


if __name__ == "__main__":
    main()
