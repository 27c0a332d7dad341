"""What the experiments of level 2 read off the weights, against the readable modules and naive sums."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from dashtheory.experiments.activation_regimes import RegimesConfig, run_exponent
from dashtheory.experiments.alpha_lambda_map import AlphaLambdaConfig, run_alpha_lambda
from dashtheory.experiments.two_layer_dynamics import DynamicsConfig, Watch, feature_margins_of, run_dynamics
from dashtheory.measure import decompose, feature_margins
from dashtheory.twolayer import (
    MLPConfig,
    Moment,
    PatchConfig,
    SignalNoise,
    StageState,
    TwoLayerConfig,
    of_replica,
    run,
)

DATA = SignalNoise(num_features=4, p_max=0.5, p_min=0.2, noise_dim=60)
PATCH = TwoLayerConfig(
    data=DATA,
    network=PatchConfig(neurons=3),
    num_stages=3,
    chunk_size=10,
    num_test=50,
    dtype="float64",
    max_epochs=60,
)
MLP = dataclasses.replace(PATCH, network=MLPConfig(hidden=5), learning_rate=0.1)


def silent(share: float, text: str) -> None:
    """No progress."""


def states(config: TwoLayerConfig, rules: list[str]) -> dict[tuple[int, Moment], StageState]:
    """Every moment of a run."""
    seen: dict[tuple[int, Moment], StageState] = {}
    run(config, rules, [0, 1], on_stage=lambda stage, moment, state: seen.update({(stage, moment): state}))
    return seen


def test_margins_of_the_mlp_are_those_of_its_module() -> None:
    state = states(MLP, ["cold", "dash"])[3, "end"]
    found = feature_margins_of(state)
    signs = torch.tensor([-1.0] * 4 + [1.0] * 4, dtype=torch.float64)
    vectors = torch.eye(8, DATA.dimension, dtype=torch.float64)
    for seed in (0, 1):
        for replica in (0, 1):
            module = state.network.module().double()
            module.load_state_dict(of_replica(state.stack_state.params, seed, replica))
            oracle = feature_margins(lambda x, module=module: module(x)[:, 1] - module(x)[:, 0], vectors, signs)  # type: ignore[misc]
            assert torch.allclose(found[seed, replica], oracle, atol=1e-12)


def test_margins_of_the_patch_network_are_sums_over_neurons() -> None:
    state = states(PATCH, ["warm"])[3, "end"]
    found = feature_margins_of(state)
    weights = state.stack_state.params["hidden.weight"][:, 0, :, :8].clamp(min=0) ** 1.75
    own, other = weights[:, :3].mean(dim=1), weights[:, 3:].mean(dim=1)
    naive = torch.cat([(own - other)[:, :4], (other - own)[:, 4:]], dim=1)
    assert torch.allclose(found[:, 0], naive, atol=1e-12)


def test_persistence_is_that_of_the_decomposition() -> None:
    """The state of the stack knows rho without a fit; the decomposition of `dashtheory.measure` solves for it."""
    seen: dict[int, StageState] = {}
    watch = Watch("x")

    def both(stage: int, moment: Moment, state: StageState) -> None:
        watch(stage, moment, state)
        if moment == "end":
            seen[stage] = state

    run(PATCH, ["warm", "dash"], [0, 1], on_stage=both)
    kept = {
        (row["rule"], row["seed"], row["stage"]): row["value"]
        for row in watch.rows
        if row["metric"] == "persistence"
    }
    for place, rule in enumerate(("warm", "dash")):
        for seed in (0, 1):
            lengths = []
            for stage in (1, 3):
                state = seen[stage]
                weights = state.stack_state.params["hidden.weight"][seed, place, :, 8:]
                start = state.stack_state.initial["hidden.weight"][seed, place, :, 8:]
                noise = state.data.noise[seed]
                found = decompose(weights, start, noise.new_zeros((0, 60)), noise)
                assert found.identifiable, found.reason
                assert state.stack_state.rho is not None
                assert torch.allclose(found.rho, state.stack_state.rho[seed, place], atol=1e-9)
                lengths.append(float(found.noise_part(slice(0, 10)).norm()))
            assert kept[rule, seed, 3] == pytest.approx(lengths[1] / lengths[0], rel=1e-8)


def dynamics() -> pd.DataFrame:
    rules = ("cold", "warm", "sp", "dash", "ideal")
    config = DynamicsConfig(regime="cnn_a", rules=rules, num_stages=3, num_test=100)
    return run_dynamics(config, [0, 1], "x", silent)


def test_measures_are_of_the_stage_that_they_say() -> None:
    points = dynamics()
    wide = points[points["neuron"].isna() & points["feature"].isna()].pivot_table(
        index=["rule", "stage", "seed"], columns="metric", values="value"
    )
    first = wide.xs(1, level="stage")
    assert np.allclose(first["persistence"], 1)
    assert first["old_loss_before_rule"].isna().all()
    assert (first.groupby("seed")["test_accuracy"].nunique() == 1).all()  # no rule has acted yet
    later = wide[wide.index.get_level_values("stage") > 1]
    assert later.drop("ridge", level="rule")["old_loss_after_rule"].notna().all()
    # Memorisation gap = training accuracy at the end minus accuracy with swapped noise; stages end fitted.
    trained = wide.drop("ridge", level="rule")
    accuracy = trained["memorisation_gap"] + trained["swap_accuracy"]
    assert (accuracy > 0.95).all()
    assert (accuracy <= 1).all()
    assert wide.xs("ridge", level="rule")["test_accuracy"].notna().sum() == 2
    cosines = points[points["metric"] == "cosine"]
    assert set(cosines["rule"]) == {"dash"}
    assert len(cosines) == 2 * 20
    frequency = points[points["metric"] == "frequency"].groupby("feature")["value"].mean()
    assert np.allclose(frequency, SignalNoise().frequencies().mean(axis=0))


def test_options_of_rules_are_the_configuration_s_unless_given() -> None:
    config = DynamicsConfig(lam=0.1, alpha=0.4, shrink=0.2, perturb=0.03)
    assert config.replica("dash").rule == "dash:alpha=0.4:lam=0.1"
    assert config.replica("dash:lam=0.7").rule == "dash:lam=0.7:alpha=0.4"
    assert config.replica("sp").rule == "sp:shrink=0.2:perturb=0.03"
    assert config.replica("sp_ash_adams").rule == "sp_ash_adams"
    assert config.replica("soft").rule == "soft"
    assert config.replica("norm_matched").rule == "norm_matched:of=dash+alpha=0.4+lam=0.1"
    assert config.replica("norm_matched:of=sp+shrink=0.7").rule == "norm_matched:of=sp+shrink=0.7+perturb=0.03"
    assert config.replica("uniform").label == "uniform"


def test_a_point_of_the_map_is_that_rule_alone() -> None:
    config = AlphaLambdaConfig(regimes=("mlp_small",), alphas=(0.3,), lams=(0.05, 0.5), num_stages=3, num_test=200)
    points = run_alpha_lambda(config, "mlp_small", [3], "x", silent)
    alone = run(config.setting("mlp_small"), ["dash:lam=0.5"], [3])
    mine = points[(points["rule"] == "dash") & (points["lam"] == 0.5)].set_index("metric")["value"]
    assert mine["test_accuracy"] == pytest.approx(alone.of("test_accuracy", "dash:lam=0.5")[0, -1], abs=0.01)
    assert mine["steps"] == pytest.approx(alone.of("steps", "dash:lam=0.5")[0, 1:].sum(), abs=2)
    assert mine["share_clamped"] == pytest.approx(
        alone.of("share_clamped", "dash:lam=0.5")[0, 1:].mean(), abs=0.02
    )


def test_cells_of_both_maps_have_their_own_setting() -> None:
    config = RegimesConfig(
        exponents=(2.0,),
        init_scales=(0.003, 0.02),
        thresholds=(0.1,),
        rules=("cold", "warm"),
        num_stages=2,
        num_test=200,
    )
    for which, height, setting in (
        ("init", 0.02, config.setting(2.0, 0.02, 0.05)),
        ("threshold", 0.1, config.setting(2.0, 0.003, 0.1)),
    ):
        points = run_exponent(config, which, 2.0, [0], "x", silent)
        cell = points[(points["y"] == height) & (points["rule"] == "warm")].set_index("metric")["value"]
        alone = run(setting, ["cold", "warm"], [0])
        assert cell["steps"] == alone.of("steps", "warm")[0].sum()
        assert cell["test_accuracy"] == alone.of("test_accuracy", "warm")[0, -1]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (DynamicsConfig, {"regime": "cnn"}, "regime must be one of cnn_a"),
        (DynamicsConfig, {"rules": ("no_rule",)}, "rules must be one of"),
        (DynamicsConfig, {"rules": ("l2_init",)}, "rule must be one for stacks"),
        (DynamicsConfig, {"rules": ()}, "rules must name at least one"),
        (DynamicsConfig, {"num_stages": -1}, "num_stages must be an integer >= 0"),
        (AlphaLambdaConfig, {"lams": (2.0,)}, "lam must be a number"),
        (AlphaLambdaConfig, {"alphas": ()}, "alphas must name at least one"),
        (AlphaLambdaConfig, {"regimes": ("cnn",)}, "regimes must be one of"),
        (RegimesConfig, {"exponents": (0.5,)}, "exponents must be a number"),
        (RegimesConfig, {"thresholds": (0.0,)}, "thresholds must be a number"),
        (RegimesConfig, {"rules": ("warm", "cold")}, "rules must begin with cold"),
        (RegimesConfig, {"maps": ("depth",)}, "maps must be one of init, threshold"),
        (RegimesConfig, {"init_scales": ()}, "init_scales must name at least one"),
    ],
)
def test_bad_settings_are_refused(kind: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
