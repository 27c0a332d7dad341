"""The exact simulator of level 1 obeys the laws of the model: stages, rules, relabelling."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dashtheory.discrete import sample_features, simulate
from tests.discrete.simulate_cases import RULE_NAMES, Bools, Case, any_case, any_rule, arrived, every_rule


def shown_and_learned(features: Bools, learned: Bools) -> NDArray[np.int64]:
    """Learned features that each sample shows: (C, K, n), (J, C, K) -> int64 (J, C, n)."""
    shown: NDArray[np.int64] = np.einsum("ckn,jck->jcn", features.astype(int), learned.astype(int))
    return shown


# ---------------------------------------------------------------------------------------- bookkeeping


@given(case=any_case, rule=any_rule)
@settings(max_examples=100)
def test_every_sample_of_a_stage_is_memorized_or_shows_tau_learned_features(case: Case, rule: str) -> None:
    run = case.run(rule)
    fitted = shown_and_learned(case.features, run.learned) >= case.tau
    here = np.broadcast_to(arrived(case), fitted.shape)
    assert (run.memorized | fitted)[here].all()
    assert not run.memorized[~here].any()
    if rule != "warm":  # memory is emptied before each stage, so nothing is held without need
        assert not (run.memorized & fitted).any()


@given(case=any_case, rule=any_rule)
@settings(max_examples=100)
def test_a_stage_ends_because_no_unlearned_feature_is_frequent(case: Case, rule: str) -> None:
    """Over the samples memorised in this very stage, each unlearned feature is shown fewer than gamma times."""
    run = case.run(rule)
    newly = run.memorized.copy()
    if rule == "warm":
        newly[1:] &= ~run.memorized[:-1]
    counts = np.einsum("ckn,jcn->jck", case.features.astype(int), newly.astype(int))
    assert (counts < case.gamma)[~run.learned].all()


@given(case=any_case)
@settings(max_examples=50)
def test_cold_starts_every_stage_with_all_samples_active(case: Case) -> None:
    run = case.run("cold")
    per_chunk = case.features.shape[0] * case.per_class_chunk_size
    assert run.active_at_start.tolist() == [per_chunk * (j + 1) for j in range(len(run.active_at_start))]


@given(case=any_case)
@settings(max_examples=50)
def test_warm_starts_with_the_new_samples_that_lack_learned_features(case: Case) -> None:
    run = case.run("warm")
    lacking = shown_and_learned(case.features, run.learned) < case.tau
    for stage in range(1, len(run.active_at_start)):
        new = slice(stage * case.per_class_chunk_size, (stage + 1) * case.per_class_chunk_size)
        assert run.active_at_start[stage] == np.count_nonzero(lacking[stage - 1, :, new])


@given(case=any_case)
@settings(max_examples=50)
def test_ideal_starts_with_all_samples_that_lack_learned_features(case: Case) -> None:
    run = case.run("ideal")
    lacking = shown_and_learned(case.features, run.learned) < case.tau
    for stage in range(1, len(run.active_at_start)):
        end = (stage + 1) * case.per_class_chunk_size
        assert run.active_at_start[stage] == np.count_nonzero(lacking[stage - 1, :, :end])


@given(case=any_case)
@settings(max_examples=50)
def test_a_warm_chain_never_unlearns_and_never_forgets(case: Case) -> None:
    run = case.run("warm")
    assert (run.learned[1:] >= run.learned[:-1]).all()
    assert (run.memorized[1:] >= run.memorized[:-1]).all()


@given(case=any_case)
@settings(max_examples=50)
def test_ideal_never_unlearns(case: Case) -> None:
    run = case.run("ideal")
    assert (run.learned[1:] >= run.learned[:-1]).all()


@given(case=any_case, rule=any_rule)
@settings(max_examples=100)
def test_the_order_lists_what_each_stage_learned_once(case: Case, rule: str) -> None:
    """Cold: all that is known at the end of the stage. Warm and ideal: what was not known before it."""
    run = case.run(rule)
    before = np.zeros_like(run.learned[0])
    for order, after in zip(run.order, run.learned, strict=True):
        pairs = [tuple(pair) for pair in order.tolist()]
        assert sorted(pairs) == [tuple(pair) for pair in np.argwhere(after & ~before).tolist()]
        before = before if rule == "cold" else after


@given(case=any_case, rule=any_rule)
@settings(max_examples=50)
def test_the_totals_count_the_tables(case: Case, rule: str) -> None:
    run = case.run(rule)
    assert run.rule == rule
    assert run.num_learned.tolist() == [int(table.sum()) for table in run.learned]
    assert run.num_memorized.tolist() == [int(table.sum()) for table in run.memorized]


# ------------------------------------------------------------------------------------ between the rules


@given(case=any_case)
@settings(max_examples=50)
def test_the_first_stage_is_the_same_for_all_rules(case: Case) -> None:
    runs = [case.run(rule) for rule in RULE_NAMES]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.learned[0], runs[0].learned[0])
        np.testing.assert_array_equal(run.memorized[0], runs[0].memorized[0])
        assert run.active_at_start[0] == runs[0].active_at_start[0]
        assert run.order[0].tolist() == runs[0].order[0].tolist()


@given(case=any_case)
@settings(max_examples=50)
def test_a_cold_stage_is_one_run_on_all_chunks_at_once(case: Case) -> None:
    run = case.run("cold")
    for stage in range(len(run.order)):
        end = (stage + 1) * case.per_class_chunk_size
        alone = simulate(case.features[:, :, :end], end, gamma=case.gamma, tau=case.tau, rule="cold")
        np.testing.assert_array_equal(run.learned[stage], alone.learned[0])
        np.testing.assert_array_equal(run.memorized[stage, :, :end], alone.memorized[0])
        assert run.order[stage].tolist() == alone.order[0].tolist()


@given(case=any_case, num_repeats=st.integers(2, 3))
@settings(max_examples=50)
def test_warm_learns_nothing_from_the_first_chunk_repeated(case: Case, num_repeats: int) -> None:
    """What a repeated chunk leaves active is what stage 1 left, where no feature was frequent enough."""
    chunk = case.features[:, :, : case.per_class_chunk_size]
    repeated = np.tile(chunk, (1, 1, num_repeats))
    run = simulate(repeated, case.per_class_chunk_size, gamma=case.gamma, tau=case.tau, rule="warm")
    assert all(len(order) == 0 for order in run.order[1:])
    assert run.num_memorized.tolist() == [(j + 1) * int(run.num_memorized[0]) for j in range(num_repeats)]


# --------------------------------------------------------------------------------------- relabelling


@given(case=any_case, rule=any_rule, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=80)
def test_relabeling_classes_permutes_the_results(case: Case, rule: str, seed: int) -> None:
    """Classes share nothing, so this holds even with ties; only the interleaving needs none."""
    new = np.random.default_rng(seed).permutation(case.features.shape[0])
    run = case.run(rule)
    moved = simulate(case.features[new], case.per_class_chunk_size, gamma=case.gamma, tau=case.tau, rule=rule)
    np.testing.assert_array_equal(moved.learned, run.learned[:, new])
    np.testing.assert_array_equal(moved.memorized, run.memorized[:, new])
    np.testing.assert_array_equal(moved.active_at_start, run.active_at_start)
    for before, after in zip(run.order, moved.order, strict=True):
        for label, old in enumerate(new):
            mine, theirs = after[after[:, 0] == label, 1], before[before[:, 0] == old, 1]
            assert mine.tolist() == theirs.tolist()


@every_rule
@given(seed=st.integers(0, 2**32 - 1), per_class_chunk_size=st.integers(70, 200), tau=st.integers(1, 3))
@settings(max_examples=15)
def test_relabeling_permutes_the_results_where_there_are_no_ties(
    seed: int, per_class_chunk_size: int, tau: int, rule: str
) -> None:
    """Both classes and features, the order of learning included."""
    generator = np.random.default_rng(seed)
    probabilities = generator.permuted(np.linspace(0.05, 0.8, 10).reshape(2, 5))
    features = sample_features(probabilities, 2 * per_class_chunk_size, generator)
    case = Case(features=features, per_class_chunk_size=per_class_chunk_size, gamma=12, tau=tau)
    assume(not case.oracle(rule).tied)
    class_names, names = generator.permutation(2), generator.permutation(5)
    moved = simulate(features[class_names][:, names], per_class_chunk_size, gamma=12, tau=tau, rule=rule)
    run = case.run(rule)
    np.testing.assert_array_equal(moved.learned, run.learned[:, class_names][:, :, names])
    np.testing.assert_array_equal(moved.memorized, run.memorized[:, class_names])
    for before, after in zip(run.order, moved.order, strict=True):
        restored = np.stack([class_names[after[:, 0]], names[after[:, 1]]], axis=1)
        assert restored.tolist() == before.tolist()


@given(case=any_case, rule=any_rule, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=80)
def test_shuffling_the_samples_of_each_chunk_only_moves_what_is_memorized(
    case: Case, rule: str, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    chunks = np.arange(case.features.shape[2]).reshape(-1, case.per_class_chunk_size)
    places = generator.permuted(chunks, axis=1).ravel()
    run = case.run(rule)
    moved = simulate(
        case.features[:, :, places], case.per_class_chunk_size, gamma=case.gamma, tau=case.tau, rule=rule
    )
    np.testing.assert_array_equal(moved.learned, run.learned)
    np.testing.assert_array_equal(moved.memorized, run.memorized[:, :, places])
    assert [order.tolist() for order in moved.order] == [order.tolist() for order in run.order]
