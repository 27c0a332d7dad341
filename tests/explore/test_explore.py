"""The explorers show what the package computes, say it in words, and never fall over a combination of controls."""

from __future__ import annotations

import copy
import dataclasses
import html
import importlib.util
import io
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dashtheory.batchnorm import reestimated
from dashtheory.discrete import DISCRETE_RULES, Forgetting, draw_data, expected_accuracy, simulate
from dashtheory.evaluate import cross_entropy, evaluate
from dashtheory.experiments.shrink_geometry import changed
from dashtheory.explore import DiscreteExplorer, Explorer, explore_alpha_lambda, explore_discrete, explore_shrink
from dashtheory.explore import app as app_module
from dashtheory.explore.alpha_lambda import EDGES, NUM_QUANTILES, AlphaLambdaState, Shrinks
from dashtheory.explore.discrete import DISTRIBUTIONS, FORGETTING, DiscreteState, limit, simulated, world
from dashtheory.explore.figure import WIDTH, Picture, round_top, short
from dashtheory.explore.geometry import NUM_DRAWS, ShrinkState, compute, mixed
from dashtheory.explore.networks import ALPHAS, LAMS, NETWORKS, TrainedNetwork, trained
from dashtheory.explore.state import Menu, Slider, controls, moved
from dashtheory.measure import decompose
from dashtheory.rules import ShrinkReport, dash_
from dashtheory.stream import join
from dashtheory.theory import population
from dashtheory.twolayer import CNN_A, run

ROOT = Path(__file__).parents[2]
MAKERS: dict[str, Callable[..., Explorer[Any, Any]]] = {
    "discrete": explore_discrete,
    "two_layer": explore_alpha_lambda,
    "digits": partial(explore_alpha_lambda, "digits"),
    "shrink": explore_shrink,
}
MOVES: dict[str, dict[str, Any]] = {
    "discrete": {"gamma": 20, "num_stages": 7},
    "two_layer": {"lam": 0.05, "alpha": 1.0},
    "digits": {"lam": 0.05},
    "shrink": {"angle": 120, "old_angle": 100},
}
OTHER: dict[str, dict[str, Any]] = {
    "discrete": {"gamma": 90},
    "two_layer": {"lam": 0.9},
    "digits": {"lam": 0.9},
    "shrink": {"shrink": 0.8},
}

pytestmark = pytest.mark.filterwarnings(
    # ipywidgets' own comm in a process without a kernel
    "ignore::DeprecationWarning:ipywidgets.*"
)


@pytest.fixture(params=list(MAKERS))
def name(request: pytest.FixtureRequest) -> str:
    """Each explorer in turn."""
    return str(request.param)


# ---------------------------------------------------------------------------------------------------- controls


def test_a_slider_gives_its_own_steps_and_refuses_everything_else() -> None:
    fine, whole = Slider(label="x", low=0.0, high=1.0, step=0.02), Slider(label="n", low=2, high=9, step=3)
    assert [fine.checked("x", value) for value in (0, 1, 0.309, 0.3)] == [0.0, 1.0, 0.3, 0.3]
    assert [whole.checked("n", value) for value in (2, 5, 9)] == [2, 5, 8]
    for slider, values in ((fine, (-0.01, 1.01, "a", float("nan"), True)), (whole, (1, 10, 2.5, None))):
        for value in values:
            with pytest.raises(ValueError, match="The slider goes from"):
                slider.checked("it", value)


def test_every_field_of_a_state_has_a_control_that_its_default_fits() -> None:
    for state in (DiscreteState(), AlphaLambdaState(), ShrinkState()):
        known = controls(state)
        assert list(known) == [item.name for item in dataclasses.fields(state)]
        assert moved(state, {one: getattr(state, one) for one in known}) == state
        for one in known.values():
            assert isinstance(one, Slider | Menu)
            assert one.label


def test_the_sliders_of_alpha_and_lam_stop_at_the_stored_values_alone() -> None:
    known = controls(AlphaLambdaState)
    for one, values in (("alpha", ALPHAS), ("lam", LAMS)):
        slider = known[one]
        assert isinstance(slider, Slider)
        steps = np.arange(round((slider.high - slider.low) / slider.step) + 1)
        assert [slider.checked(one, slider.low + step * slider.step) for step in steps] == list(values)


def test_set_moves_controls_by_name_or_nothing_at_all() -> None:
    explorer = explore_shrink()
    before = explorer.state, explorer.png
    for values, words in (({"angle": 500}, "angle must be at most 180"), ({"beta": 1}, "control must be one of")):
        with pytest.raises(ValueError, match=words):
            explorer.set(**{"lam": 0.9, **values})
        assert (explorer.state, explorer.png) == before
    explorer.set(lam=0.9, angle=20)
    assert explorer.state == dataclasses.replace(before[0], lam=0.9, angle=20)
    with pytest.raises(dataclasses.FrozenInstanceError):
        explorer.state.lam = 0.1  # type: ignore[misc]
    assert "lam=0.9" in repr(explorer)


# ---------------------------------------------------------------------------------------------------- level 1


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
    network = trained("two_layer")
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
        explore_alpha_lambda("resnet")


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


# ------------------------------------------------------------------------------------------- pictures and words


def test_a_picture_depends_on_the_state_alone(name: str) -> None:
    explorer, straight = MAKERS[name](), MAKERS[name](**{**OTHER[name], **MOVES[name]})
    first = explorer.png
    explorer.set(**OTHER[name])
    assert explorer.png != first
    explorer.set(**MOVES[name])
    if isinstance(explorer, DiscreteExplorer):
        explorer.simulate()  # as a new one does with its first state
    assert explorer.state == straight.state
    assert explorer.png == straight.png
    assert explorer.text == straight.text


def test_every_picture_has_its_text_as_alternative(name: str) -> None:
    explorer = MAKERS[name]()
    explorer.set(**MOVES[name])
    picture = explorer.picture()
    data, metadata = picture._repr_mimebundle_()
    alt = re.search(r'alt="([^"]*)"', str(data["text/html"]))
    assert alt is not None
    assert html.unescape(alt[1]) == explorer.text == data["text/plain"]
    assert metadata["image/png"] == {"width": WIDTH, "alt": explorer.text}
    assert len(explorer.text) > 200
    assert "\n" not in explorer.text
    size = Image.open(io.BytesIO(explorer.png)).size
    assert size[0] == WIDTH
    assert f'width="{size[0]}" height="{size[1]}"' in str(data["text/html"])


def test_text_in_a_picture_is_escaped() -> None:
    tag = Picture(explore_shrink().png, 'a "b" <c> & d').html()
    assert 'alt="a &quot;b&quot; &lt;c&gt; &amp; d"' in tag


def test_text_names_the_numbers_of_the_state() -> None:
    text = explore_discrete(gamma=30, num_stages=8, distribution="power_law").text
    for words in ("γ = 30", "1 to 8", "power law", "cold", "warm", "ideal", "φ noise = 0.5"):
        assert words in text
    cold = limit(DiscreteState(gamma=30, num_stages=8, distribution="power_law"))["cold"]
    assert f"{cold.num_learned[-1]:.0f} features, {cold.num_memorized[-1]:,.0f} memorised" in text


def test_round_tops_and_short_counts() -> None:
    assert [round_top(value) for value in (0, 0.9, 1, 31_148, 50_000, 97)] == [1, 1, 1.5, 40_000, 60_000, 100]
    assert [short(value) for value in (0, 950, 12_000, 1_500_000)] == ["0", "950", "12k", "1.5M"]


# ---------------------------------------------------------------------------------------------------- widgets


def test_sliders_move_the_explorer_and_the_explorer_its_sliders(name: str) -> None:
    explorer = MAKERS[name]()
    assert explorer.widget is explorer.widget
    panel = explorer._panel
    assert panel is not None
    drawn: list[object] = []
    explorer.watch(lambda: drawn.append(explorer.state))
    for one, value in MOVES[name].items():
        before = panel.figure.value
        panel.controls[one].value = value
        assert getattr(explorer.state, one) == value
        assert panel.figure.value != before
    assert len(drawn) == len(MOVES[name])  # once per move
    drawn.clear()
    explorer.set(**OTHER[name])
    assert len(drawn) == 1  # the sliders that follow move nothing
    for one, value in OTHER[name].items():
        assert panel.controls[one].value == value
    assert html.unescape(panel.words.value).find(explorer.text) > 0
    assert 'class="dashtheory-figure"' in panel.figure.value
    for one, what in controls(explorer.state).items():
        assert panel.controls[one].description == what.label
        assert getattr(panel.controls[one], "continuous_update", True)


def test_every_value_of_a_menu_and_both_ends_of_every_slider_show_a_figure_or_one_line(name: str) -> None:
    explorer = MAKERS[name]()
    for one, what in controls(explorer.state).items():
        before = getattr(explorer.state, one)
        for value in what.options if isinstance(what, Menu) else (what.low, what.high):
            explorer.set(**{one: value})
            assert explorer.text
            assert "\n" not in explorer.error
        explorer.set(**{one: before})
        assert not explorer.error


def test_a_combination_without_an_answer_is_one_line_in_place_of_the_figure() -> None:
    explorer = explore_discrete(num_stages=5)
    _, panel = explorer.widget, explorer._panel
    assert panel is not None
    good = explorer.png
    panel.controls["distribution"].value = "correlated"
    assert explorer.error.startswith("φ feature must be 0 with 'uniform, rich and poor samples', got 0.05.")
    assert explorer.text == explorer.error
    assert 'role="alert"' in panel.words.value
    assert html.escape(explorer.error) in panel.figure.value
    assert explorer.png != good
    assert explorer.picture().text == explorer.error
    explorer.simulate()  # nothing to simulate, and no exception
    panel.controls["phi_feature"].value = 0.0
    assert not explorer.error
    assert 'role="alert"' not in panel.words.value
    explorer.set(distribution="paper", phi_feature=0.05)
    assert explorer.png == good


def test_a_button_simulates() -> None:
    explorer = explore_discrete(num_stages=4)
    explorer.set(gamma=60)
    grid = explorer.widget.children[1]
    button = grid.children[-1]
    assert button.description == "Simulate this state (dots)"
    button.click()
    assert "Dots: a simulation" in explorer.text
    assert not button.disabled


def test_a_notebook_gets_a_widget_and_words() -> None:
    explorer = explore_shrink()
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == explorer.text
    view = bundle["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == explorer.widget.model_id


def test_without_ipywidgets_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ipywidgets" else found(name))
    for make in (explore_discrete, explore_alpha_lambda, explore_shrink):
        with pytest.raises(
            ImportError, match=r"^the explorers need ipywidgets: pip install 'dashtheory\[notebook\]'$"
        ):
            make()


# ------------------------------------------------------------------------------------------ the app's command


def test_the_app_refuses_bad_input_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = str(ROOT / "notebooks" / "explorers.ipynb")
    with socket.socket() as taken:
        taken.bind((app_module.HOST, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, words in (
            (["absent.ipynb"], "there is no notebook absent.ipynb"),
            ([notebook, "--port", port], f"port {port} is taken"),
            ([notebook, "--port", "70000"], "port 70000 is taken or no port"),
        ):
            assert app_module.main(arguments) == 2
            told = capsys.readouterr().err
            assert told.count("\n") == 1
            assert words in told


def test_make_app_runs_the_explorers_on_the_port_given() -> None:
    for given, expected in (([], ""), (["PORT=8123"], " --port 8123")):
        command = ["make", "--no-print-directory", "-n", "app", *given]  # `make test` is itself a make
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        last = done.stdout.strip().splitlines()[-1].rstrip()
        assert last.endswith(f"-m dashtheory.explore.app notebooks/explorers.ipynb{expected}")


def test_a_voila_that_cannot_start_is_one_line_and_status_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        app_module, "command", lambda notebook, port: [sys.executable, "-c", "raise SystemExit(3)"]
    )
    assert app_module.serve(Path("x.ipynb"), app_module.free_port()) == 1
    assert "voila did not start on port" in capsys.readouterr().err
