"""The experiments of level 1 measure what their tables say: each metric again by direct calls, in odd settings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashtheory.discrete import Forgetting, Mixture, expected_accuracy, simulate_batch
from dashtheory.experiments.beyond_independence import BeyondConfig, run_kind
from dashtheory.experiments.discrete_learning import DiscreteConfig, predict_discrete
from dashtheory.experiments.forgetting_map import ForgettingMapConfig, run_forgetting_map
from dashtheory.experiments.phase_diagram import PhaseConfig, run_map
from dashtheory.experiments.warm_creep import CreepConfig, run_creep
from dashtheory.seeds import numpy_stream
from dashtheory.theory import FeatureTable, chance_to_learn, population, warm_chain, warm_law

SETTING: dict[str, Any] = {"num_features": 12, "chunk_size": 200, "gamma": 12, "tau": 2, "max_probability": 0.3}


def silent(share: float, text: str) -> None:
    """Report to nobody."""


def lookup(table: pd.DataFrame, **keys: object) -> dict[str, float]:
    """Metrics by name of the rows with these keys."""
    for name, value in keys.items():
        table = table[table[name] == value]
    assert not table["metric"].duplicated().any()
    return dict(zip(table["metric"], table["value"], strict=True))


def test_predictions_are_those_of_the_limit() -> None:
    config = DiscreteConfig(**SETTING, num_stages=4, num_test=100)
    table = predict_discrete(config, 3, "e")
    for rule in config.rules:
        limit = population(config.draw_probabilities(3), 100, 4, gamma=12, tau=2, rule=rule)
        for stage in (1, 4):
            assert lookup(table, rule=rule, stage=stage) == {
                "predicted_test_accuracy": limit.accuracy[stage - 1],
                "predicted_learned_features": limit.num_learned[stage - 1],
                "predicted_memorized_samples": limit.num_memorized[stage - 1],
                "predicted_active_samples": limit.active_at_start[stage - 1],
            }


def test_creep_is_simulation_chain_law_and_limit() -> None:
    config = CreepConfig(**SETTING, num_stages=20, num_chains=4, num_points=4)
    stages = config.stages
    assert stages == [1, 3, 7, 20]
    table = run_creep(config, 5, "e", silent)
    p = config.draw_probabilities(5)
    numbers: dict[str, Any] = {"gamma": 12, "tau": 2}
    batch = simulate_batch(p, 100, 20, seeds=5, rules=["cold", "warm"], stages=range(1, 21), **numbers)
    law = warm_law(p, 100, 20, **numbers)
    generator = numpy_stream(5, "chains")
    chains = warm_chain(p, 100, 20, num_chains=4, generator=generator, stages=stages, **numbers)
    warm = batch.learned[0, 1]
    learns = np.diff(warm.sum(axis=(1, 2)), prepend=0) > 0
    known = np.concatenate([np.zeros_like(warm[:1]), warm[:-1]])
    chances = np.array([chance_to_learn(one, p, 100, **numbers) for one in known])
    limits = {rule: population(p, 100, 20, rule=rule, **numbers) for rule in ("cold", "warm")}
    for place, (before, stage) in enumerate(zip([0, *stages], stages, strict=False)):
        span = slice(before, stage)
        expected = {
            "learned_features": batch.num_learned[0, 1, stage - 1],
            "test_accuracy": expected_accuracy(warm[stage - 1], p, 2),
            "learning_rate": learns[span].mean(),
            "expected_learning_rate": chances[span].mean(),
            "chain_learned_features": chains[:, place].sum(axis=(1, 2)).mean(),
            "chain_test_accuracy": expected_accuracy(chains[:, place], p, 2).mean(),
            "law_learned_features": law.num_learned[stage - 1],
            "law_test_accuracy": law.accuracy[stage - 1],
            "limit_learned_features": limits["warm"].num_learned[stage - 1],
            "limit_test_accuracy": limits["warm"].accuracy[stage - 1],
        }
        found = lookup(table, rule="warm", stage=stage)
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert math.isclose(found[name], value, rel_tol=1e-9, abs_tol=1e-12), name
        cold = lookup(table, rule="cold", stage=stage)
        assert cold["learned_features"] == batch.num_learned[0, 0, stage - 1]
        assert cold["limit_learned_features"] == limits["cold"].num_learned[stage - 1]
        assert math.isclose(cold["limit_test_accuracy"], limits["cold"].accuracy[stage - 1])
        assert math.isclose(cold["test_accuracy"], expected_accuracy(batch.learned[0, 0, stage - 1], p, 2))


def test_the_forgetting_map_holds_last_and_mean_values_of_simulation_and_limit() -> None:
    config = ForgettingMapConfig(**SETTING, num_stages=6, phis=(0.0, 0.3, 1.0))
    table = run_forgetting_map(config, 4, "e", silent)
    p, stages = config.draw_probabilities(4), range(1, 7)
    for rule in (Forgetting(0.3, 0), Forgetting(0.3, 1), Forgetting(0, 0.3)):
        options: dict[str, Any] = {"gamma": 12, "tau": 2}
        batch = simulate_batch(p, 100, 6, seeds=4, rules=[rule], stages=stages, **options)
        limit = population(p, 100, 6, rule=rule, **options)
        accuracy, active = batch.accuracy[0, 0].mean(axis=1), batch.active_at_start[0, 0].sum(axis=1)
        found = lookup(table, phi_noise=rule.phi_noise, phi_feature=rule.phi_feature)
        expected = {
            "test_accuracy": accuracy[-1],
            "active_samples": active[-1],
            "mean_test_accuracy": accuracy.mean(),
            "mean_active_samples": active.mean(),
            "predicted_test_accuracy": limit.accuracy[-1],
            "predicted_active_samples": limit.active_at_start[-1],
            "predicted_mean_test_accuracy": limit.accuracy.mean(),
            "predicted_mean_active_samples": limit.active_at_start.mean(),
        }
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert math.isclose(found[name], value, rel_tol=1e-12), name


PHASE = PhaseConfig(
    **SETTING,
    num_stages=5,
    gammas=(8, 20),
    taus=(1, 4),
    sizes=(100, 300),
    stages=(2, 3, 6),
    tops=(0.2, 0.5),
    exponents=(0.0, 0.5),
    lows=(0.01, 0.1),
)


@pytest.mark.parametrize(
    ("which", "x", "y"),
    [
        ("gamma_tau", 20, 4),
        ("gamma_tau", 8, 1),
        ("size_stages", 300, 3),
        ("size_stages", 100, 6),
        ("uniform", 0.5, 8),
        ("power_law", 0.5, 20),
        ("two_level", 0.1, 8),
    ],
)
def test_a_point_of_a_map_is_its_own_experiment(which: str, x: float, y: float) -> None:
    table = run_map(PHASE, which, [2, 7], "e", silent)
    size, gamma, tau, stages = 100, 12.0, 2, 5
    p = PHASE.draw_probabilities(7)
    if which == "gamma_tau":
        gamma, tau = x, int(y)
    elif which == "size_stages":
        size, stages = int(x) // 2, int(y)
    else:
        gamma = y
    if which == "uniform":
        p = p * (x / 0.3)
    if which == "power_law":
        falling = np.arange(1, 13) ** -x
        p = np.tile(4 * falling / falling.sum(), (2, 1))
    if which == "two_level":
        p = np.tile([0.3] * 10 + [x] * 2, (2, 1))
    numbers: dict[str, Any] = {"gamma": gamma, "tau": tau}
    longest = 6 if which == "size_stages" else stages
    batch = simulate_batch(p, size, longest, seeds=7, rules=["cold", "warm"], stages=[stages], **numbers)
    for place, rule in enumerate(("cold", "warm")):
        found = lookup(table, x=x, y=y, seed=7, rule=rule)
        assert math.isclose(found["test_accuracy"], batch.accuracy[0, place, 0].mean(), rel_tol=1e-12)
        limit = population(p, size, stages, rule=rule, **numbers)
        assert math.isclose(found["predicted_test_accuracy"], limit.accuracy[-1], rel_tol=1e-12)
        assert ("law_test_accuracy" in found) == (rule == "warm")
        if rule == "warm":
            law = warm_law(p, size, stages, **numbers).accuracy[-1]
            assert math.isclose(found["law_test_accuracy"], law, rel_tol=1e-12)
    assert set(table["stage"]) == ({2, 3, 6} if which == "size_stages" else {5})


BEYOND = BeyondConfig(
    **SETTING,
    num_stages=4,
    correlated=(0.0, 0.7),
    shared=(0, 5),
    unbalanced=(0.5, 0.8),
    label_noise=(0.0, 0.3),
)


@pytest.mark.parametrize(
    ("kind", "x", "sizes"),
    [
        ("correlated", 0.7, [100, 100]),
        ("shared", 5, [200]),
        ("unbalanced", 0.8, [160, 40]),
        ("label_noise", 0.3, [100, 100]),
    ],
)
def test_a_world_beyond_independence_is_measured_as_said(kind: str, x: float, sizes: list[int]) -> None:
    table = run_kind(BEYOND, kind, [1, 6], "e", silent)
    p = BEYOND.draw_probabilities(6)
    world = {
        "correlated": Mixture.correlated(p, 0.7),
        "shared": Mixture.shared(p, 5),
        "unbalanced": Mixture.independent(p),
        "label_noise": Mixture.independent(p).with_label_noise(0.3),
    }[kind]
    limits = {rule: population(world, sizes, 4, gamma=12, tau=2, rule=rule) for rule in ("cold", "warm", "ideal")}
    for rule, limit in limits.items():
        found = lookup(table, x=x, seed=6, rule=rule)
        assert math.isclose(found["predicted_test_accuracy"], limit.accuracy[-1], rel_tol=1e-12)
        assert found["predicted_learned_features"] == limit.num_learned[-1]
        assert math.isclose(found["predicted_active_samples"], limit.active_at_start[-1], rel_tol=1e-12)
        assert found["worst_class_accuracy"] <= found["test_accuracy"] + 1e-12
        assert found["learned_first"] <= found["learned_features"]
    first = {rule: lookup(table, x=x, seed=6, rule=rule)["learned_first"] for rule in limits}
    assert len(set(first.values())) == 1
    assert lookup(table, x=x, seed=6, rule="cold")["in_time_order"] == 1
    assert lookup(table, x=x, seed=6, rule="cold")["active_samples"] == 800


def test_unequal_classes_weigh_by_their_samples_and_the_worse_one_is_told() -> None:
    table = run_kind(BEYOND, "unbalanced", [6], "e", silent)
    noiseless = Mixture.independent(BEYOND.draw_probabilities(6)).with_label_noise(0.0)
    batch = simulate_batch(noiseless, [[160, 40]], 4, seeds=6, gamma=12, tau=2, stages=[1, 4])
    active = simulate_batch(
        noiseless, [[160, 40]], 4, seeds=6, gamma=12, tau=2, stages=range(1, 5)
    ).active_at_start
    for place, rule in enumerate(("cold", "warm", "ideal")):
        found = lookup(table, x=0.8, rule=rule)
        large, small = batch.accuracy[0, place, -1]
        assert math.isclose(found["test_accuracy"], 0.8 * large + 0.2 * small)
        assert math.isclose(found["worst_class_accuracy"], min(large, small))
        assert found["learned_features"] == batch.num_learned[0, place, -1]
        assert found["learned_first"] == batch.num_learned[0, place, 0]
        assert found["active_samples"] == batch.active_at_start[0, place, -1].sum()
    by_rule = dict(zip(("cold", "warm", "ideal"), active[0].sum(axis=2), strict=True))
    for rule, slower in (("warm", "ideal"), ("ideal", "cold")):
        share = (by_rule[rule] <= by_rule[slower]).mean()
        assert lookup(table, x=0.8, rule=rule)["in_time_order"] == share


def test_the_worse_label_is_told_where_labels_share_features() -> None:
    table = run_kind(BEYOND, "shared", [6], "e", silent)
    p = BEYOND.draw_probabilities(6)
    world = Mixture.shared(p, 5)
    batch = simulate_batch(world, 200, 4, seeds=6, gamma=12, tau=2, rules=["warm"])
    known = batch.learned[0, 0, -1, 0]
    found = lookup(table, x=5, rule="warm")
    direct = [
        Mixture.independent(world.probabilities[:, label]).fewer_than_tau(known[None], 2)[0] for label in (0, 1)
    ]
    assert math.isclose(found["worst_class_accuracy"], 1 - 0.5 * max(direct))


def test_the_smallest_world_where_forgotten_features_matter() -> None:
    rows = np.array([[[1, 1, 0], [0, 0, 1], [0, 1, 1]]]) == 1
    table = FeatureTable(combinations=rows, frequencies=np.full((1, 3), 1 / 3))

    class Second(np.random.Generator):
        """Forgets the second feature alone."""

        def random(self, *size: Any, **options: Any) -> Any:
            return np.array([0.9, 0.1, 0.9])

    options: dict[str, Any] = {"gamma": 1 - 1e-9, "tau": 1, "generator": Second(np.random.PCG64(0))}
    kept = population(table, 3, 2, gamma=1 - 1e-9, tau=1, rule="warm").learned[:, 0].tolist()
    lost = population(table, 3, 2, rule=Forgetting(0, 0.5), **options).learned[:, 0].tolist()
    assert kept == [[False, True, True]] * 2
    assert lost == [[False, True, True], [True, False, True]]


def test_the_paper_s_world_meets_one_assumption_and_not_the_other() -> None:
    """What docs/theory.md says of ten seeds: 3 rho and the unsure share after stage 1, of a chunk."""
    config = DiscreteConfig()
    remainders, unsure = [], []
    for seed in range(10):
        p = config.draw_probabilities(seed)
        everything = np.ones_like(p, dtype=bool)
        remainders.append(3 * float(Mixture.independent(p).fewer_than_tau(everything, 3).mean()))
        first = population(p, 500, 1).learned[0]
        unsure.append(float(Mixture.independent(p).fewer_than_tau(first, 3).mean()))
    assert f"{max(remainders):.2f}" == "0.52"
    assert f"{min(unsure):.2f}" == "0.60"
