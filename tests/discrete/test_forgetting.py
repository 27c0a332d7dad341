"""Forgetting between stages: equal to the oracle with the same masks, with the three rules at its corners."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dashtheory.discrete import Forgetting, Simulation, pack_features, sample_features, simulate
from dashtheory.discrete.forgetting import draw_bits
from tests.oracles.discrete import OracleRun, simulate_with_sets

Bools = NDArray[np.bool_]
CORNERS = {"warm": Forgetting(0, 0), "ideal": Forgetting(1, 0), "cold": Forgetting(1, 1)}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One data set, bool (C, K, n), the numbers of the learner, and the seed of what is forgotten."""

    features: Bools
    per_class_chunk_size: int
    gamma: float
    tau: int
    rule: Forgetting
    seed: int

    @property
    def num_stages(self) -> int:
        return int(self.features.shape[2]) // self.per_class_chunk_size

    def masks(self) -> tuple[Bools, Bools]:
        """Samples (J, C, n) and features (J, C, K) forgotten before each stage, drawn as `simulate` says."""
        generator = np.random.default_rng(self.seed)
        num_classes, num_features, num_samples = self.features.shape
        released = np.zeros((self.num_stages, num_classes, num_samples), dtype=np.bool_)
        forgotten = np.zeros((self.num_stages, num_classes, num_features), dtype=np.bool_)
        for label in range(num_classes):
            released[:, label] = generator.random((self.num_stages, num_samples)) < self.rule.phi_noise
            forgotten[:, label] = generator.random((self.num_stages, num_features)) < self.rule.phi_feature
        return released, forgotten

    def run(self) -> Simulation:
        """Run the simulator under test."""
        numbers = {"gamma": self.gamma, "tau": self.tau}
        generator = np.random.default_rng(self.seed)
        return simulate(self.features, self.per_class_chunk_size, **numbers, rule=self.rule, generator=generator)  # type: ignore[arg-type]

    def named(self, rule: str) -> Simulation:
        return simulate(self.features, self.per_class_chunk_size, gamma=self.gamma, tau=self.tau, rule=rule)

    def oracle(self) -> OracleRun:
        """Run the oracle on the same masks."""
        released, forgotten = self.masks()
        return simulate_with_sets(
            self.features,
            self.per_class_chunk_size,
            gamma=self.gamma,
            tau=self.tau,
            released=released,
            forgotten=forgotten,
        )


chances = st.sampled_from([0.0, 1.0, 0.5]) | st.floats(0, 1)
rules = st.builds(Forgetting, chances, chances)


@st.composite
def small_cases(draw: st.DrawFn) -> Case:
    """Tables drawn bit by bit, up to five stages."""
    num_classes, num_features = draw(st.integers(1, 2)), draw(st.integers(1, 5))
    per_class_chunk_size, num_stages = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    num_samples = per_class_chunk_size * num_stages
    return Case(
        features=draw(arrays(np.bool_, (num_classes, num_features, num_samples))),
        per_class_chunk_size=per_class_chunk_size,
        gamma=draw(st.integers(1, 4) | st.floats(0.1, num_samples + 1)),
        tau=draw(st.integers(1, 3) | st.integers(1, num_features + 2)),
        rule=draw(rules),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def wide_cases(draw: st.DrawFn) -> Case:
    """Tables from a seed, at sizes around and beyond the 64 bits of a word."""
    num_features = draw(st.sampled_from([3, 8, 63, 64, 65, 130]))
    per_class_chunk_size = draw(st.sampled_from([20, 31, 63, 64, 65, 100]))
    num_classes, num_stages = draw(st.integers(1, 2)), draw(st.integers(2, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng([seed, 1])
    top = draw(st.sampled_from([0.05, 0.2, 0.6, 1.0]))
    probabilities = generator.uniform(0, top, size=(num_classes, num_features))
    return Case(
        features=sample_features(probabilities, per_class_chunk_size * num_stages, generator),
        per_class_chunk_size=per_class_chunk_size,
        gamma=draw(st.integers(1, 5) | st.integers(1, per_class_chunk_size + 1)),
        tau=draw(st.integers(1, 5)),
        rule=draw(rules),
        seed=seed,
    )


any_case = small_cases() | wide_cases()


def assert_same(run: Simulation, expected: Simulation | OracleRun) -> None:
    """All four results are equal, the order of learning included."""
    np.testing.assert_array_equal(run.learned, expected.learned)
    np.testing.assert_array_equal(run.memorized, expected.memorized)
    np.testing.assert_array_equal(run.active_at_start, expected.active_at_start)
    assert [stage.tolist() for stage in run.order] == [stage.tolist() for stage in expected.order]


def explained(case: Case, run: Simulation) -> Bools:
    """Bool (J, C, n): samples that show tau features known after the stage."""
    shown = np.einsum("ckn,jck->jcn", case.features.astype(int), run.learned.astype(int))
    return np.asarray(shown >= case.tau)


def arrived(case: Case) -> Bools:
    """Bool (J, C, n): samples that belong to the stage."""
    place = np.arange(case.features.shape[2])
    here = np.stack([place < (stage + 1) * case.per_class_chunk_size for stage in range(case.num_stages)])
    return np.broadcast_to(here[:, None], (case.num_stages, len(case.features), len(place)))


# ------------------------------------------------------------------------------------------- the oracle


@given(case=small_cases())
@settings(max_examples=250)
def test_equals_the_oracle_on_small_tables(case: Case) -> None:
    assert_same(case.run(), case.oracle())


@given(case=wide_cases())
@settings(max_examples=40)
def test_equals_the_oracle_across_word_borders(case: Case) -> None:
    assert_same(case.run(), case.oracle())


def test_by_hand() -> None:
    """One class, one sample per stage, all of them showing the only feature; gamma = 2, tau = 1."""
    features = np.ones((1, 1, 4), dtype=np.bool_)
    run = simulate(features, 1, gamma=2, tau=1, rule=Forgetting(0, 1), generator=np.random.default_rng(0))
    # Each stage: the new sample alone, never two at once, so it is held for good.
    assert run.active_at_start.tolist() == [1, 1, 1, 1]
    assert run.num_memorized.tolist() == [1, 2, 3, 4]
    run = simulate(features, 2, gamma=2, tau=1, rule=Forgetting(0, 1), generator=np.random.default_rng(0))
    # Stage 1 learns the feature of two samples; it is forgotten, so that they are active again with two more.
    assert run.active_at_start.tolist() == [2, 4]
    assert [order.tolist() for order in run.order] == [[[0, 0]], [[0, 0]]]
    assert not run.memorized.any()


# ------------------------------------------------------------------------------------------- the corners


@pytest.mark.parametrize("name", sorted(CORNERS))
@given(case=any_case)
@settings(max_examples=80)
def test_the_corners_are_the_named_rules(case: Case, name: str) -> None:
    run = replace(case, rule=CORNERS[name]).run()
    assert_same(run, case.named(name))
    assert run.rule == str(CORNERS[name])


@given(case=small_cases())
@settings(max_examples=80)
def test_forgetting_the_features_alone_equals_the_oracle(case: Case) -> None:
    assert_same(replace(case, rule=Forgetting(0, 1)).run(), replace(case, rule=Forgetting(0, 1)).oracle())


@given(case=any_case)
@settings(max_examples=60)
def test_the_corners_need_no_chance(case: Case) -> None:
    for noise in (0, 1):
        for feature in (0, 1):
            corner = replace(case, rule=Forgetting(noise, feature))
            assert_same(corner.run(), replace(corner, seed=case.seed + 1).run())


@given(case=any_case)
@settings(max_examples=60)
def test_the_first_stage_forgets_nothing(case: Case) -> None:
    run, cold = case.run(), case.named("cold")
    np.testing.assert_array_equal(run.learned[0], cold.learned[0])
    np.testing.assert_array_equal(run.memorized[0], cold.memorized[0])
    assert run.active_at_start[0] == cold.active_at_start[0]
    assert run.order[0].tolist() == cold.order[0].tolist()


# ---------------------------------------------------------------------------------------------- the laws


@given(case=any_case)
@settings(max_examples=80)
def test_every_sample_is_memorized_or_explained(case: Case) -> None:
    run = case.run()
    assert (run.memorized | explained(case, run))[arrived(case)].all()
    assert not run.memorized[~arrived(case)].any()


@given(case=any_case)
@settings(max_examples=80)
def test_a_sample_released_and_explained_is_no_longer_held(case: Case) -> None:
    """What is held after a stage was held before and not released, or is not explained."""
    run = case.run()
    released, _ = case.masks()
    kept = np.zeros_like(run.memorized)
    kept[1:] = run.memorized[:-1] & ~released[1:]
    assert (run.memorized >= kept).all()
    assert not (run.memorized & ~kept & explained(case, run)).any()


@given(case=any_case)
@settings(max_examples=80)
def test_what_is_active_at_the_start_is_neither_held_nor_explained(case: Case) -> None:
    run = case.run()
    released, forgotten = case.masks()
    for stage in range(1, case.num_stages):
        known = run.learned[stage - 1] & ~forgotten[stage]
        held = run.memorized[stage - 1] & ~released[stage]
        shown = np.einsum("ckn,ck->cn", case.features.astype(int), known.astype(int))
        active = arrived(case)[stage] & ~held & (shown < case.tau)
        assert run.active_at_start[stage] == np.count_nonzero(active)
        # ... and a stage ends where no unlearned feature is frequent among those left active.
        left = active & ~explained(case, run)[stage]
        counts = np.einsum("ckn,cn->ck", case.features.astype(int), left.astype(int))
        assert (counts < case.gamma)[~run.learned[stage]].all()


@given(case=any_case)
@settings(max_examples=60)
def test_the_order_lists_what_was_learned_anew(case: Case) -> None:
    run = case.run()
    _, forgotten = case.masks()
    before = np.zeros_like(run.learned[0])
    for stage, order in enumerate(run.order):
        known = before & ~forgotten[stage]
        assert (run.learned[stage] >= known).all()
        pairs = sorted(tuple(pair) for pair in order.tolist())
        assert pairs == [tuple(pair) for pair in np.argwhere(run.learned[stage] & ~known).tolist()]
        before = run.learned[stage]


@given(case=any_case)
@settings(max_examples=60)
def test_without_forgetting_of_features_the_learned_sets_only_grow(case: Case) -> None:
    run = replace(case, rule=Forgetting(case.rule.phi_noise, 0)).run()
    assert (run.learned[1:] >= run.learned[:-1]).all()


@given(case=any_case)
@settings(max_examples=60)
def test_without_forgetting_of_noise_the_held_samples_only_grow(case: Case) -> None:
    run = replace(case, rule=Forgetting(0, case.rule.phi_feature)).run()
    assert (run.memorized[1:] >= run.memorized[:-1]).all()


@given(case=any_case)
@settings(max_examples=60)
def test_with_all_noise_forgotten_nothing_is_held_without_need(case: Case) -> None:
    all_noise = replace(case, rule=Forgetting(1, case.rule.phi_feature))
    run = all_noise.run()
    assert not (run.memorized & explained(all_noise, run)).any()


# --------------------------------------------------------------------------------------------- the chances


def assert_share(found: int, chance: float, count: int) -> None:
    """A count of independent trials lies within 5 standard deviations of its mean."""
    assert abs(found - chance * count) <= 5 * math.sqrt(count * chance * (1 - chance)), (found, count)


@pytest.mark.parametrize("phi", [0.03, 0.25, 0.5, 0.9])
def test_the_stated_share_of_the_noise_is_forgotten(phi: float) -> None:
    """With a gamma that learns nothing, all samples are held and the active old ones are the released ones."""
    features = sample_features([[0.5], [0.1]], 4 * 3000, np.random.default_rng(1))
    rule = Forgetting(phi, 0.5)
    run = simulate(features, 3000, gamma=math.inf, rule=rule, generator=np.random.default_rng(2))
    assert run.num_memorized.tolist() == [6000, 12_000, 18_000, 24_000]
    for stage in range(4):
        assert_share(int(run.active_at_start[stage]) - 6000, phi, 6000 * stage)


@pytest.mark.parametrize("phi", [0.03, 0.25, 0.5, 0.9])
def test_the_stated_share_of_the_features_is_forgotten(phi: float) -> None:
    """Features that everything shows are learned again as soon as they are forgotten."""
    features = np.ones((2, 1000, 12), dtype=np.bool_)
    run = simulate(features, 4, gamma=4, tau=10**6, rule=Forgetting(0.5, phi), generator=np.random.default_rng(3))
    assert run.learned.all()
    assert len(run.order[0]) == 2000
    for stage in (1, 2):
        assert_share(len(run.order[stage]), phi, 2000)


def test_stages_and_classes_forget_apart() -> None:
    """Each stage and class loses features of its own: pairs of losses are as rare as independence says."""
    rule = Forgetting(0.5, 0.3)
    run = simulate(
        np.ones((2, 5000, 9), dtype=np.bool_), 3, gamma=3, tau=10**6, rule=rule, generator=np.random.default_rng(4)
    )
    lost = np.zeros((2, 2, 5000), dtype=np.bool_)
    for stage in (0, 1):
        lost[stage][tuple(run.order[stage + 1].T)] = True
    assert_share(int(np.count_nonzero(lost[0] & lost[1])), 0.09, 10_000)
    assert_share(int(np.count_nonzero(lost[:, 0] & lost[:, 1])), 0.09, 10_000)


# --------------------------------------------------------------------------------------------- the draws


@given(
    chance=chances,
    num_stages=st.integers(1, 3),
    num_bits=st.sampled_from([1, 7, 8, 9, 63, 64, 65, 128, 130]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80)
def test_bits_are_the_uniform_draws_below_the_chance(
    chance: float, num_stages: int, num_bits: int, seed: int
) -> None:
    words = draw_bits(chance, num_stages, num_bits, np.random.default_rng(seed))
    chosen = np.random.default_rng(seed).random((num_stages, num_bits)) < chance
    np.testing.assert_array_equal(words, pack_features(chosen[:, None]).words[:, 0])
    assert words.dtype == np.uint64


def test_a_draw_equal_to_the_chance_is_not_below_it() -> None:
    chance = np.random.default_rng(7).random()
    assert draw_bits(chance, 1, 1, np.random.default_rng(7)).tolist() == [[0]]
    assert draw_bits(float(np.nextafter(chance, 1)), 1, 1, np.random.default_rng(7)).tolist() == [[1]]


@given(case=any_case)
@settings(max_examples=40)
def test_the_stated_number_of_draws_is_taken(case: Case) -> None:
    """So many for any pair of chances, so that rules compared with one seed draw alike."""
    used, twin = np.random.default_rng(case.seed), np.random.default_rng(case.seed)
    numbers: dict[str, Any] = {"gamma": case.gamma, "tau": case.tau}
    simulate(case.features, case.per_class_chunk_size, **numbers, rule=case.rule, generator=used)
    num_classes, num_features, num_samples = case.features.shape
    twin.random(num_classes * case.num_stages * (num_samples + num_features))
    assert used.random() == twin.random()


@pytest.mark.parametrize("rule", ["cold", "warm", "ideal"])
def test_named_rules_draw_nothing(rule: str) -> None:
    features, generator = np.ones((1, 2, 6), dtype=np.bool_), np.random.default_rng(5)
    assert_same(
        simulate(features, 3, gamma=2, rule=rule, generator=generator), simulate(features, 3, gamma=2, rule=rule)
    )
    assert generator.random() == np.random.default_rng(5).random()


@given(case=any_case)
@settings(max_examples=40)
def test_equal_generators_give_equal_runs_and_packed_input_the_same(case: Case) -> None:
    run = case.run()
    assert_same(case.run(), run)
    generator = np.random.default_rng(case.seed)
    packed, before = pack_features(case.features), pack_features(case.features).words
    numbers: dict[str, Any] = {"gamma": case.gamma, "tau": case.tau}
    assert_same(simulate(packed, case.per_class_chunk_size, **numbers, rule=case.rule, generator=generator), run)
    np.testing.assert_array_equal(packed.words, before)


def test_other_generators_give_other_runs() -> None:
    features = sample_features([[0.3] * 5], 400, np.random.default_rng(6))
    first, second = (
        simulate(features, 50, gamma=10, rule=Forgetting(0.5, 0.5), generator=np.random.default_rng(seed))
        for seed in (0, 1)
    )
    assert (first.active_at_start != second.active_at_start).any()


# ----------------------------------------------------------------------------------------------- the rule


def test_the_name_says_the_chances() -> None:
    assert str(Forgetting(0.25, 1)) == "forget(0.25,1)"
    assert str(Forgetting(phi_noise=0, phi_feature=1e-3)) == "forget(0,0.001)"


def test_rules_are_values() -> None:
    assert Forgetting(1, 0) == Forgetting(1.0, 0.0)
    assert hash(Forgetting(1, 0)) == hash(Forgetting(1.0, 0.0))
    assert Forgetting(1, 0) != Forgetting(0, 1)
    assert isinstance(Forgetting(1, 0.5).phi_noise, float)


@pytest.mark.parametrize("name", ["phi_noise", "phi_feature"])
@pytest.mark.parametrize("value", [-0.1, 1.1, -1, 2, math.nan, math.inf, True, None, "0.5", [0.5], 0.5j])
def test_a_chance_out_of_range_is_refused(name: str, value: object) -> None:
    arguments: dict[str, Any] = {"phi_noise": 0.5, "phi_feature": 0.5, name: value}
    with pytest.raises(ValueError, match=rf"^{name} must be a number in \[0, 1\], got .*It is a chance"):
        Forgetting(**arguments)


@pytest.mark.parametrize("generator", [None, 0, "rng", np.random, np.random.RandomState(0)])
def test_a_missing_or_wrong_generator_is_refused(generator: Any) -> None:
    features = np.ones((1, 2, 6), dtype=np.bool_)
    with pytest.raises(ValueError, match=r"^generator must be a numpy Generator, got .*default_rng"):
        simulate(features, 3, rule=Forgetting(0, 0), generator=generator)


@pytest.mark.parametrize("rule", [(0.5, 0.5), Forgetting, "forget(1,0)"])
def test_other_ways_to_write_the_rule_are_refused(rule: Any) -> None:
    with pytest.raises(ValueError, match=r"^rule must be one of cold, warm, ideal, got "):
        simulate(np.ones((1, 2, 6), dtype=np.bool_), 3, rule=rule, generator=np.random.default_rng(0))
