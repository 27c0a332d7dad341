"""Many simulations in one call: each is what `simulate` does on the data of `draw_data`, in any company."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    draw_data,
    expected_accuracy,
    simulate,
    simulate_batch,
)
from dashtheory.seeds import numpy_stream
from tests.discrete.batch_cases import RULES_HERE, WORLD, Rule, assert_same, batch, varied
from tests.oracles.discrete import NaiveWords, draw_lost_naively, simulate_with_sets, threshold_of

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

CORNERS = {Forgetting(0, 0): "warm", Forgetting(1, 0): "ideal", Forgetting(1, 1): "cold"}
ALL_RULES: tuple[Rule, ...] = (*DISCRETE_RULES, *CORNERS)


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
