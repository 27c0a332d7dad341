"""The explorer of level 1 shows what theory and simulation compute."""

from __future__ import annotations

import numpy as np
import pytest

from dashtheory.discrete import DISCRETE_RULES, Forgetting, draw_data, expected_accuracy, simulate
from dashtheory.explore import explore_discrete
from dashtheory.explore.discrete import DISTRIBUTIONS, FORGETTING, DiscreteState, limit, simulated, world
from dashtheory.theory import population


@pytest.mark.parametrize(
    "state",
    [
        DiscreteState(),
        DiscreteState(gamma=20, tau=2, chunk_size=200, num_stages=9, distribution="power_law", phi_feature=0.4),
        DiscreteState(distribution="correlated", num_stages=12, phi_feature=0.0),
        DiscreteState(distribution="label_noise", num_stages=12, phi_feature=0.0, phi_noise=0.1),
        DiscreteState(distribution="equal", tau=1, num_stages=5, phi_noise=1.0, phi_feature=1.0),
    ],
)
def test_lines_are_the_population_limit(state: DiscreteState) -> None:
    found = limit(state)
    rules: dict[str, str | Forgetting] = {
        **{rule: rule for rule in DISCRETE_RULES},
        FORGETTING: Forgetting(state.phi_noise, state.phi_feature),
    }
    assert list(found) == list(rules)
    for name, rule in rules.items():
        expected = population(
            world(state.distribution),
            state.chunk_size / 2,
            state.num_stages,
            gamma=state.gamma,
            tau=state.tau,
            rule=rule,
        )
        np.testing.assert_array_equal(found[name].num_learned, expected.num_learned)
        np.testing.assert_array_equal(found[name].num_memorized, expected.num_memorized)
        np.testing.assert_array_equal(found[name].accuracy, expected.accuracy)
        np.testing.assert_array_equal(found[name].active_at_start, expected.active_at_start)


def test_dots_are_a_simulation_of_the_same_state() -> None:
    state = DiscreteState(gamma=12, chunk_size=200, num_stages=6)
    found = simulated(state, seed=3)
    p = world("paper").probabilities[:, 0]
    data = draw_data(p, state.per_class_chunk_size * state.num_stages, 3)
    for rule in DISCRETE_RULES:
        runs = [simulate(samples, state.per_class_chunk_size, gamma=12, tau=3, rule=rule) for samples in data]
        learned = np.concatenate([one.learned for one in runs], axis=1)
        np.testing.assert_array_equal(found[rule].num_learned, sum(one.num_learned for one in runs))
        np.testing.assert_array_equal(found[rule].num_memorized, sum(one.num_memorized for one in runs))
        np.testing.assert_array_equal(found[rule].active_at_start, sum(one.active_at_start for one in runs))
        # a mean over two classes, taken in another order
        np.testing.assert_allclose(found[rule].accuracy, expected_accuracy(learned, p, 3), rtol=1e-14)


def test_dots_belong_to_the_states_that_were_simulated() -> None:
    explorer = explore_discrete(num_stages=5)
    assert "Dots: a simulation" in explorer.text
    first = explorer.png
    explorer.set(gamma=30)
    assert "not simulated" in explorer.text
    bare = explorer.png
    explorer.simulate()
    assert "Dots: a simulation" in explorer.text
    assert explorer.png != bare
    explorer.set(gamma=50)
    assert explorer.png == first


@pytest.mark.parametrize(
    ("noise", "feature", "corner"), [(1.0, 1.0, "cold"), (0.0, 0.0, "warm"), (1.0, 0.0, "ideal")]
)
@pytest.mark.parametrize("distribution", ["paper", "correlated"])
def test_forgetting_has_cold_warm_and_ideal_as_corners(
    noise: float, feature: float, corner: str, distribution: str
) -> None:
    found = limit(DiscreteState(phi_noise=noise, phi_feature=feature, distribution=distribution, num_stages=20))
    for metric in ("num_learned", "num_memorized", "accuracy", "active_at_start"):
        np.testing.assert_array_equal(getattr(found[FORGETTING], metric), getattr(found[corner], metric))


def test_a_larger_gamma_never_learns_more_and_warm_never_more_than_cold() -> None:
    before = np.full(50, 100.0)
    for gamma in range(1, 300, 23):
        found = limit(DiscreteState(gamma=gamma))
        assert (found["cold"].num_learned <= before).all()
        assert (found["warm"].num_learned <= found["cold"].num_learned).all()
        before = found["cold"].num_learned


def test_worlds_have_probabilities_and_all_names() -> None:
    for distribution in DISTRIBUTIONS:
        assert world(distribution).shape[0] == 2
        assert world(distribution).shape[2] == 50
    assert (world("equal").probabilities == 0.1).all()
    assert world("power_law").probabilities[0, 0, 3] == pytest.approx(0.2)
