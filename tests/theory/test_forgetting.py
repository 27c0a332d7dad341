"""Forgetting in the limit of large chunks: no chance, all noise, and what is forgotten does not matter."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dashtheory.discrete import Forgetting, Mixture, paper_probabilities, simulate
from dashtheory.theory import FeatureTable, Population, greedy_order, population
from tests.theory.forgetting_cases import DEPENDENT
from tests.theory.population_cases import stationary_cases, stationary_data

CORNERS = {"warm": Forgetting(0, 0), "ideal": Forgetting(1, 0), "cold": Forgetting(1, 1)}
MEASURES = ("learned", "unsure", "accuracy", "num_memorized", "active_at_start")


def assert_equal(one: Population, other: Population) -> None:
    for name in MEASURES:
        assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-11, atol=1e-11), name


# --- no chance ------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(case=stationary_cases(), noise=st.sampled_from([0, 1]), feature=st.sampled_from([0, 1]))
def test_the_four_corners_are_the_simulator_on_exactly_stationary_chunks(
    case: Any, noise: int, feature: int
) -> None:
    table, copies, per_class_chunk_size, num_stages, gamma, tau = case
    rule = Forgetting(noise, feature)
    data = stationary_data(table, copies, num_stages)
    run = simulate(data, per_class_chunk_size, gamma=gamma, tau=tau, rule=rule, generator=np.random.default_rng(0))
    limit = population(table, per_class_chunk_size, num_stages, gamma=gamma, tau=tau, rule=rule)
    assert limit.rule == run.rule == f"forget({noise},{feature})"
    assert np.array_equal(limit.learned, run.learned)
    assert np.allclose(limit.active_at_start, run.active_at_start, rtol=0, atol=1e-9)
    assert np.allclose(limit.num_memorized, run.num_memorized, rtol=0, atol=1e-9)


def test_forgetting_features_alone_holds_every_sample_that_was_ever_unsure() -> None:
    # One feature of 1/2, tau 1, gamma 10, chunks of 30. Stage 1 learns it (15) and holds the 15 others. Then the
    # feature is forgotten: all 15 explained samples are active, and the 30 of the new chunk: 15 + 15 show it.
    run = population(FeatureTable.independent([[0.5]]), 30, 3, gamma=10, tau=1, rule=Forgetting(0, 1))
    assert run.active_at_start.tolist() == [30, 45, 60]
    assert run.num_memorized.tolist() == [15, 30, 45]
    assert run.learned.all()
    # With gamma 20 stage 1 holds all 30, and so does every later stage: never learned (cold learns it at stage 2).
    run = population(FeatureTable.independent([[0.5]]), 30, 3, gamma=20, tau=1, rule=Forgetting(0, 1))
    assert run.active_at_start.tolist() == [30, 30, 30]
    assert run.num_memorized.tolist() == [30, 60, 90]
    assert not run.learned.any()


@pytest.mark.parametrize("name", list(CORNERS))
def test_corners_by_name_and_by_number_are_one_rule(name: str) -> None:
    p = paper_probabilities(np.random.default_rng(0), num_features=12, max_probability=0.5)
    worlds: list[Any] = [p, Mixture.correlated(p, 0.5).with_label_noise(0.1), FeatureTable.independent(p[:, :6])]
    for world in worlds:
        named = population(world, 100, 8, gamma=20, rule=name)
        numbered = population(world, 100, 8, gamma=20, rule=CORNERS[name])
        assert named.rule == name
        assert numbered.rule == str(CORNERS[name])
        for measure in MEASURES:
            assert np.array_equal(getattr(named, measure), getattr(numbered, measure)), measure


def small_world(kind: str) -> tuple[Any, FeatureTable]:
    """A world of 5 features with a closed form, and all its combinations."""
    p = np.random.default_rng(5).uniform(0.05, 0.6, (2, 5))
    if kind == "independent":
        return p, FeatureTable.independent(p)
    mixture = Mixture.correlated(p, 0.6)
    tables = [FeatureTable.independent(mixture.probabilities[:, g]) for g in range(2)]
    shares = sum(mixture.weights[:, [g]] * tables[g].frequencies for g in range(2))
    return mixture, FeatureTable(combinations=tables[0].combinations, frequencies=np.asarray(shares))


@pytest.mark.parametrize("kind", ["independent", "correlated"])
@pytest.mark.parametrize("phi", [0.0, 0.03, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("tau", [1, 2, 4])
def test_forgetting_noise_alone_has_a_closed_form(kind: str, phi: float, tau: int) -> None:
    world, table = small_world(kind)
    grown = 0
    for gamma in (2.3, 9.7, 31.1):
        options: dict[str, Any] = {"gamma": gamma, "tau": tau, "rule": Forgetting(phi, 0)}
        closed, listed = population(world, [40, 70.5], 12, **options), population(table, [40, 70.5], 12, **options)
        assert_equal(closed, listed)
        grown += int((closed.num_learned[-1] > closed.num_learned[0]).sum())
    assert grown or phi < 0.1


def test_samples_held_though_explained_are_released_at_the_rate_of_forgetting() -> None:
    # One feature of 1/2, tau 1, gamma 30, chunks of 40, phi 1/4: stage j counts 40 (1 + (j - 1) / 4) samples, half
    # of which show it: 20, 25, 30: learned at stage 3. Then 40 of 80 held samples are explained; 3/4 are held.
    run = population([[0.5]], 40, 5, gamma=30, tau=1, rule=Forgetting(0.25, 0))
    assert run.learned[:, 0, 0].tolist() == [False, False, True, True, True]
    assert run.active_at_start.tolist() == [40, 50, 60, 35, 40]
    assert run.num_memorized.tolist() == [40, 80, 60 + 30, 80 + 22.5, 100 + 16.875]


@settings(max_examples=30)
@given(phi=st.floats(0.01, 0.99), seed=st.integers(0, 10**6))
def test_forgetting_more_noise_learns_more_and_lies_between_warm_and_ideal(phi: float, seed: int) -> None:
    p = paper_probabilities(np.random.default_rng(seed), num_features=10, max_probability=0.4)
    rules = [Forgetting(0, 0), Forgetting(phi / 2, 0), Forgetting(phi, 0), Forgetting(1, 0)]
    runs = [population(p, 200, 10, gamma=30, rule=rule) for rule in rules]
    for less, more in itertools.pairwise(runs):
        assert (less.learned <= more.learned).all()
        assert (less.num_memorized >= more.num_memorized - 1e-9).all()
        assert (less.accuracy <= more.accuracy + 1e-12).all()


# --- all noise, some features -----------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", [0.2, 0.7, 0.95])
@pytest.mark.parametrize("tau", [1, 2])
def test_forgetting_all_noise_and_some_features_learns_what_cold_learns(phi: float, tau: int) -> None:
    """Every draw learns the same; active samples at the start are the mean of 600 draws, in 5 standard errors."""
    p = np.array([[0.5, 0.4, 0.3, 0.2, 0.1], [0.15, 0.55, 0.35, 0.25, 0.45]])
    options: dict[str, Any] = {"gamma": 20.5, "tau": tau}
    closed = population(p, [60, 80], 6, rule=Forgetting(1, phi), **options)
    cold = population(p, [60, 80], 6, rule="cold", **options)
    for name in ("learned", "unsure", "accuracy", "num_memorized"):
        assert np.array_equal(getattr(closed, name), getattr(cold, name)), name
    assert cold.num_learned[0] < cold.num_learned[-1]
    table, generator = FeatureTable.independent(p), np.random.default_rng(0)
    active = []
    for _ in range(600):
        run = population(table, [60, 80], 6, rule=Forgetting(1, phi), generator=generator, **options)
        assert np.array_equal(run.learned, cold.learned)
        assert np.allclose(run.num_memorized, cold.num_memorized)
        active.append(run.active_at_start)
    error = 5 * np.std(active, axis=0) / math.sqrt(600)
    assert (np.abs(np.mean(active, axis=0) - closed.active_at_start) <= error + 1e-9).all()
    assert (closed.active_at_start[1:] < cold.active_at_start[1:]).all()
    assert (
        closed.active_at_start[1:] > population(p, [60, 80], 6, rule="ideal", **options).active_at_start[1:]
    ).all()


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), phi=st.floats(0.05, 0.95), tau=st.integers(1, 4))
def test_what_is_learned_after_forgetting_all_noise_does_not_depend_on_chance(
    seed: int, phi: float, tau: int
) -> None:
    generator = np.random.default_rng(seed)
    p = generator.uniform(0, 0.7, (2, 6))
    gamma = float(generator.uniform(1, 60))
    run = population(
        FeatureTable.independent(p), 40, 7, gamma=gamma, tau=tau, rule=Forgetting(1, phi), generator=generator
    )
    assert np.array_equal(run.learned, population(p, 40, 7, gamma=gamma, tau=tau, rule="cold").learned)


# --- the theorem: of independent features, what is forgotten does not matter ----------------------------------


@st.composite
def independent_cases(draw: st.DrawFn) -> tuple[NDArray[np.float64], float, int, Forgetting]:
    """Probabilities that are no round numbers, so that no two counts tie but those of equal p."""
    num_features = draw(st.integers(2, 5))
    p = [[draw(st.integers(1, 99)) / 103 for _ in range(num_features)] for _ in range(draw(st.integers(1, 2)))]
    phi_noise = draw(st.sampled_from([0.0, 0.07, 0.5, 0.93, 1.0]))
    rule = Forgetting(phi_noise, draw(st.sampled_from([0.11, 0.5, 0.9, 1.0])))
    return np.array(p), draw(st.floats(0.05, 3)), draw(st.integers(1, 4)), rule


@settings(max_examples=120, deadline=None)
@given(case=independent_cases(), seed=st.integers(0, 2**32))
def test_learned_and_memorized_do_not_depend_on_the_features_forgotten(case: Any, seed: int) -> None:
    p, gamma, tau, rule = case
    edge = population(p, 1, 7, gamma=gamma, tau=tau, rule=Forgetting(rule.phi_noise, 0))
    assume(not near_a_tie(p, gamma, tau, rule.phi_noise, 7))
    closed = population(p, 1, 7, gamma=gamma, tau=tau, rule=rule)
    generator = np.random.default_rng(seed)
    drawn = population(FeatureTable.independent(p), 1, 7, gamma=gamma, tau=tau, rule=rule, generator=generator)
    for other in (closed, drawn):
        assert np.array_equal(other.learned, edge.learned)
        assert np.allclose(other.num_memorized, edge.num_memorized, rtol=1e-12, atol=1e-12)
        assert np.allclose(other.accuracy, edge.accuracy, rtol=1e-12)
    if rule.phi_feature == 1:  # nothing is left to chance
        assert np.allclose(drawn.active_at_start, closed.active_at_start, rtol=1e-12, atol=1e-12)


def near_a_tie(p: NDArray[np.float64], gamma: float, tau: int, phi: float, num_stages: int) -> bool:
    """Whether some count of the closed form equals gamma up to rounding: then either side may win."""
    gains = greedy_order(Mixture.independent(p), tau).gains
    copies = 1 + phi * np.arange(num_stages)
    return bool((np.abs(copies[:, None, None] * gains - gamma) < 1e-9).any())


@pytest.mark.parametrize(
    "rule", [Forgetting(0, 0.4), Forgetting(0.3, 0.15), Forgetting(0.8, 0.6), Forgetting(1, 0.2)]
)
@pytest.mark.parametrize("tau", [1, 2, 3])
def test_the_training_time_is_the_mean_over_what_is_forgotten(rule: Forgetting, tau: int) -> None:
    p = [[0.61, 0.47, 0.42, 0.33, 0.17, 0.08], [0.35, 0.52, 0.21, 0.44, 0.13, 0.3]]
    options: dict[str, Any] = {"gamma": 0.29, "tau": tau, "rule": rule}
    closed = population(p, 1, 8, **options)
    generator, table = np.random.default_rng(tau), FeatureTable.independent(p)
    drawn = np.array([population(table, 1, 8, generator=generator, **options).active_at_start for _ in range(400)])
    error = drawn.std(axis=0, ddof=1) / 20
    assert (np.abs(drawn.mean(axis=0) - closed.active_at_start) <= 5 * error + 1e-12).all()
    assert error.max() > 0.001  # chance does decide


@pytest.mark.parametrize("phi_noise", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("tau", "gamma"), [(1, 0.77), (2, 1.03), (3, 0.52)])
def test_with_all_features_forgotten_the_training_time_is_exact(tau: int, gamma: float, phi_noise: float) -> None:
    """Nothing is left to chance, and features learned late come back with the copies that were released since."""
    p = [[0.61, 0.47, 0.42, 0.33, 0.17], [0.55, 0.52, 0.21, 0.44, 0.3]]
    options: dict[str, Any] = {"gamma": gamma, "tau": tau, "rule": Forgetting(phi_noise, 1)}
    closed = population(p, 1, 9, **options)
    listed = population(FeatureTable.independent(p), 1, 9, **options)
    assert np.allclose(closed.active_at_start, listed.active_at_start, rtol=1e-12)
    late = closed.num_learned[-3] - closed.num_learned[0]
    assert (late > 0) == (phi_noise > 0)


def test_the_training_time_by_hand() -> None:
    # One feature of 0.5, tau = 1, gamma = 0.4 n: learned in stage 1, where the half without it is memorised. It is
    # forgotten with chance 0.25; then the half with it is active too: 2 copies at stage 2, none was ever held.
    found = population([[0.5]], 100, 3, gamma=40, tau=1, rule=Forgetting(0.1, 0.25))
    assert np.allclose(found.active_at_start, [100, 50 * 1.1 + 0.25 * 50 * 2, 50 * 1.2 + 0.25 * 50 * 3])


def test_of_features_that_depend_on_each_other_it_does_matter() -> None:
    generator = np.random.default_rng(0)
    options: dict[str, Any] = {"gamma": 0.306, "tau": 1, "rule": Forgetting(0.5, 0.4), "generator": generator}
    assert len({population(DEPENDENT, 1, 6, **options).learned.tobytes() for _ in range(50)}) > 3


# --- bad input ------------------------------------------------------------------------------------------------


CLOSED = "rule must be cold, warm, ideal or Forgetting(phi, 0) in a mixture of components, got "
FIX = ". Run a FeatureTable with a generator: FeatureTable.sampled(world, ...)."
TWO = Mixture.correlated([[0.5]], 0.5)


@pytest.mark.parametrize(
    ("world", "rule"),
    [
        (TWO, Forgetting(1, 0.5)),
        (TWO, Forgetting(0, 0.5)),
        (Mixture.independent([[0.5]]).with_label_noise(0.1), Forgetting(1, 0.5)),
    ],
)
def test_forgetting_without_a_closed_form_is_refused_with_the_way_out(world: Any, rule: Forgetting) -> None:
    with pytest.raises(ValueError, match=re.escape(CLOSED + str(rule) + FIX)):
        population(world, 10, 2, rule=rule, generator=np.random.default_rng(0))


@pytest.mark.parametrize("generator", [None, 3, np.random])
def test_a_forgetting_that_draws_needs_a_generator(generator: Any) -> None:
    message = f"generator must be a numpy Generator, got {generator!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        population(FeatureTable.independent([[0.5]]), 10, 2, rule=Forgetting(1, 0.5), generator=generator)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, True, "half"])
def test_chances_outside_0_to_1_are_named(value: Any) -> None:
    for name in ("phi_noise", "phi_feature"):
        message = f"{name} must be a number in [0, 1], got {value!r}"
        with pytest.raises(ValueError, match=re.escape(message)):
            Forgetting(**{"phi_noise": 0.5, "phi_feature": 0.5, name: value})
