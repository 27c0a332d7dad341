"""The explorers show pictures and words of their state alone, and never fall over a combination of controls."""

from __future__ import annotations

import dataclasses
import html
import importlib.util
import io
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dashtheory.explore import (
    DiscreteExplorer,
    Explorer,
    explore_alpha_lambda,
    explore_discrete,
    explore_shrink,
    explore_steps,
)
from dashtheory.explore.alpha_lambda import AlphaLambdaState
from dashtheory.explore.discrete import DiscreteState, limit
from dashtheory.explore.figure import WIDTH, Picture, round_top, short
from dashtheory.explore.geometry import ShrinkState
from dashtheory.explore.networks import ALPHAS, LAMS
from dashtheory.explore.state import Menu, Slider, controls, moved
from dashtheory.explore.steps import StepState

MAKERS: dict[str, Callable[..., Explorer[Any, Any]]] = {
    "discrete": explore_discrete,
    "two_layer": explore_alpha_lambda,
    "digits": partial(explore_alpha_lambda, "digits"),
    "resnet": partial(explore_alpha_lambda, "resnet"),
    "steps": explore_steps,
    "shrink": explore_shrink,
}
MOVES: dict[str, dict[str, Any]] = {
    "discrete": {"gamma": 20, "num_stages": 7},
    "two_layer": {"lam": 0.05, "alpha": 1.0},
    "digits": {"lam": 0.05},
    "resnet": {"lam": 0.05},
    "steps": {"stage": 3, "rule": "dash"},
    "shrink": {"angle": 120, "old_angle": 100},
}
OTHER: dict[str, dict[str, Any]] = {
    "discrete": {"gamma": 90},
    "two_layer": {"lam": 0.9},
    "digits": {"lam": 0.9},
    "resnet": {"lam": 0.9},
    "steps": {"seed": 4},
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
    for state in (DiscreteState(), AlphaLambdaState(), StepState(), ShrinkState()):
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
    for make in (explore_discrete, explore_alpha_lambda, explore_steps, explore_shrink):
        with pytest.raises(
            ImportError, match=r"^the explorers need ipywidgets: pip install 'dashtheory\[notebook\]'$"
        ):
            make()
