"""Forgetting between stages: equal to the oracle with the same masks, with the three rules at its corners."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from dashtheory.discrete import Forgetting, Simulation, simulate
from tests.discrete.forgetting_cases import Bools, Case, any_case, small_cases, wide_cases
from tests.discrete.simulate_cases import assert_same

CORNERS = {"warm": Forgetting(0, 0), "ideal": Forgetting(1, 0), "cold": Forgetting(1, 1)}


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
