"""The explorers of alpha and lam and of shrinking show what the rules do to networks and vectors."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from dashtheory.batchnorm import reestimated
from dashtheory.evaluate import cross_entropy, evaluate
from dashtheory.experiments.shrink_geometry import changed
from dashtheory.explore import explore_alpha_lambda
from dashtheory.explore.alpha_lambda import EDGES, NUM_QUANTILES, AlphaLambdaState, Shrinks
from dashtheory.explore.geometry import NUM_DRAWS, ShrinkState, compute, mixed
from dashtheory.explore.networks import LAMS, NETWORKS, TrainedNetwork, assembled, trained
from dashtheory.explore.training import weights_of
from dashtheory.measure import decompose
from dashtheory.rules import ShrinkReport, dash_
from dashtheory.stream import join
from dashtheory.twolayer import CNN_A, run

# ---------------------------------------------------------------------------------------------- alpha x lambda


@pytest.fixture(scope="module", params=list(NETWORKS))
def shrinks(request: pytest.FixtureRequest) -> Shrinks:
    """Either trained network."""
    return Shrinks(trained(request.param))


def direct(network: TrainedNetwork, alpha: float, lam: float) -> tuple[torch.nn.Module, ShrinkReport]:
    """The network after DASH itself."""
    model = copy.deepcopy(network.model)
    batches = [(one.inputs, one.targets) for one in network.chunks]
    return model, dash_(model, batches, cross_entropy, alpha=alpha, lam=lam)


@pytest.mark.parametrize(("alpha", "lam"), [(0.3, 0.3), (1.0, 0.05), (0.02, 0.0), (0.7, 1.0)])
def test_every_number_is_that_of_dash_itself_to_the_bit(shrinks: Shrinks, alpha: float, lam: float) -> None:
    network, found = shrinks.network, shrinks.compute(AlphaLambdaState(alpha=alpha, lam=lam))
    model, report = direct(network, alpha, lam)
    assert found.mean == report.mean_scale
    assert found.share_clamped == report.share_clamped
    assert found.lengths[1].tolist() == list(network.lengths(model).values())
    ready = reestimated(model, join(network.chunks).inputs) if network.has_statistics else model
    assert found.accuracy[1].tolist() == [evaluate(ready, one).accuracy for one in network.groups.values()]
    if network.has_statistics:
        assert found.stale == evaluate(model, network.groups["test"]).accuracy
    scales = np.concatenate([layer.scales.flatten().double() for layer in report])
    assert {found.quantiles[0], found.quantiles[-1]} == {scales.min(), scales.max()}


def test_shares_and_sorted_factors_weigh_groups_by_their_entries(shrinks: Shrinks) -> None:
    found = shrinks.compute(AlphaLambdaState(alpha=0.5, lam=0.1))
    _, report = direct(shrinks.network, 0.5, 0.1)
    sizes = [layer.num_entries // layer.scales.numel() for layer in report]
    per_entry = {
        one: np.concatenate(
            [
                np.repeat(getattr(layer, one).flatten().double().numpy(), size)
                for layer, size in zip(report, sizes, strict=True)
            ]
        )
        for one in ("cosines", "scales")
    }
    counts, _ = np.histogram(per_entry["cosines"], EDGES)
    np.testing.assert_allclose(found.shares, counts / counts.sum(), rtol=1e-12)  # sums of whole numbers below 2^53
    factors = np.sort(per_entry["scales"])
    places = np.ceil(np.linspace(0, 1, NUM_QUANTILES) * len(factors)).astype(int) - 1
    np.testing.assert_array_equal(found.quantiles[1:], factors[places[1:]])
    assert found.shares.sum() == pytest.approx(1, abs=1e-12)


def test_lam_of_one_leaves_everything_as_it_is(shrinks: Shrinks) -> None:
    found = shrinks.compute(AlphaLambdaState(alpha=0.3, lam=1.0))
    assert found.mean == found.share_clamped == 1
    assert (found.quantiles == 1).all()
    for row in (1, 2):
        np.testing.assert_array_equal(found.lengths[row], found.lengths[0])
        np.testing.assert_array_equal(found.accuracy[row], found.accuracy[0])


def test_a_larger_lam_keeps_more_of_every_weight(shrinks: Shrinks) -> None:
    before = shrinks.compute(AlphaLambdaState(lam=0.0))
    for lam in LAMS[10::15]:
        found = shrinks.compute(AlphaLambdaState(lam=lam))
        assert (found.quantiles >= before.quantiles).all()
        assert found.mean > before.mean
        assert (found.quantiles >= np.float32(lam)).all()  # of float32 weights
        assert found.share_clamped >= before.share_clamped
        before = found


def test_the_uniform_shrink_has_dash_mean_factor_in_every_norm(shrinks: Shrinks) -> None:
    found = shrinks.compute(AlphaLambdaState(alpha=0.2, lam=0.2))
    # float32 weights times a float32 factor
    np.testing.assert_allclose(found.lengths[2], found.mean * found.lengths[0], rtol=2e-6)


def test_looking_at_a_network_does_not_change_it(shrinks: Shrinks) -> None:
    before = copy.deepcopy(shrinks.network.model.state_dict())
    shrinks.compute(AlphaLambdaState(lam=0.01))
    after = shrinks.network.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not shrinks.network.model.training


def test_the_two_layer_network_is_the_reference_run_before_its_last_stage() -> None:
    network = assembled(
        "two_layer", 0, weights_of(CNN_A, 0)
    )  # trained here: a stored one may be of another machine
    metrics = run(CNN_A, ["warm"], [0]).metrics
    found = Shrinks(network).compute(AlphaLambdaState())
    assert found.accuracy[0, 0] == metrics["test_accuracy"][0, 0, -2]
    assert network.num_stages == CNN_A.num_stages - 1
    weight = network.model.get_parameter("hidden.weight").detach()
    noise = torch.cat([one.inputs for one in network.chunks])[:, CNN_A.data.num_axes :]
    axes = torch.eye(CNN_A.data.dimension)[: CNN_A.data.num_axes]
    init = run(CNN_A, ["warm"], [0]).stack_state.initial["hidden.weight"][0, 0]
    parts = decompose(weight, init, axes, torch.nn.functional.pad(noise, (CNN_A.data.num_axes, 0)))
    expected = [float(parts.feature_part().norm()), float(parts.noise_part().norm())]
    np.testing.assert_allclose(found.lengths[0], expected, rtol=1e-12)  # one sum of squares in two orders
    # what the state of the stack says, in float32, of networks that are trained in it: another way to the norms
    told = [metrics[f"{part}_norm"][0, 0, -2] for part in ("feature", "noise")]
    np.testing.assert_allclose(found.lengths[0], told, rtol=1e-4)


def test_the_digits_network_has_memorized_wrong_labels_and_its_new_chunk_is_new() -> None:
    network = trained("digits")
    found = Shrinks(network).compute(AlphaLambdaState())
    by_group = dict(zip((one.replace("\n", " ") for one in found.groups), found.accuracy[0], strict=True))
    assert by_group["old, wrong labels"] > 0.98  # a stage trains until 99.9% of an epoch is fitted
    assert by_group["old, right labels"] > 0.98
    assert by_group["new chunk"] < 0.9  # a fifth of its labels is wrong and was never seen
    assert found.names == ("convolution 1", "convolution 2", "convolution 3", "classifier", "its bias")
    sizes = [len(one) for one in network.groups.values()]
    assert sizes[1] + sizes[2] == len(join(network.chunks[:-1]))


def test_a_network_is_trained_once_and_leaves_the_global_stream_alone() -> None:
    assert trained("two_layer") is trained("two_layer")
    state = torch.random.get_rng_state()
    trained.__wrapped__("two_layer", 1)
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(ValueError, match="network must be one of two_layer, digits"):
        explore_alpha_lambda("vgg")


# ---------------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("angle", [0, 30, 72, 73, 90, 135, 180])
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_with_one_descent_the_rules_do_what_the_figure_of_the_package_shows(angle: int, lam: float) -> None:
    found = compute(ShrinkState(angle=angle, old_angle=0, lam=lam, alpha=0.5, shrink=0.4, sigma=0.0))
    row = torch.tensor(found.weight, dtype=torch.float32)[None]
    np.testing.assert_array_equal(found.dash, changed(f"dash:lam={lam}", row, 0)[0].double())
    np.testing.assert_array_equal(found.draws[0], changed("sp:shrink=0.4:perturb=0.0", row, 0)[0].double())
    fan = torch.linspace(0, 180, 181, dtype=torch.float64).deg2rad()
    rows = torch.stack([fan.cos(), fan.sin()], dim=1).float()
    uniform = changed(f"uniform:lam={lam}", rows, 0)[0].norm()
    assert found.mean == pytest.approx(float(uniform), abs=1e-6)  # float32
    np.testing.assert_allclose(np.linalg.norm(found.uniform), found.mean, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.02, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("old_angle", [-180, -40, 0, 90, 180])
def test_g_mixes_the_descents_by_alpha(alpha: float, old_angle: int) -> None:
    found = compute(ShrinkState(alpha=alpha, old_angle=old_angle))
    g = alpha * (1 - alpha) * found.older + alpha * found.newest
    np.testing.assert_allclose(found.descent, g / np.linalg.norm(g), atol=2e-5)  # float32, nearly cancelling
    cosine = float(found.weight @ g / np.linalg.norm(g))
    assert found.cosine == pytest.approx(cosine, abs=2e-5)
    assert np.linalg.norm(found.dash) == pytest.approx(np.clip(cosine, 0.3, 1), abs=2e-5)
    newest = mixed(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 1.0)
    assert newest.tolist() == [1.0, 0.0]


def test_factors_by_angle_follow_the_cosine_down_to_lam() -> None:
    found = compute(ShrinkState(lam=0.25, old_angle=77, alpha=0.4))
    np.testing.assert_allclose(
        found.factors, np.clip(np.cos(np.deg2rad(found.angles)), 0.25, 1), atol=1e-6
    )  # float32
    assert found.mean == pytest.approx(found.factors.mean())


def test_only_noise_turns_a_vector() -> None:
    found = compute(ShrinkState(angle=40, sigma=0.0))
    for after in (found.dash, found.uniform, *found.draws[:3]):
        turned = after[0] * found.weight[1] - after[1] * found.weight[0]
        assert abs(turned) < 1e-6  # float32
    noisy = compute(ShrinkState(angle=40, sigma=0.1))
    assert noisy.draws.shape == (NUM_DRAWS, 2)
    spread = (noisy.draws - 0.3 * noisy.weight).std()
    assert spread == pytest.approx(0.1, rel=0.15)  # 400 entries: four standard errors of 3.5%
