"""What is forgotten: the stated share, from the stated draws, under a rule that says its chances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashtheory.discrete import Forgetting, pack_features, sample_features, simulate
from dashtheory.discrete.forgetting import draw_bits
from tests.discrete.forgetting_cases import Case, any_case, chances
from tests.discrete.simulate_cases import assert_same

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
