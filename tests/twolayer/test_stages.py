"""The protocol on stacks: equal to the loop over modules, reproducible, and with the signs that were measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dashtheory.protocol import Task, TrainConfig, run_stages
from dashtheory.rules import Dash, Rule
from dashtheory.seeds import numpy_stream
from dashtheory.stream import Examples, Stream
from dashtheory.twolayer import (
    CNN_A,
    CUB,
    MLP_SMALL,
    MLPConfig,
    Moment,
    Params,
    PatchConfig,
    Replica,
    StageState,
    TwoLayerConfig,
    draw_chunk,
    draw_test,
    make_stack,
    parse_stack_rule,
    ridge_ceiling,
    run,
    run_two_layer,
    sample_signal_noise,
)
from tests.twolayer.toys import toy_config

PATCH, MLP = PatchConfig(neurons=4), MLPConfig(hidden=8, hidden_scale=0.1)
SPECS = ("cold", "warm", "sp", "dash:lam=0.05", "permuted:lam=0.05", "sp_ash_adams", "dash:optimizer=renewed")


def stages_of_modules(config: TwoLayerConfig, spec: str, seed: int) -> Any:
    """The same protocol by autograd, torch's optimizers and the loop that all levels share."""
    stack = make_stack(config)
    parts = [draw_chunk(config, [seed], stage + 1).of_seed(0) for stage in range(config.num_stages)]
    test = draw_test(config, [seed]).of_seed(0)

    def make_model(generator: torch.Generator) -> torch.nn.Module:
        module = stack.module().to(config.number)
        module.load_state_dict(stack.draw(generator))
        return module

    def make_optimizer(parameters: Any) -> torch.optim.Optimizer:
        if config.optimizer == "adam":
            return torch.optim.Adam(parameters, config.learning_rate)
        decay = config.weight_decay
        return torch.optim.SGD(parameters, config.learning_rate, momentum=config.momentum, weight_decay=decay)

    rule = parse_stack_rule(spec)
    assert isinstance(rule, Rule)
    return run_stages(
        Stream(tuple(Examples(part.x(), part.labels) for part in parts), Examples(test.x(), test.labels)),
        rule,
        Task(make_model=make_model, make_optimizer=make_optimizer),
        TrainConfig(
            batch_size=config.batch_size or 10**6,
            criterion="loss",
            threshold=config.threshold,
            max_epochs=config.max_epochs,
        ),
        seed=seed,
    )


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (PATCH, {}),
        (PATCH, {"num_classes": 3, "batch_size": 5, "weight_decay": 0.001}),
        (PatchConfig(neurons=4, exponent=3.0, smoothed=True, init_scale=0.1), {"max_epochs": 20}),
        (MLP, {"batch_size": 5}),
        (MLP, {"num_classes": 3, "optimizer": "adam", "learning_rate": 0.02}),
    ],
)
def test_a_run_is_the_protocol_on_modules(network: Any, options: dict[str, Any]) -> None:
    config = toy_config(network, velocity="kept", **options)
    seeds = (0, 3)
    found = run(config, SPECS, seeds)
    for order, seed in enumerate(seeds):
        for place, spec in enumerate(SPECS):
            results = list(stages_of_modules(config, spec, seed))
            for result in results:
                for name, value in result.metrics().items():
                    ours = found.metrics[name][order, place, result.stage - 1]
                    assert ours == pytest.approx(value, rel=1e-9, abs=1e-12), (name, spec, seed, result.stage)
            for name, parameter in results[-1].learner.model.named_parameters():
                ours = found.stack_state.params[name][order, place]
                torch.testing.assert_close(ours, parameter.detach(), rtol=1e-9, atol=1e-9)


def test_velocity_starts_anew_every_stage_unless_kept() -> None:
    reset, kept = (
        run(toy_config(MLP, velocity=velocity), ["warm", "warm_rm"], [0]) for velocity in ("reset", "kept")
    )
    same = [
        np.array_equal(one.metrics["test_loss"][:, 0], one.metrics["test_loss"][:, 1]) for one in (reset, kept)
    ]
    assert same == [True, False]
    assert np.array_equal(reset.metrics["test_loss"][0, 1], kept.metrics["test_loss"][0, 1])


def test_rules_share_data_and_the_first_initialization_and_runs_repeat() -> None:
    config = toy_config(PATCH)
    found, again = (run(config, ["cold", "warm", "ideal"], [1, 2]) for _ in range(2))
    for name, values in found.metrics.items():
        assert np.array_equal(values, again.metrics[name], equal_nan=True), name
    assert np.ptp(found.metrics["test_loss"][:, :, 0], axis=1).max() < 1e-12
    assert np.ptp(found.metrics["test_loss"][:, 0, 0]) > 1e-3, "seeds differ"
    assert np.ptp(found.metrics["test_loss"][:, :, 1], axis=1).min() > 1e-3, "rules differ"


def test_company_changes_rounding_alone() -> None:
    config = toy_config(MLP)
    together = run(config, ["cold", "dash", "sp", "ideal"], [0, 1, 2])
    alone = run(config, ["dash"], [1])
    for name, values in alone.metrics.items():
        assert together.metrics[name][1, 1] == pytest.approx(values[0, 0], rel=1e-10, nan_ok=True), name


def test_float32_tells_the_same_story() -> None:
    wide, narrow = (run(toy_config(PATCH, dtype=dtype), ["warm", "dash"], [0]) for dtype in ("float64", "float32"))
    assert narrow.stack_state.params["hidden.weight"].dtype == torch.float32
    assert np.array_equal(wide.metrics["epochs"], narrow.metrics["epochs"])
    assert narrow.metrics["train_loss"] == pytest.approx(wide.metrics["train_loss"], rel=1e-4)


def test_observers_see_every_moment_and_cannot_change_the_run() -> None:
    config = toy_config(PATCH)
    moments: list[tuple[int, Moment, int]] = []
    kept: dict[tuple[int, Moment], Params] = {}

    def watch(stage: int, moment: Moment, state: StageState) -> None:
        moments.append((stage, moment, len(state.data)))
        kept[stage, moment] = {name: value.clone() for name, value in state.stack_state.params.items()}
        assert (set(state.reports) == {1}) == (moment == "after rule")
        for tensor in (*state.stack_state.params.values(), *state.stack_state.initial.values(), state.data.noise):
            tensor.zero_()
        state.test.noise.zero_()
        if state.stack_state.rho is not None:
            state.stack_state.rho.zero_()

    watched, plain = run(config, ["warm", "dash"], [0], on_stage=watch), run(config, ["warm", "dash"], [0])
    expected: list[tuple[int, Moment, int]] = [(1, "end", 12)]
    for stage in (2, 3):
        size = 12 * stage
        expected += [(stage, "before rule", size), (stage, "after rule", size), (stage, "end", size)]
    assert moments == expected
    for name, values in plain.metrics.items():
        assert np.array_equal(watched.metrics[name], values, equal_nan=True), name
    name = "hidden.weight"
    assert torch.equal(kept[2, "before rule"][name], kept[1, "end"][name])
    assert torch.equal(kept[2, "after rule"][name][:, 0], kept[1, "end"][name][:, 0])
    assert not torch.equal(kept[2, "after rule"][name][:, 1], kept[1, "end"][name][:, 1])


def test_norms_are_of_what_was_learned() -> None:
    config = toy_config(MLP)
    found = run(config, ["warm", "sp:shrink=0.3", "ideal", "soft:lam=0.5"], [0])
    first = found.stack_state.params["hidden.weight"][0, 0] - found.stack_state.initial["hidden.weight"][0, 0]
    assert found.metrics["feature_norm"][0, 0, -1] == pytest.approx(float(first[:, :10].norm()))
    assert found.metrics["noise_norm"][0, 0, -1] == pytest.approx(float(first[:, 10:].norm()))
    for place, kept in enumerate([(1, 1), (0.3, 0.3), (1, 0), (1, 0.5)]):
        for metric, factor in zip(("feature_norm", "noise_norm"), kept, strict=True):
            end, before, after = (
                found.metrics[f"{metric}{moment}"][0, place] for moment in ("", "_before_rule", "_after_rule")
            )
            assert np.array_equal(before[1:], end[:-1])
            assert after[1:] == pytest.approx(factor * before[1:])
            assert np.isnan([before[0], after[0]]).all()


def test_replicas_have_numbers_of_their_own_and_name_them_in_the_table() -> None:
    config = toy_config(MLP)
    replicas = [
        Replica(rule="warm"),
        Replica(rule="warm", threshold=0.5),
        Replica(rule=Dash(lam=0.1), learning_rate=0.1, momentum=0.8),
        Replica(rule="cold", weight_decay=0.01, name="cold, decayed"),
    ]
    found = run(config, replicas, [0, 5])
    alone = run(replace(config, learning_rate=0.1, momentum=0.8), ["dash:lam=0.1"], [5])
    assert found.metrics["test_loss"][1, 2] == pytest.approx(alone.metrics["test_loss"][0, 0], rel=1e-10)
    assert (found.metrics["epochs"][:, 1] < found.metrics["epochs"][:, 0]).all()
    table = found.table("toy")
    assert set(table["rule"]) == {"warm", "dash:lam=0.1", "cold, decayed"}
    assert set(table["level"]) == {"twolayer"}
    chosen = table[(table["threshold"] == 0.5) & (table["metric"] == "epochs") & (table["seed"] == 5)]
    assert chosen["value"].tolist() == found.metrics["epochs"][1, 1].tolist()
    assert chosen["stage"].tolist() == [1, 2, 3]
    scales = table[table["metric"] == "mean_scale"]
    assert set(scales["rule"]) == {"dash:lam=0.1"}
    assert set(scales["stage"]) == {2, 3}


def test_a_run_as_a_job_reports_progress_and_gives_the_table() -> None:
    told: list[float] = []
    table = run_two_layer(toy_config(PATCH), ["cold", "warm"], [0], "toy", lambda share, text: told.append(share))
    assert told == sorted(told)
    assert told[0] == 0
    assert told[-1] < 1
    expected = run(toy_config(PATCH), ["cold", "warm"], [0]).table("toy")
    assert table.equals(expected)


@pytest.mark.parametrize(
    ("rules", "seeds", "told"),
    [
        ([], [0], "rules must name at least one, each once"),
        (["warm", "warm"], [0], "rules must name at least one, each once"),
        ("warm", [0], "rules must be a sequence"),
        (["warm"], [], "seeds must name at least one, each once"),
        (["warm"], [1, 1], "seeds must name at least one, each once"),
        (["warm"], [-1], "seeds must be an integer >= 0"),
        (["reset"], [0], "rules may reset the output of an MLP alone"),
        ([Replica(rule="warm", momentum=2.0)], [0], "momentum must be a number in"),
    ],
)
def test_a_bad_argument_is_refused(rules: Any, seeds: list[int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        run(toy_config(PATCH), rules, seeds)


def last(found: Any, rule: str) -> float:
    return float(found.of("test_accuracy", rule)[:, -1].mean())


def test_warm_loses_dash_recovers_part_and_ideal_is_above_cold_in_the_patch_network() -> None:
    found = run(CNN_A, ["cold", "warm", "dash:lam=0.05", "ideal"], range(4))
    cold, warm, dash, ideal = (last(found, rule) for rule in ("cold", "warm", "dash:lam=0.05", "ideal"))
    assert warm < cold - 0.022  # measured: -0.067
    assert dash > warm + 0.013  # +0.044
    assert ideal > cold + 0.014  # +0.043
    assert found.metrics["converged"].all()
    noise = {rule: found.of("noise_norm", rule)[:, -1].mean() for rule in ("cold", "warm", "ideal")}
    assert noise["ideal"] < noise["cold"] < noise["warm"]


def test_warm_loses_and_dash_recovers_in_the_small_mlp_at_half_of_the_steps_of_cold() -> None:
    found = run(MLP_SMALL, ["cold", "warm", "dash:lam=0.05", "ideal"], range(4))
    cold, warm, dash, ideal = (last(found, rule) for rule in ("cold", "warm", "dash:lam=0.05", "ideal"))
    assert warm < cold - 0.008  # measured: -0.024
    assert dash > warm + 0.008  # +0.023
    assert ideal > cold + 0.025  # +0.077
    steps = {rule: found.of("steps", rule).sum(axis=1).mean() for rule in ("cold", "dash:lam=0.05")}
    assert steps["dash:lam=0.05"] < 0.83 * steps["cold"]  # 122 against 248
    ceiling = ridge_ceiling(MLP_SMALL, range(2)).test_accuracy.mean()
    assert abs(ceiling - 0.877) < 0.03  # one standard deviation over seeds was 0.010
    assert ceiling < ideal - 0.03


def test_dash_hurts_with_the_smoothed_cube() -> None:
    found = run(replace(CUB, max_epochs=600, num_stages=4), ["warm", "dash:lam=0.05"], range(4))
    assert last(found, "dash:lam=0.05") < last(found, "warm") - 0.041  # measured: -0.124


def ridge_by_normal_equations(
    x: torch.Tensor, y: torch.Tensor, penalty: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The minimiser of the penalised squares, with the bias as an unpenalised weight."""
    wide = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    left = wide.T @ wide
    left[:-1, :-1] += penalty * torch.eye(x.shape[1], dtype=x.dtype)
    solved = torch.linalg.solve(left, wide.T @ y)
    return solved[:-1], solved[-1]


def test_the_ceiling_is_ridge_regression_with_a_penalty_chosen_on_held_out_samples() -> None:
    config = toy_config(MLP, num_classes=3)
    penalties = (0.01, 0.1, 1.0)
    found = ridge_ceiling(config, [4], penalties=penalties, num_held_out=300)
    parts = [draw_chunk(config, [4], stage).of_seed(0) for stage in (1, 2, 3)]
    x, labels = torch.cat([part.x() for part in parts]), torch.cat([part.labels for part in parts])
    held = sample_signal_noise(config.data, 300, numpy_stream(4, "held out"))
    test = draw_test(config, [4]).of_seed(0)
    accuracies = {}
    for penalty in penalties:
        one_hot = torch.nn.functional.one_hot(labels, 3).double()
        weight, bias = ridge_by_normal_equations(x, one_hot, penalty * config.data.noise_norm**2)
        accuracies[penalty] = [
            float(((part.x() @ weight + bias).argmax(dim=1) == part.labels).double().mean())
            for part in (held, test)
        ]
    assert found.held_out_accuracy[0].tolist() == pytest.approx([accuracies[one][0] for one in penalties])
    best = max(penalties, key=lambda one: (accuracies[one][0], one))
    assert found.penalty[0] == best
    assert found.test_accuracy[0] == pytest.approx(accuracies[best][1])
    with pytest.raises(ValueError, match="penalties must be a number in"):
        ridge_ceiling(config, [0], penalties=(0.0,))
    with pytest.raises(ValueError, match="penalties must have at least one"):
        ridge_ceiling(config, [0], penalties=())


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"batch_size": 5}, {"optimizer": "adam", "learning_rate": 0.02}])
@pytest.mark.parametrize("network", [PATCH, MLP])
def test_a_gpu_gives_what_a_cpu_gives(network: Any, options: dict[str, Any]) -> None:
    specs = ["cold", "warm", "sp", "dash:lam=0.05", "permuted", "ideal", "oracle", "dash_channels"]
    there, here = (run(toy_config(network, device=device, **options), specs, [0, 1]) for device in ("cuda", "cpu"))
    for name, values in here.metrics.items():
        assert there.metrics[name] == pytest.approx(values, rel=1e-6, nan_ok=True), name
