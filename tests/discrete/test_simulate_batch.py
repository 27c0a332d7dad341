"""Many simulations in one call: each is what `simulate` does on the data of `draw_data`, in any company."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dashtheory.discrete import (
    DISCRETE_RULES,
    Batch,
    Forgetting,
    Mixture,
    _kernel,
    draw_data,
    expected_accuracy,
    simulate,
    simulate_batch,
)
from dashtheory.discrete.simulate import kernel_rule_of
from dashtheory.seeds import numpy_stream
from tests.oracles.discrete import NaiveWords, draw_lost_naively, simulate_with_sets, threshold_of

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Rule = str | Forgetting

CORNERS = {Forgetting(0, 0): "warm", Forgetting(1, 0): "ideal", Forgetting(1, 1): "cold"}
ALL_RULES: tuple[Rule, ...] = (*DISCRETE_RULES, *CORNERS)
WORLD = Mixture.independent([[0.6, 0.4, 0.2], [0.5, 0.3, 0.1]])

batch = sys.modules["dashtheory.discrete.simulate_batch"]  # the package's attribute is the function


# -------------------------------------------------------------------------------- one simulation by itself


@dataclass(frozen=True, kw_only=True)
class One:
    """The arguments of one simulation."""

    world: Mixture
    sizes: tuple[int, ...]
    num_stages: int
    seed: int
    gamma: float
    tau: int

    def data(self) -> list[Bools]:
        """Bool (1, K, n_c) per class."""
        sizes = [size * self.num_stages for size in self.sizes]
        return [packed.unpack() for packed in draw_data(self.world, sizes, self.seed)]

    def batch(self, rules: Sequence[Rule], stages: Sequence[int] | None = None, **others: Any) -> Batch:
        """Run the simulation as a batch of one."""
        return simulate_batch(
            self.world,
            [self.sizes],
            self.num_stages,
            seeds=self.seed,
            gamma=self.gamma,
            tau=self.tau,
            rules=rules,
            stages=stages,
            **others,
        )

    def apart(self, rule: Rule) -> tuple[Bools, Ints, Ints]:
        """Learned (J, C, K), memorised (J, C) and active samples (J, C), class by class with `simulate`."""
        numbers: dict[str, Any] = {"gamma": self.gamma, "tau": self.tau}
        runs = [
            simulate(samples, size, **numbers, rule=CORNERS[rule] if isinstance(rule, Forgetting) else rule)
            for samples, size in zip(self.data(), self.sizes, strict=True)
        ]
        return (
            np.concatenate([run.learned for run in runs], axis=1),
            np.stack([run.memorized.sum(axis=(1, 2)) for run in runs], axis=1),
            np.stack([run.active_at_start for run in runs], axis=1),
        )

    def forgetting(self, rule: Forgetting) -> tuple[Bools, Ints, Ints]:
        """The same by the naive oracle, from transcribed draws of what is forgotten."""
        learned, memorized, active = [], [], []
        for label, (samples, size) in enumerate(zip(self.data(), self.sizes, strict=True)):
            start = numpy_stream(self.seed, "forgetting", label).integers(0, 2**64, size=4, dtype=np.uint64)
            words = NaiveWords(start.tolist())
            released, forgotten = (
                draw_lost_naively(threshold_of(chance), self.num_stages, count, words)
                for chance, count in ((rule.phi_noise, samples.shape[2]), (rule.phi_feature, samples.shape[1]))
            )
            run = simulate_with_sets(
                samples,
                size,
                gamma=self.gamma,
                tau=self.tau,
                released=released[:, None],
                forgotten=forgotten[:, None],
            )
            learned.append(run.learned)
            memorized.append(run.memorized.sum(axis=(1, 2)))
            active.append(run.active_at_start)
        return np.concatenate(learned, axis=1), np.stack(memorized, axis=1), np.stack(active, axis=1)


def make_world(
    kind: str, num_classes: int, num_features: int, top: float, generator: np.random.Generator
) -> Mixture:
    p = generator.uniform(0, top, (num_classes, num_features))
    p[generator.random(p.shape) < 0.1] = 0
    p[generator.random(p.shape) < 0.05] = 1
    if kind == "correlated":
        return Mixture.correlated(p / 2, 0.8)
    if kind == "noisy":
        return Mixture.independent(p).with_label_noise(0.2)
    if kind == "shared":
        return Mixture.shared(p, num_features // 2)
    if kind == "mixed":
        weights = generator.dirichlet(np.ones(3), size=num_classes)
        return Mixture(probabilities=generator.uniform(0, top, (num_classes, 3, num_features)), weights=weights)
    return Mixture.independent(p)


@st.composite
def simulations(draw: st.DrawFn, *, small: bool = False) -> One:
    """Any world, sizes around the 64 bits of a word, unequal classes."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    world = make_world(
        draw(st.sampled_from(["independent", "correlated", "noisy", "shared", "mixed"])),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 6) if small else st.integers(1, 8) | st.sampled_from([63, 64, 65, 130])),
        draw(st.sampled_from([0.1, 0.4, 0.9])),
        generator,
    )
    size = st.integers(1, 30) if small else st.integers(1, 70) | st.sampled_from([31, 32, 33, 63, 64, 65, 128])
    count = world.shape[0]
    sizes = tuple(draw(st.lists(size, min_size=count, max_size=count)))
    return One(
        world=world,
        sizes=sizes,
        num_stages=draw(st.integers(1, 5)),
        seed=draw(st.integers(0, 2**40)),
        gamma=draw(st.integers(1, 6) | st.floats(0.1, max(sizes) + 1.0) | st.sampled_from([math.inf, 1e300])),
        tau=draw(st.integers(1, 4) | st.integers(1, world.shape[2] + 3) | st.just(2**40)),
    )


def stages_of(num_stages: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.sets(st.integers(1, num_stages), min_size=1).map(lambda chosen: tuple(sorted(chosen)))


def assert_equal(
    found: Batch, place: tuple[int, int], stages: Sequence[int], runs: tuple[Bools, Ints, Ints]
) -> None:
    """Simulation and rule at `place` recorded `stages` of `runs`."""
    at = np.array(stages) - 1
    for name, values in zip(("learned", "num_memorized", "active_at_start"), runs, strict=True):
        np.testing.assert_array_equal(getattr(found, name)[place], values[at], err_msg=name)


def assert_same(first: Batch, second: Batch) -> None:
    assert (first.rules, first.stages) == (second.rules, second.stages)
    for name in ("learned", "num_memorized", "active_at_start", "accuracy"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@given(one=simulations(), data=st.data())
@settings(max_examples=80)
def test_a_batch_of_one_equals_simulate_on_the_drawn_data(one: One, data: st.DataObject) -> None:
    stages = data.draw(stages_of(one.num_stages))
    rules = data.draw(st.permutations(ALL_RULES))[: data.draw(st.integers(1, len(ALL_RULES)))]
    found = one.batch(rules, stages)
    assert found.rules == tuple(str(rule) for rule in rules)
    assert found.stages == stages
    for place, rule in enumerate(rules):
        assert_equal(found, (0, place), stages, one.apart(rule))


@given(one=simulations(small=True), phi=st.tuples(*[st.sampled_from([0.0, 0.3, 0.5, 1.0])] * 2), data=st.data())
@settings(max_examples=50)
def test_forgetting_equals_the_oracle_with_transcribed_draws(
    one: One, phi: tuple[float, float], data: st.DataObject
) -> None:
    stages, rule = data.draw(stages_of(one.num_stages)), Forgetting(*phi)
    beside: list[list[Rule]] = [[rule], ["cold", rule, "warm"], [Forgetting(0.9, 0.2), rule]]
    rules = data.draw(st.sampled_from(beside))
    assert_equal(one.batch(rules, stages), (0, rules.index(rule)), stages, one.forgetting(rule))


@given(one=simulations(small=True))
@settings(max_examples=40)
def test_accuracy_is_that_of_the_world(one: One) -> None:
    found = one.batch(ALL_RULES, range(1, one.num_stages + 1))
    np.testing.assert_array_equal(found.accuracy, one.world.expected_accuracy(found.learned, one.tau))
    assert found.accuracy.shape == found.learned.shape[:-1]
    if one.world.shape[1] == 1:  # independent features
        mean = expected_accuracy(found.learned, one.world.probabilities[:, 0], one.tau)
        np.testing.assert_allclose(found.accuracy.mean(axis=-1), mean, rtol=1e-13)


@given(one=simulations(small=True))
@settings(max_examples=20)
def test_only_the_last_stage_is_recorded_by_default(one: One) -> None:
    found = one.batch(DISCRETE_RULES)
    assert found.stages == (one.num_stages,)
    assert_same(found, one.batch(DISCRETE_RULES, [one.num_stages]))
    np.testing.assert_array_equal(found.num_learned, found.learned.sum(axis=(3, 4)))
    assert found.num_learned.dtype == np.int64


@given(one=simulations(small=True))
@settings(max_examples=20)
def test_a_fractional_gamma_acts_as_its_ceiling(one: One) -> None:
    ceiling = one.gamma if math.isinf(one.gamma) else math.ceil(one.gamma)
    assert_same(
        one.batch(ALL_RULES),
        simulate_batch(
            one.world, [one.sizes], one.num_stages, seeds=one.seed, gamma=ceiling, tau=one.tau, rules=ALL_RULES
        ),
    )


# ----------------------------------------------------------------------------- many simulations at a time


def varied(count: int) -> dict[str, Any]:
    """Arguments of `count` simulations, no two alike."""
    generator = np.random.default_rng(1)
    return {
        "distribution": generator.uniform(0, 0.7, (count, 2, 5)),
        "per_class_chunk_size": generator.integers(5, 40, (count, 2)),
        "seeds": generator.integers(0, 2**40, count),
        "gamma": generator.uniform(1, 20, count),
        "tau": generator.integers(1, 5, count),
    }


RULES_HERE: tuple[Rule, ...] = ("cold", Forgetting(0.5, 0.2), "warm", "ideal", Forgetting(0, 1))


def run_varied(count: int, **others: Any) -> Batch:
    arguments: dict[str, Any] = {"num_stages": 4, "rules": RULES_HERE, "stages": [1, 3, 4]}
    return simulate_batch(**{**varied(count), **arguments, **others})


@pytest.fixture(scope="module")
def twenty() -> Batch:
    return run_varied(20)


def test_every_simulation_is_the_one_that_runs_alone(twenty: Batch) -> None:
    arguments = varied(20)
    for one in range(20):
        alone = simulate_batch(
            arguments["distribution"][one],
            arguments["per_class_chunk_size"][one][None],
            4,
            seeds=int(arguments["seeds"][one]),
            gamma=float(arguments["gamma"][one]),
            tau=int(arguments["tau"][one]),
            rules=RULES_HERE,
            stages=[1, 3, 4],
        )
        for name in ("learned", "num_memorized", "active_at_start"):
            np.testing.assert_array_equal(getattr(twenty, name)[one], getattr(alone, name)[0])
        np.testing.assert_array_equal(twenty.accuracy[one], alone.accuracy[0])


def test_every_simulation_equals_simulate(twenty: Batch) -> None:
    arguments = varied(20)
    for one in range(20):
        alone = One(
            world=Mixture.independent(arguments["distribution"][one]),
            sizes=tuple(arguments["per_class_chunk_size"][one].tolist()),
            num_stages=4,
            seed=int(arguments["seeds"][one]),
            gamma=float(arguments["gamma"][one]),
            tau=int(arguments["tau"][one]),
        )
        for place, rule in enumerate(RULES_HERE):
            runs = alone.forgetting(rule) if isinstance(rule, Forgetting) else alone.apart(rule)
            assert_equal(twenty, (one, place), [1, 3, 4], runs)


@pytest.mark.parametrize("num_threads", [1, 2, 7, 50])
def test_the_number_of_threads_does_not_matter(twenty: Batch, num_threads: int) -> None:
    assert_same(run_varied(20, num_threads=num_threads), twenty)


@pytest.mark.parametrize("block", [1, 3, 19, 20, 1000])
def test_the_size_of_a_block_does_not_matter(twenty: Batch, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_BLOCK", block)
    assert_same(run_varied(20, num_threads=3), twenty)


def test_a_seed_has_one_stream_of_data_and_one_of_forgetting() -> None:
    """Equal seeds, worlds and sizes: equal samples and losses, whatever gamma and tau."""
    found = simulate_batch(
        WORLD, 40, 3, seeds=[5, 5, 6], gamma=[8, 8, 8], tau=2, rules=RULES_HERE, stages=[1, 2, 3]
    )
    for name in ("learned", "num_memorized", "active_at_start"):
        np.testing.assert_array_equal(getattr(found, name)[0], getattr(found, name)[1])
    assert (found.active_at_start[0] != found.active_at_start[2]).any()


def test_rules_see_the_same_data_in_any_company() -> None:
    together = simulate_batch(WORLD, 40, 3, seeds=[1, 2], gamma=8, tau=2, rules=RULES_HERE)
    for place, rule in enumerate(RULES_HERE):
        alone = simulate_batch(WORLD, 40, 3, seeds=[1, 2], gamma=8, tau=2, rules=[rule])
        for name in ("learned", "num_memorized", "active_at_start", "accuracy"):
            np.testing.assert_array_equal(getattr(alone, name)[:, 0], getattr(together, name)[:, place])


def test_samples_are_not_shared_between_seeds() -> None:
    found = simulate_batch(WORLD, 50, 2, seeds=np.arange(30), gamma=math.inf, tau=1, rules=["warm"])
    assert (found.num_memorized == 100).all()
    found = simulate_batch(WORLD, 50, 2, seeds=np.arange(30), gamma=1, tau=2, rules=["warm"])
    assert len(np.unique(found.num_memorized[:, 0, 0, 0])) > 5


# ------------------------------------------------------------------------------------------ broadcasting


BASE: dict[str, Any] = {"distribution": WORLD, "per_class_chunk_size": 30, "seeds": 3, "gamma": 6.5, "tau": 2}
OTHER_WORLD = Mixture.independent([[0.1, 0.9, 0.4], [0.3, 0.3, 0.3]])


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("distribution", [WORLD, OTHER_WORLD, WORLD]),
        ("distribution", (OTHER_WORLD, WORLD)),
        ("distribution", np.stack([WORLD.probabilities[:, 0], OTHER_WORLD.probabilities[:, 0]])),
        ("per_class_chunk_size", [[10, 10], [30, 30], [50, 50]]),
        ("per_class_chunk_size", [[10, 20], [30, 30]]),
        ("per_class_chunk_size", [[10], [30]]),
        ("per_class_chunk_size", np.array([[10, 20]])),
        ("seeds", [4, 3, 2, 1]),
        ("seeds", np.array([7], dtype=np.uint8)),
        ("gamma", [1, 5, 9.5, math.inf]),
        ("gamma", np.array([5, 10**6])),
        ("tau", [1, 2, 3, 4, 2**40]),
        ("tau", np.array([2, 1], dtype=np.int8)),
    ],
)
@pytest.mark.parametrize("with_seeds", [False, True])
def test_an_argument_is_one_value_or_one_per_simulation(argument: str, values: Any, with_seeds: bool) -> None:
    count = len(values)
    arguments = {**BASE, argument: values}
    if with_seeds and argument != "seeds":
        arguments["seeds"] = np.arange(count) + 50
    found = simulate_batch(**arguments, num_stages=2, rules=RULES_HERE)
    assert found.learned.shape == (count, 5, 1, 2, 3)
    for one in range(count):
        single = {
            **BASE,
            argument: np.asarray(values)[one : one + 1] if argument != "distribution" else values[one],
        }
        if with_seeds and argument != "seeds":
            single["seeds"] = 50 + one
        alone = simulate_batch(**single, num_stages=2, rules=RULES_HERE)
        assert len(alone.learned) == 1
        for name in ("learned", "num_memorized", "active_at_start", "accuracy"):
            np.testing.assert_array_equal(getattr(found, name)[one], getattr(alone, name)[0])


def test_worlds_may_be_written_in_every_way() -> None:
    p = WORLD.probabilities[:, 0]
    ways: list[Any] = [WORLD, [WORLD], p, p.tolist(), p[None], [p, p], [WORLD, WORLD]]
    first = simulate_batch(ways[0], 20, 2, seeds=[1, 2], gamma=4)
    for way in ways[1:]:
        assert_same(simulate_batch(way, 20, 2, seeds=[1, 2], gamma=4), first)


def test_one_chunk_size_per_simulation_is_not_one_per_class() -> None:
    """Two numbers go with two simulations; sizes of two classes need two axes."""
    assert len(simulate_batch(WORLD, [10, 20], 1, seeds=[0, 0]).learned) == 2
    with pytest.raises(ValueError, match="per_class_chunk_size must be a number, one per simulation, or of shape"):
        simulate_batch(WORLD, [10, 20], 1, seeds=0)
    found = simulate_batch(WORLD, [[10, 20]], 1, seeds=0, rules=["cold"])
    assert found.active_at_start.tolist() == [[[[10, 20]]]]


def test_worlds_may_differ_in_their_number_of_labels() -> None:
    p, w = WORLD.probabilities, WORLD.weights
    few, many = (Mixture(probabilities=p, weights=w, num_labels=labels) for labels in (2, 10))
    found = simulate_batch([few, many, few], 20, 1, seeds=4, gamma=math.inf, rules=["cold"])
    np.testing.assert_allclose(found.accuracy[:, 0, 0], [[0.5, 0.5], [0.1, 0.1], [0.5, 0.5]], rtol=1e-14)


def test_label_noise_is_in_the_data_and_not_in_the_accuracy() -> None:
    noisy = Mixture.independent([[1.0, 1.0]]).with_label_noise(0.25)
    world = Mixture(
        probabilities=noisy.probabilities, weights=noisy.weights, test_weights=noisy.test_weights, num_labels=4
    )
    found = simulate_batch(world, 1000, 2, seeds=range(4), gamma=50, tau=2, rules=["warm"])
    assert (found.accuracy == 1).all()
    assert found.learned.all()
    for held in found.num_memorized.ravel():
        assert abs(held / 2000 - 0.25) < 5 * math.sqrt(0.1875 / 2000)


def test_the_defaults_are_those_of_simulate() -> None:
    p = np.linspace(0.9, 0.1, 8).reshape(2, 4)
    found = simulate_batch(p, 100, 2, seeds=1)
    assert found.rules == DISCRETE_RULES
    assert_same(found, simulate_batch(p, 100, 2, seeds=1, gamma=50, tau=3, rules=DISCRETE_RULES, stages=[2]))


def test_the_input_is_not_modified() -> None:
    arguments = varied(5)
    copies = {name: value.copy() for name, value in arguments.items()}
    simulate_batch(**arguments, num_stages=2)
    for name, value in arguments.items():
        np.testing.assert_array_equal(value, copies[name])


@pytest.mark.parametrize(("rule", "expected"), [("cold", [1, 3]), ("warm", [0, 1, 2, 3]), ("ideal", [0, 1, 2, 3])])
def test_cold_runs_the_recorded_stages_alone(
    rule: str, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stages do not depend on each other; no rule goes beyond the last recorded stage."""
    run: list[int] = []

    def count_stage(rule: int, stage: int, *_: object) -> int:
        run.append(stage)
        return 0

    monkeypatch.setattr(_kernel, "_run_stage", count_stage)
    words, lost = np.zeros((2, 1), dtype=np.uint64), np.empty((0, 0), dtype=np.uint64)
    tables = (words, np.zeros((50, 1), dtype=np.uint64))
    results = (np.zeros((2, 2), dtype=np.bool_), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64))
    in_python = _kernel.learn_class_at.py_func
    in_python(np.array([1, 3]), *tables, 10, 5, 1, kernel_rule_of(rule), lost, lost, *results)
    assert run == expected


# -------------------------------------------------------------------------------------------- extremes


def test_large_samples_and_certain_features() -> None:
    """10^5 samples of one class; one feature is shown by all of them, one by none."""
    one = One(
        world=Mixture.independent([[1.0, 0.3, 0.0, 0.01]]),
        sizes=(20_000,),
        num_stages=5,
        seed=3,
        gamma=100,
        tau=2,
    )
    stages = (1, 2, 5)
    found = one.batch(ALL_RULES, stages)
    for place, rule in enumerate(ALL_RULES):
        assert_equal(found, (0, place), stages, one.apart(rule))
    assert found.learned[:, :, :, 0, 0].all()
    assert not found.learned[:, :, :, 0, 2].any()


def test_weights_that_miss_one_by_rounding() -> None:
    generator = np.random.default_rng(2)
    world = Mixture(
        probabilities=generator.uniform(0, 0.6, (2, 10, 6)), weights=np.full((2, 10), 0.1), num_labels=2
    )
    one = One(world=world, sizes=(64, 100), num_stages=3, seed=1, gamma=10, tau=2)
    found = one.batch(ALL_RULES, (1, 2, 3))
    for place, rule in enumerate(ALL_RULES):
        assert_equal(found, (0, place), (1, 2, 3), one.apart(rule))
    assert ((found.accuracy >= 0.5 - 1e-12) & (found.accuracy <= 1 + 1e-12)).all()


@pytest.mark.parametrize("gamma", [math.inf, 2**63, 1e300, 10**400])
def test_a_gamma_beyond_every_count_learns_nothing(gamma: float) -> None:
    found = simulate_batch(WORLD, 30, 3, seeds=0, gamma=gamma, tau=1, rules=ALL_RULES)
    assert not found.learned.any()
    assert (found.num_memorized == 90).all()
    assert (found.accuracy == 0.5).all()


def test_a_tau_beyond_the_features_memorizes_everything() -> None:
    for tau in (4, 5, 2**31, 2**62):
        found = simulate_batch(WORLD, 30, 3, seeds=0, gamma=3, tau=tau, rules=ALL_RULES)
        assert (found.num_memorized == 90).all()
        np.testing.assert_allclose(found.accuracy, 0.5)


# -------------------------------------------------------------------------------------------- progress


@pytest.mark.parametrize(("count", "num_threads"), [(1, 1), (8, 1), (9, 2), (50, 3)])
def test_progress_rises_to_one(count: int, num_threads: int) -> None:
    told: list[tuple[float, str]] = []
    simulate_batch(
        WORLD, 10, 2, seeds=np.arange(count), num_threads=num_threads,
        report=lambda share, text: told.append((share, text)),
    )  # fmt: skip
    shares = [share for share, _ in told]
    assert shares == sorted(set(shares))
    assert shares[0] > 0
    assert told[-1] == (1.0, f"{count} of {count} simulations")
    assert len(told) == math.ceil(count / 8)
    for share, text in told:
        assert text == f"{round(share * count)} of {count} simulations"


class Slow:
    """Stands in for one simulation: waits, and counts how many were begun; `then` happens at the fifth."""

    def __init__(self, seconds: float, then: Callable[[], None] = lambda: None) -> None:
        self.seconds, self.then, self.begun = seconds, then, 0
        self.lock = threading.Lock()

    def __call__(self, *_: object) -> None:
        with self.lock:
            self.begun += 1
            number = self.begun
        if number == 5:
            self.then()
        time.sleep(self.seconds)


def raiser(error: BaseException) -> Callable[[float, str], None]:
    def report(share: float, text: str) -> None:
        raise error

    return report


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("stop"), SystemExit(1)])
def test_an_exception_in_report_stops_the_batch(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most the blocks in hand are finished: most of the 2000 simulations (10 s) never begin."""
    slow, before = Slow(0.01), threading.active_count()
    monkeypatch.setattr(batch, "_run_one", slow)
    with pytest.raises(type(error)) as caught:
        simulate_batch(WORLD, 5, 1, seeds=np.arange(2000), num_threads=2, report=raiser(error))
    assert caught.value is error
    begun = slow.begun
    assert begun < 400
    assert threading.active_count() == before  # no thread is left behind
    time.sleep(0.05)
    assert slow.begun == begun


def test_an_interrupt_stops_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal of Ctrl-C while the main thread waits for a block."""
    main = threading.main_thread().ident
    assert main is not None
    slow = Slow(0.01, then=lambda: signal.pthread_kill(main, signal.SIGINT))
    monkeypatch.setattr(batch, "_run_one", slow)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs start with it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            simulate_batch(WORLD, 5, 1, seeds=np.arange(2000), num_threads=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert slow.begun < 400


def test_an_interrupt_while_the_blocks_are_handed_out_stops_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(ThreadPoolExecutor):
        handed_out = 0

        def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
            self.handed_out += 1
            if self.handed_out == 100:
                raise KeyboardInterrupt
            return super().submit(*arguments, **named)

    slow = Slow(0.01)
    monkeypatch.setattr(batch, "_run_one", slow)
    monkeypatch.setattr(batch, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate_batch(WORLD, 5, 1, seeds=np.arange(2000), num_threads=2)
    assert slow.begun < 400


def test_an_exception_in_a_simulation_is_raised_and_stops_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("broken simulation")

    slow = Slow(0.01, then=broken)
    monkeypatch.setattr(batch, "_run_one", slow)
    with pytest.raises(RuntimeError, match="broken simulation"):
        simulate_batch(WORLD, 5, 1, seeds=np.arange(2000), num_threads=2)
    assert slow.begun < 400


# -------------------------------------------------------------------------------------------- bad input

GOOD: dict[str, Any] = {"distribution": WORLD, "per_class_chunk_size": 10, "num_stages": 3, "seeds": 0}
TALL = Mixture.independent([[0.5, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("argument", "value", "told"),
    [
        ("distribution", [[1.5]], r"probabilities must lie in \[0, 1\], got 1\.5"),
        ("distribution", [[math.nan]], r"probabilities must lie in \[0, 1\], got nan"),
        ("distribution", [0.5], r"probabilities must have shape \(C, K\)"),
        ("distribution", None, r"probabilities must have shape \(C, K\)"),
        ("distribution", [], r"probabilities must have shape \(C, K\)"),
        ("distribution", np.ones((1, 1, 1, 1)), r"probabilities must have shape \(C, K\)"),
        ("distribution", np.ones((0, 2, 3)), "."),
        ("distribution", [WORLD, TALL], r"distribution must be of one shape \(C, G, K\), got "),
        ("per_class_chunk_size", 0, "per_class_chunk_size must be an integer >= 1, got 0"),
        ("per_class_chunk_size", -1, "per_class_chunk_size must be an integer >= 1, got -1"),
        ("per_class_chunk_size", 2.5, r"per_class_chunk_size must be an integer >= 1, got 2\.5"),
        ("per_class_chunk_size", True, "per_class_chunk_size must be an integer >= 1, got True"),
        ("per_class_chunk_size", "10", "per_class_chunk_size must be an integer >= 1, got '10'"),
        ("per_class_chunk_size", None, "per_class_chunk_size must be an integer >= 1, got None"),
        ("per_class_chunk_size", [[10, 0]], "per_class_chunk_size must be an integer >= 1, got 0"),
        (
            "per_class_chunk_size",
            [[10, 10, 10]],
            r"per_class_chunk_size must fit the shape \(1, 2\), got shape \(1, 3\)",
        ),
        ("per_class_chunk_size", [], "per_class_chunk_size must have one entry, or one per simulation"),
        ("num_stages", 0, "num_stages must be an integer >= 1, got 0"),
        ("num_stages", 1.0, r"num_stages must be an integer >= 1, got 1\.0"),
        ("num_stages", None, "num_stages must be an integer >= 1, got None"),
        ("seeds", -1, "seeds must be an integer >= 0, got -1"),
        ("seeds", [0, -1], "seeds must be an integer >= 0, got -1"),
        ("seeds", 0.0, r"seeds must be an integer >= 0, got 0\.0"),
        ("seeds", None, "seeds must be an integer >= 0, got None"),
        ("seeds", True, "seeds must be an integer >= 0, got True"),
        ("seeds", [], "seeds must have one entry, or one per simulation"),
        ("seeds", [[1, 2], [3, 4]], r"seeds must fit the shape \(4,\), got shape \(2, 2\)"),
        ("gamma", 0, "gamma must be a number in .*, got 0"),
        ("gamma", [5, -1], "gamma must be a number in .*, got -1"),
        ("gamma", math.nan, "gamma must be a number in .*, got nan"),
        ("gamma", "50", "gamma must be a number in .*, got '50'"),
        ("gamma", None, "gamma must be a number in .*, got None"),
        ("gamma", True, "gamma must be a number in .*, got True"),
        ("gamma", [[5, 6], [7, 8]], r"gamma must be a number or have shape \(B,\), got shape \(2, 2\)"),
        ("gamma", [], "gamma must have one entry, or one per simulation"),
        ("tau", 0, "tau must be an integer >= 1, got 0"),
        ("tau", 2.0, r"tau must be an integer >= 1, got 2\.0"),
        ("tau", [1, 0], "tau must be an integer >= 1, got 0"),
        ("tau", None, "tau must be an integer >= 1, got None"),
        ("tau", True, "tau must be an integer >= 1, got True"),
        ("rules", [], "rules must name at least one, each once"),
        ("rules", ["cold", "cold"], "rules must name at least one, each once, got .*cold"),
        ("rules", [Forgetting(1, 0), Forgetting(1.0, 0.0)], r"rules must name at least one, each once, got .*1,0"),
        ("rules", ["tepid"], "rule must be one of cold, warm, ideal, got 'tepid'"),
        ("rules", "cold", "rules must be a sequence, got 'cold'"),
        ("rules", [None], "rule must be one of cold, warm, ideal, got None"),
        ("stages", [], "stages must rise within 1 to 3"),
        ("tau", [True, 2], "tau must be an integer >= 1, got True"),
        ("gamma", [True, 5], r"gamma must be a number in \(0, inf\], got True"),
        ("seeds", 2**63, "seeds must be below 2\\^63, got 9223372036854775808"),
        ("seeds", 2**64, "seeds must be below 2\\^63, got 18446744073709551616"),
        ("per_class_chunk_size", 2**63, "per_class_chunk_size must be below 2\\^63"),
        ("seeds", [[1, 2], [3]], r"seeds must be an integer >= 0, got \[1, 2\]"),
        ("gamma", [[1, 2], [3]], r"gamma must be a number in .*, got \[1, 2\]"),
        (
            "gamma",
            [np.ones((2, 2)), np.ones((2, 3))],
            "gamma must be a number or a regular array, got a ragged one",
        ),
        ("distribution", "abc", "distribution must be probabilities .*, got str"),
        ("distribution", object(), "distribution must be probabilities .*, got object"),
        ("rules", None, "rules must be a sequence, got None"),
        ("rules", Forgetting(1, 0), "rules must be a sequence, got Forgetting"),
        ("stages", 2, "stages must be a sequence, got 2"),
        ("num_threads", 0, "num_threads must be an integer >= 1, got 0"),
        ("stages", [0], "stages must be an integer >= 1, got 0"),
        ("stages", [4], r"stages must rise within 1 to 3, got \(4,\)"),
        ("stages", [2, 1], r"stages must rise within 1 to 3, got \(2, 1\)"),
        ("stages", [1, 1], r"stages must rise within 1 to 3, got \(1, 1\)"),
        ("stages", [1.0], r"stages must be an integer >= 1, got 1\.0"),
        ("num_threads", -1, "num_threads must be an integer >= 1, got -1"),
        ("num_threads", 1.5, r"num_threads must be an integer >= 1, got 1\.5"),
        ("num_threads", True, "num_threads must be an integer >= 1, got True"),
    ],
)
def test_bad_input_is_refused_by_name_and_value(argument: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        simulate_batch(**{**GOOD, argument: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("distribution", [WORLD, WORLD]),
        ("distribution", np.full((2, 2, 3), 0.5)),
        ("per_class_chunk_size", [10, 10]),
        ("per_class_chunk_size", [[10, 10], [10, 10]]),
        ("gamma", [1, 2]),
        ("tau", [1, 2]),
    ],
)
def test_lengths_that_do_not_fit_are_refused(argument: str, value: object) -> None:
    told = rf"^{argument} must have one entry, or one per simulation \(3\), got 2\. .*'seeds': 3"
    with pytest.raises(ValueError, match=told):
        simulate_batch(**{**GOOD, "seeds": [0, 1, 2], argument: value})


def test_bad_input_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(0)
    monkeypatch.setattr(batch, "_run_one", slow)
    for argument, value in (("gamma", [1, 2, 0]), ("num_threads", -1)):
        with pytest.raises(ValueError, match=f"^{argument} must "):
            simulate_batch(**{**GOOD, "seeds": [0, 1, 2], argument: value})
    assert slow.begun == 0


def test_good_input_is_not_refused() -> None:
    found = simulate_batch(**GOOD)
    assert found.learned.shape == (1, 3, 1, 2, 3)
    assert found.num_memorized.shape == found.active_at_start.shape == found.accuracy.shape == (1, 3, 1, 2)


def test_tau_may_be_as_large_as_in_simulate() -> None:
    few, many = (simulate_batch([[0.4, 0.5]], 20, 2, seeds=0, gamma=5, tau=tau) for tau in (3, 10**30))
    assert np.array_equal(few.learned, many.learned)
    assert np.array_equal(few.accuracy, many.accuracy)


def test_rules_that_differ_a_little_are_two_rules() -> None:
    rules = [Forgetting(1, 0), Forgetting(1 - 1e-9, 0)]
    assert simulate_batch([[0.4]], 20, 2, seeds=0, rules=rules).rules == ("forget(1,0)", "forget(0.999999999,0)")


def test_one_world_at_a_time_has_its_data_drawn() -> None:
    with pytest.raises(ValueError, match="distribution must be a single one, got 2"):
        draw_data(np.full((2, 1, 3), 0.5), 10, 0)
