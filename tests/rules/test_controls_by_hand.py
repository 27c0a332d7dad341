"""Each control and ablation between two stages against a transcription."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dashtheory.rules import (
    ColdShrunk,
    Dash,
    Learner,
    Permuted,
    Perturb,
    Reset,
    ShrinkFresh,
    ShrinkPerturb,
    Threshold,
    Uniform,
    WarmRenewed,
    apply_factors_,
    dash_,
    dash_factors,
    group_cosines,
    smoothed_descent,
    targets,
)
from tests.oracles.ablations import dash_in_groups, mean_factor, times
from tests.oracles.shrink import (
    NETWORKS,
    Attention,
    chunks,
    dash_by_hand,
    entries,
    network,
    noise_by_hand,
    shrunk_parameters,
)
from tests.rules.control_cases import Stage, equal


def test_warm_rm_keeps_the_model_and_renews_the_optimizer() -> None:
    stage = Stage()
    learner, report = stage.apply(WarmRenewed())
    assert learner.model is stage.learner.model
    assert learner.optimizer is stage.renewed[0]
    assert report is None
    stage.expect({})


@pytest.mark.parametrize(
    ("net", "layer", "reset"),
    [
        ("convolutions", "", {"8.weight", "8.bias"}),
        ("convolutions", "3", {"3.weight"}),
        ("convolutions", "1", {"1.weight", "1.bias"}),
        ("perceptron", "", {"7.weight", "7.bias"}),
        ("attention", "", {"head.weight", "head.bias"}),
        ("tied_linear", "", {"4.weight", "4.bias"}),
    ],
)
def test_reset_copies_one_layer_of_a_fresh_model(net: str, layer: str, reset: set[str]) -> None:
    stage = Stage(net)
    Reset(layer=layer).apply(stage.learner, stage.context)
    fresh = stage.made[0].model.state_dict()
    after = stage.learner.model.state_dict()
    for name, before in stage.twin.state_dict().items():
        assert torch.equal(after[name], fresh[name] if name in reset else before), name
    assert all(
        not torch.equal(after[name], stage.twin.state_dict()[name]) for name in reset if net != "convolutions"
    )


def test_reset_names_its_classifier() -> None:
    assert Reset().classifier(network("convolutions")) == "8"
    assert Reset().classifier(Attention()) == "head"
    assert Reset(layer="keys").classifier(Attention()) == "keys"
    assert Reset().classifier(nn.Linear(2, 2)) == ""
    nested = nn.ModuleDict({"head": nn.Linear(2, 2), "body": nn.Sequential(nn.Linear(2, 2), nn.ReLU())})
    assert Reset().classifier(nested) == "body.0"  # the last in order of definition
    with pytest.raises(ValueError, match=r"^model must have a linear layer to reset, got Conv1d\. "):
        Reset().classifier(nn.Conv1d(2, 2, 2))
    with pytest.raises(ValueError, match=r"^layer must be one of , 0, .*, got 'fc'\. "):
        Reset(layer="fc").classifier(network("convolutions"))


def test_reset_of_a_whole_model_that_is_one_linear_layer() -> None:
    model, fresh = nn.Linear(2, 3), nn.Linear(2, 3)
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    context = dataclasses.replace(Stage().context, fresh=lambda: Learner(fresh, learner.optimizer))
    Reset().apply(learner, context)
    assert equal(model.state_dict(), fresh.state_dict())
    assert model.weight is not fresh.weight


@pytest.mark.parametrize("net", NETWORKS)
def test_ash_and_adams_mix_with_the_fresh_model_of_the_stage(net: str) -> None:
    stage = Stage(net)
    ShrinkFresh(shrink=0.6, perturb=0.25).apply(stage.learner, stage.context)
    fresh = dict(stage.made[0].model.named_parameters())
    after = stage.learner.model.state_dict()
    for name, value in stage.twin.named_parameters():
        np.testing.assert_allclose(after[name], 0.6 * entries(value) + 0.25 * entries(fresh[name]), rtol=1e-12)
    for name, buffer in stage.made[0].model.named_buffers():
        assert torch.equal(after[name], buffer)


def test_perturb_adds_the_noise_of_sp_and_shrinks_nothing() -> None:
    stage = Stage()
    Perturb(perturb=0.5).apply(stage.learner, stage.context)
    stage.expect(noise_by_hand(stage.twin, shrink=1, perturb=0.5, generator=torch.Generator().manual_seed(5)))
    sp = Stage()
    ShrinkPerturb(shrink=0, perturb=0.5).apply(sp.learner, sp.context)
    for target in targets(stage.learner.model):
        noise = sp.learner.model.get_parameter(target.name)
        np.testing.assert_allclose(
            (target.parameter - stage.twin.get_parameter(target.name)).detach(), noise.detach(), atol=1e-14
        )


@pytest.mark.parametrize("net", NETWORKS)
def test_uniform_multiplies_all_by_the_mean_factor_of_dash(net: str) -> None:
    stage = Stage(net)
    dash = dash_by_hand(stage.twin, chunks(net), functional.cross_entropy, alpha=0.6, lam=0.1)
    factor = mean_factor(stage.twin, dash)
    _, report = stage.apply(Uniform(alpha=0.6, lam=0.1))
    stage.expect(times(stage.twin, {name: np.full(layer.scales.shape, factor) for name, layer in dash.items()}))
    assert report is not None
    assert report.mean_scale == pytest.approx(factor, rel=1e-12)
    for layer in report:
        assert (layer.scales == layer.scales.flatten()[0]).all()
        np.testing.assert_allclose(layer.cosines, dash[layer.name].cosines, atol=1e-12)


@pytest.mark.parametrize("net", NETWORKS)
def test_uniform_per_layer_takes_the_mean_of_each_parameter(net: str) -> None:
    stage = Stage(net)
    dash = dash_by_hand(stage.twin, chunks(net), functional.cross_entropy, alpha=0.3, lam=0.3)
    stage.apply(Uniform(per_layer=True))
    factors = {name: np.full(layer.scales.shape, layer.scales.mean()) for name, layer in dash.items()}
    stage.expect(times(stage.twin, factors))


@pytest.mark.parametrize("per_layer", [False, True])
def test_uniform_keeps_every_cosine(per_layer: bool) -> None:
    stage = Stage()
    descent, _ = smoothed_descent(stage.twin, chunks("convolutions"), functional.cross_entropy, alpha=0.3)
    stage.apply(Uniform(per_layer=per_layer))
    for before, after in zip(targets(stage.twin), targets(stage.learner.model), strict=True):
        was, now = (group_cosines(t.parameter.detach(), descent[t.name], t.kind) for t in (before, after))
        np.testing.assert_allclose(now, was, atol=1e-14)


@pytest.mark.parametrize("net", NETWORKS)
def test_permuted_keeps_the_multiset_of_factors_of_each_layer(net: str) -> None:
    stage = Stage(net)
    dash = dash_factors(stage.twin, chunks(net), functional.cross_entropy, alpha=0.6, lam=0.0)
    _, report = stage.apply(Permuted(alpha=0.6, lam=0.0))
    assert report is not None
    moved = 0
    for old, new in zip(dash, report, strict=True):
        assert old.scales.shape == new.scales.shape
        assert old.scales.flatten().sort().values.tolist() == new.scales.flatten().sort().values.tolist()
        assert torch.equal(old.cosines, new.cosines)
        moved += not torch.equal(old.scales, new.scales)
    assert moved
    stage.expect(times(stage.twin, {layer.name: layer.scales.numpy() for layer in report}))


def test_permuted_draws_the_order_of_each_layer_from_the_stage() -> None:
    stage, again, other = Stage(), Stage(), Stage()
    for twin in (again, other):
        twin.learner.model.load_state_dict(stage.learner.model.state_dict())
    other.context.generator.manual_seed(6)
    dash = dash_factors(stage.twin, chunks("convolutions"), functional.cross_entropy, lam=0.0)
    generator = torch.Generator().manual_seed(5)
    reports = [twin.apply(Permuted(lam=0.0))[1] for twin in (stage, again, other)]
    assert all(report is not None for report in reports)
    first, second, third = (report for report in reports if report is not None)
    for layer in dash:
        order = torch.randperm(layer.scales.numel(), generator=generator)
        assert torch.equal(first[layer.name].scales.flatten(), layer.scales.flatten()[order])
        assert torch.equal(first[layer.name].scales, second[layer.name].scales)
    assert any(not torch.equal(a.scales, b.scales) for a, b in zip(first, third, strict=True))


@pytest.mark.parametrize("net", NETWORKS)
def test_threshold_shrinks_what_exceeds_it(net: str) -> None:
    stage = Stage(net)
    dash = dash_by_hand(stage.twin, chunks(net), functional.cross_entropy, alpha=0.6, lam=0)
    factors = {name: np.where(layer.cosines > 0.1, 0.25, 1.0) for name, layer in dash.items()}
    _, report = stage.apply(Threshold(alpha=0.6, threshold=0.1, factor=0.25))
    assert report is not None
    stage.expect(times(stage.twin, factors))
    entries_left = sum(layer.num_entries * float((factors[layer.name] == 1).mean()) for layer in report) / sum(
        layer.num_entries for layer in report
    )
    assert report.share_clamped == pytest.approx(entries_left)
    for layer in report:
        np.testing.assert_array_equal(layer.scales, factors[layer.name])


def test_threshold_leaves_a_cosine_that_equals_it() -> None:
    stage = Stage()
    dash = dash_factors(stage.twin, chunks("convolutions"), functional.cross_entropy)
    exactly = float(dash["8.weight"].cosines[1])
    _, report = stage.apply(Threshold(threshold=exactly))
    assert report is not None
    assert report["8.weight"].scales[1] == 1
    below = Stage()
    below.learner.model.load_state_dict(stage.twin.state_dict())
    _, report = below.apply(Threshold(threshold=float(np.nextafter(exactly, -1))))
    assert report is not None
    assert report["8.weight"].scales[1] == pytest.approx(0.3)


@pytest.mark.parametrize("options", [{"factor": 1}, {"threshold": 1}], ids=str)
def test_threshold_with_factor_one_or_threshold_one_is_the_identity_to_the_bit(options: dict[str, Any]) -> None:
    stage = Stage()
    _, report = stage.apply(Threshold(**options))
    assert equal(stage.learner.model.state_dict(), stage.twin.state_dict())
    assert report is not None
    assert report.mean_scale == 1


@pytest.mark.parametrize("net", NETWORKS)
def test_cold_shrunk_is_a_fresh_learner_with_shrunk_weights(net: str) -> None:
    stage = Stage(net)
    learner, report = stage.apply(ColdShrunk(factor=0.25))
    assert report is None
    assert stage.made == [learner]
    assert not learner.optimizer.state_dict()["state"]
    held = learner.optimizer.param_groups[0]["params"]
    assert all(a is b for a, b in zip(held, learner.model.parameters(), strict=True))
    unshrunk = Stage(net).fresh().model
    weights = {name for name, _, _ in shrunk_parameters(unshrunk) if not name.endswith("bias")}
    for name, value in unshrunk.named_parameters(remove_duplicate=False):
        factor = 0.25 if any(value is unshrunk.get_parameter(weight) for weight in weights) else 1.0  # exact
        assert torch.equal(learner.model.get_parameter(name), value * factor), name
    stage.expect({})


@pytest.mark.parametrize("granularity", ["authors", "row", "filter", "tensor"])
def test_dash_takes_every_granularity(granularity: str) -> None:
    stage = Stage("transposed")
    expected = dash_in_groups(
        stage.twin, chunks("transposed"), functional.cross_entropy, alpha=0.6, lam=0.1, granularity=granularity
    )
    stage.apply(Dash(alpha=0.6, lam=0.1, granularity=granularity))
    stage.expect({name: layer.weights for name, layer in expected.items()})


def test_dash_of_the_newest_chunk_is_alpha_one_at_the_price_of_one_chunk() -> None:
    newest, all_ = Stage(), Stage()
    all_.learner.model.load_state_dict(newest.learner.model.state_dict())
    _, report = newest.apply(Dash(alpha=0.2, newest_only=True))
    all_.apply(Dash(alpha=1))
    assert equal(newest.learner.model.state_dict(), all_.learner.model.state_dict())
    assert report is not None
    assert report.num_batches == 1


def test_dash_in_training_mode_draws_from_the_stage_alone() -> None:
    found = []
    start = Stage("perceptron").learner.model.state_dict()
    for global_seed, seed in ((1, 5), (2, 5), (1, 6)):
        stage = Stage("perceptron")
        stage.learner.model.load_state_dict(start)
        stage.context.generator.manual_seed(seed)
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        stage.apply(Dash(training=True, lam=0.0))
        assert torch.equal(torch.get_rng_state(), state)
        found.append(stage.learner.model.state_dict())
    assert equal(found[0], found[1])
    assert not equal(found[0], found[2])
    twin = Stage("perceptron").learner.model
    twin.load_state_dict(start)
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(5)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        dash_(twin, chunks("perceptron"), functional.cross_entropy, training=True, lam=0.0)
    assert equal(found[0], twin.state_dict())


def test_factors_alone_change_nothing_and_applied_they_are_dash() -> None:
    stage = Stage()
    report = dash_factors(stage.learner.model, chunks("convolutions"), functional.cross_entropy, lam=0.05)
    stage.expect({})
    apply_factors_(stage.learner.model, report)
    dash_(stage.twin, chunks("convolutions"), functional.cross_entropy, lam=0.05)
    assert equal(stage.learner.model.state_dict(), stage.twin.state_dict())
