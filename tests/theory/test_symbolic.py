"""The symbolic formulas against all outcomes of few features, the numeric code, and scipy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import sympy as sp  # type: ignore[import-untyped]
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from dashtheory.discrete import expected_accuracy, fewer_than_tau
from dashtheory.theory import FeatureTable, population, prefix_tails
from dashtheory.theory import symbolic as sy
from tests.theory.symbolic_cases import Floats, fewer, stage_function


def stages_by_formula(p: Floats, per_class_chunk_size: float, gamma: float, tau: int) -> Floats:
    """j_1, ..., j_K for sorted p (K,)."""
    ranks = range(1, len(p) + 1)
    return np.array([stage_function(rank, tau)(p[:rank], per_class_chunk_size, gamma) for rank in ranks])


def reject_ties(p: Floats, per_class_chunk_size: float, gamma: float, tau: int) -> None:
    """Leave out draws with n j g_k = gamma up to rounding: either side may win there, in both codes."""
    needed = gamma / (per_class_chunk_size * p * prefix_tails(p[None], tau)[0, :-1])
    assume(bool((np.abs(needed - np.round(needed)) > 1e-9 * needed).all()))


@st.composite
def learners(draw: st.DrawFn, max_features: int = 6) -> tuple[Floats, float, float, int]:
    """Sorted p, samples per class and chunk, gamma and tau, with gamma met at stages from 1 to hundreds."""
    p = np.array(draw(st.lists(st.floats(0.02, 0.97), min_size=1, max_size=max_features)))
    per_class_chunk_size = draw(st.floats(1, 1000))
    gamma = per_class_chunk_size * draw(st.floats(0.01, 1.5))
    tau = draw(st.integers(1, 4))
    p = -np.sort(-p)
    reject_ties(p, per_class_chunk_size, gamma, tau)
    return p, per_class_chunk_size, gamma, tau


@pytest.mark.parametrize("tau", [1, 2, 3, 4, 5])
def test_the_tail_is_the_sum_over_all_outcomes(tau: int) -> None:
    for k in range(5):
        symbols = sy.probability_symbols(k)
        found = sy.tail(k, tau)
        assert sp.expand(found - fewer(symbols, tau)) == 0
        assert found == sp.expand(found)
        assert found.free_symbols == (set(symbols) if k >= tau else set())
        if k:
            assert sp.expand(sy.gain(k, tau) - symbols[-1] * fewer(symbols[:-1], tau)) == 0


def test_symbols_are_positive_and_named() -> None:
    assert [str(symbol) for symbol in sy.probability_symbols(2)] == ["p_1", "p_2"]
    assert [str(symbol) for symbol in sy.probability_symbols(2, "7")] == ["p_{7,1}", "p_{7,2}"]
    real = (sy.CHUNK, sy.GAMMA, sy.EQUAL_P, sy.RATE, sy.FORGOTTEN, *sy.probability_symbols(3))
    assert all(symbol.is_positive and symbol.is_integer is None for symbol in real)
    assert sy.STAGE.is_integer
    assert sy.STAGE.is_positive
    assert sy.CLASSES.is_integer
    assert sy.CLASSES.is_positive
    assert sy.NUM_LEARNED.is_integer
    assert sy.NUM_LEARNED.is_nonnegative


@pytest.mark.parametrize("tau", [1, 2, 4, 8, 9])
def test_numeric_tails_keep_their_relative_precision(tau: int) -> None:
    """Expanded, tau = 1 and p near 1 lose all digits of F, which is about 1e-16 here."""
    uniform = np.random.default_rng(0).uniform(0, 1, (50, 8))
    for p in (uniform, 1 - 0.03 * uniform, 0.01 * uniform):
        found = sy.numeric(sy.tail(8, tau), sy.probability_symbols(8))(p)
        assert found.shape == (50,)
        assert np.allclose(found, fewer_than_tau(np.ones_like(p, dtype=bool), p, tau), rtol=1e-13, atol=0)
        assert np.allclose(found, prefix_tails(p, tau)[:, -1], rtol=1e-13, atol=0)


def test_accuracy_is_the_expected_accuracy() -> None:
    p = -np.sort(-np.random.default_rng(1).uniform(0, 1, (3, 5)), axis=1)
    for tau, count in itertools.product((1, 2, 3), range(6)):
        learned = np.broadcast_to(np.arange(5) < count, (4, 5))
        same = sy.numeric(sy.accuracy(count, tau), sy.probability_symbols(count), sy.CLASSES)
        expected = expected_accuracy(learned, np.tile(p[0], (4, 1)), tau)
        assert np.allclose(same(p[0, :count], 4), expected, rtol=1e-14)
    counts = (5, 0, 3)
    for tau in (1, 2, 3, 4):
        learned = np.arange(5) < np.array(counts)[:, None]
        symbols = [sy.probability_symbols(count, str(c)) for c, count in enumerate(counts, start=1)]
        differ = sy.numeric(sy.accuracy_of_classes(counts, tau), *symbols)
        found = differ(*(row[:count] for row, count in zip(p, counts, strict=True)))
        assert np.allclose(found, expected_accuracy(learned, p, tau), rtol=1e-14)


def test_accuracy_of_equal_classes_is_the_accuracy_and_a_single_class_is_always_right() -> None:
    equal = sy.accuracy_of_classes([3, 3], 2)
    for label in "12":
        equal = equal.subs(dict(zip(sy.probability_symbols(3, label), sy.probability_symbols(3), strict=True)))
    assert sp.expand(equal - sy.accuracy(3, 2).subs(sy.CLASSES, 2)) == 0
    assert sy.accuracy_of_classes([3], 2) == 1


@settings(max_examples=150)
@given(case=learners())
def test_cold_learns_feature_k_at_its_stage(case: tuple[Floats, float, float, int]) -> None:
    p, per_class_chunk_size, gamma, tau = case
    stages = stages_by_formula(p, per_class_chunk_size, gamma, tau)
    cold = population(p[None], per_class_chunk_size, 20, gamma=gamma, tau=tau)
    assert cold.num_learned.tolist() == [int((stages <= j).sum()) for j in range(1, 21)]


def test_hand_sized_stages() -> None:
    # 0.3 / g_k, with F = 1, 1, 0.55, 0.45, 0.409, 0.390: 0.33, 0.6, 2.7, 6.7, 14.7, 38.4.
    stages = stages_by_formula(np.array([0.9, 0.5, 0.2, 0.1, 0.05, 0.02]), 100, 30, 2)
    assert stages.tolist() == [1, 1, 3, 7, 15, 39]


@settings(max_examples=60)
@given(case=learners(max_features=4), stage=st.integers(1, 6))
def test_the_threshold_is_the_largest_gamma_that_learns_k_features(
    case: tuple[Floats, float, float, int], stage: int
) -> None:
    p, per_class_chunk_size, _, tau = case
    for rank in range(1, len(p) + 1):
        limit = sy.numeric(sy.threshold(rank, tau), sy.probability_symbols(rank), sy.CHUNK, sy.STAGE)
        gamma = float(limit(p[:rank], per_class_chunk_size, stage))
        # One part in 1e9 to either side, so that rounding cannot tip a tie.
        below = population(p[None], per_class_chunk_size, stage, gamma=gamma * (1 - 1e-9), tau=tau)
        above = population(p[None], per_class_chunk_size, stage, gamma=gamma * (1 + 1e-9), tau=tau)
        assert above.num_learned[-1] < rank <= below.num_learned[-1]


def test_chunks_until_next_count_down_to_the_next_feature() -> None:
    p, per_class_chunk_size, gamma, tau = np.array([0.8, 0.45, 0.31, 0.12]), 100.0, 30.0, 2
    counts = population(p[None], per_class_chunk_size, 30, gamma=gamma, tau=tau).num_learned
    assert counts[0] < 4 == counts[-1]
    for rank in range(1, 5):
        wait = sy.numeric(
            sy.chunks_until_next(rank, tau), sy.probability_symbols(rank), sy.CHUNK, sy.GAMMA, sy.STAGE
        )
        stages = np.arange(1, 31)
        first = int(np.flatnonzero(counts >= rank)[0]) + 1
        assert (
            wait(p[:rank], per_class_chunk_size, gamma, stages).tolist() == np.maximum(first - stages, 0).tolist()
        )


@settings(max_examples=80)
@given(data=st.data(), tau=st.integers(1, 4), share=st.floats(0.01, 0.8))
def test_cold_is_more_accurate_than_warm_from_the_stated_stage(
    data: st.DataObject, tau: int, share: float
) -> None:
    per_class_chunk_size, num_stages = 100.0, 25
    row = st.lists(st.floats(0.05, 0.8), min_size=5, max_size=5)
    p = -np.sort(-np.array(data.draw(st.lists(row, min_size=1, max_size=3))), axis=1)
    for values in p:
        reject_ties(values, per_class_chunk_size, share * per_class_chunk_size, tau)
    cold, warm = (
        population(p, per_class_chunk_size, num_stages, gamma=share * per_class_chunk_size, tau=tau, rule=rule)
        for rule in ("cold", "warm")
    )
    unsure_cold, unsure_warm = (fewer_than_tau(run.learned, p, tau) for run in (cold, warm))  # (J, C)
    first = np.full(len(p), np.inf)
    for label, values in enumerate(p):
        num_warm = int(warm.learned[0, label].sum())
        if num_warm < 5:
            rank = max(num_warm + 1, tau)
            stage = sy.numeric(
                sy.stage_of_advantage(num_warm, tau), sy.probability_symbols(rank), sy.CHUNK, sy.GAMMA
            )
            first[label] = stage(values[:rank], per_class_chunk_size, share * per_class_chunk_size)
    later = np.arange(1, num_stages + 1)[:, None] >= first
    # A tail that is 1 may round to 1 - 1e-16; a true difference is at least 0.05^4 0.2^4, for p in [0.05, 0.8].
    assert np.array_equal(unsure_warm - unsure_cold > 1e-12, later)
    if len(p) > 1:  # a single class is always guessed right
        assert np.array_equal(cold.accuracy - warm.accuracy > 1e-14, later.any(axis=1))


def test_an_advantage_needs_tau_learned_features() -> None:
    # gamma / n = 0.29: warm learns one feature, cold the second at stage 2, the third at stage 3; tau = 3.
    p = np.array([0.5, 0.2, 0.1])
    stage = sy.numeric(sy.stage_of_advantage(1, 3), sy.probability_symbols(3), sy.CHUNK, sy.GAMMA)
    assert stage(p, 100, 29) == 3
    cold, warm = (population([p, p], 100, 4, gamma=29, tau=3, rule=rule) for rule in ("cold", "warm"))
    assert cold.num_learned.tolist() == [2, 4, 6, 6]
    assert warm.num_learned.tolist() == [2, 2, 2, 2]
    assert (cold.accuracy > warm.accuracy).tolist() == [False, False, True, True]


@pytest.mark.parametrize("tau", [1, 2, 3, 4])
def test_equal_probabilities_are_a_case_of_the_general_tail(tau: int) -> None:
    for k in range(7):
        general = sy.tail(k, tau).subs(dict.fromkeys(sy.probability_symbols(k), sy.EQUAL_P))
        assert sp.simplify(sy.tail_equal(tau).subs(sy.NUM_LEARNED, k) - general) == 0
    function = sy.numeric(sy.tail_equal(tau), sy.NUM_LEARNED, sy.EQUAL_P)
    for k in range(60):
        expected = prefix_tails(np.full((1, k), 0.07), tau)[0, -1]
        assert np.isclose(function(k, 0.07), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("p", "tau"), [(0.3, 1), (0.2, 3), (0.11, 2)])
def test_cold_learns_equal_features_at_the_stages_of_the_closed_form(p: float, tau: int) -> None:
    per_class_chunk_size, gamma = 97.3, 21.7
    arguments = (sy.NUM_LEARNED, sy.EQUAL_P, sy.CHUNK, sy.GAMMA)
    stages = sy.numeric(sy.next_stage_equal(tau), *arguments)(np.arange(7), p, per_class_chunk_size, gamma)
    counts = population([[p] * 7], per_class_chunk_size, 40, gamma=gamma, tau=tau).num_learned
    assert counts.tolist() == [int((stages <= j).sum()) for j in range(1, 41)]
    assert counts[0] < 7 == counts[-1]


@pytest.mark.parametrize("tau", [1, 2, 3, 5, 8])
def test_many_rare_features_give_the_poisson_distribution(tau: int) -> None:
    rates = np.array([0.01, 0.5, 1, 3, 10, 40])
    limit = sy.numeric(sy.tail_poisson(tau), sy.RATE)(rates)
    assert np.allclose(limit, poisson.cdf(tau - 1, rates), rtol=1e-12, atol=0)
    # |binomial - Poisson| <= lambda p (Le Cam): at most lambda^2 / k.
    number = 10**7
    equal = sy.numeric(sy.tail_equal(tau), sy.NUM_LEARNED, sy.EQUAL_P)(number, rates / number)
    assert (np.abs(equal - limit) <= rates**2 / number + 1e-8).all()
    series = sum(sy.RATE**s / sp.factorial(s) for s in range(tau))
    assert sp.expand(sy.tail_poisson(tau) * sp.exp(sy.RATE) - series) == 0


def test_effective_samples_follow_the_memorized_mass() -> None:
    count = sy.numeric(sy.effective_samples(), sy.CHUNK, sy.FORGOTTEN, sy.STAGE)
    for forgotten in (0.0, 0.1, 0.7, 1.0):
        held = 0.0  # chunks' worth of unsure samples whose noise is held
        for stage in range(1, 9):
            held *= 1 - forgotten
            active = stage - held
            assert np.isclose(count(50.0, forgotten, stage), 50 * active, rtol=1e-12)
            held += active
    assert sp.expand(sy.effective_samples().subs(sy.FORGOTTEN, 1) - sy.CHUNK * sy.STAGE) == 0


def learned_with_forgetting(
    p: Floats, per_class_chunk_size: float, gamma: float, tau: int, forgotten: float, num_stages: int
) -> list[int]:
    """Learned features by stage: features kept, a share of each memorised combination forgotten between stages."""
    table = FeatureTable.independent(p[None])
    rows, shares = table.combinations[0], table.frequencies[0]
    held, known, counts = np.zeros(len(shares)), np.zeros(len(p), dtype=bool), []
    for stage in range(1, num_stages + 1):
        held *= 1 - forgotten
        while True:
            unsure = (rows & known).sum(axis=1) < tau
            seen = np.where(known, -np.inf, per_class_chunk_size * (shares * (stage - held) * unsure) @ rows)
            if seen.max() < gamma:
                break
            known[seen.argmax()] = True
        held[unsure] = stage
        counts.append(int(known.sum()))
    return counts


@settings(max_examples=60)
@given(case=learners(max_features=5), forgotten=st.floats(0.05, 1))
def test_with_forgetting_feature_k_is_learned_at_its_stage(
    case: tuple[Floats, float, float, int], forgotten: float
) -> None:
    p, per_class_chunk_size, gamma, tau = case
    gains = p * prefix_tails(p[None], tau)[0, :-1]
    exact = 1 + (gamma / (per_class_chunk_size * gains) - 1) / forgotten
    # As in `reject_ties`, at the stages moved by forgetting; the simulation adds its rounding stage by stage.
    assume(bool((np.abs(exact - np.round(exact)) > 1e-9 * np.abs(exact) + 1e-9).all()))
    stages = [
        float(forgetting_function(rank, tau)(p[:rank], per_class_chunk_size, gamma, forgotten))
        for rank in range(1, len(p) + 1)
    ]
    counts = learned_with_forgetting(p, per_class_chunk_size, gamma, tau, forgotten, 15)
    assert counts == [sum(stage <= j for stage in stages) for j in range(1, 16)]
    assert min(stages) >= 1


@cache
def forgetting_function(rank: int, tau: int) -> Callable[..., Floats]:
    symbols = sy.probability_symbols(rank)
    return sy.numeric(sy.stage_with_forgetting(rank, tau), symbols, sy.CHUNK, sy.GAMMA, sy.FORGOTTEN)


@settings(max_examples=40)
@given(case=learners())
def test_forgetting_everything_is_cold(case: tuple[Floats, float, float, int]) -> None:
    p, per_class_chunk_size, gamma, tau = case
    rank = len(p)
    cold = stage_function(rank, tau)(p, per_class_chunk_size, gamma)
    assert forgetting_function(rank, tau)(p, per_class_chunk_size, gamma, 1.0) == cold
