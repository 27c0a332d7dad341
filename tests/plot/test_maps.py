"""Maps: settings in the experiment column, the grid they make, and what is drawn of it."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from dashtheory.plot import draw_contours, draw_map, pivot_map, say_seeds
from dashtheory.record import make_table, name_setting, split_settings


def table(seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    """Value 10 y + x + seed on a grid of three x and two y."""
    return make_table(
        {
            "level": "discrete",
            "experiment": name_setting("e", map="m", x=x, y=y),
            "rule": "warm",
            "seed": seed,
            "stage": 1,
            "metric": "gap",
            "value": 10 * y + x + seed,
        }
        for y in (3, 1)
        for x in (0.5, 20, 100)
        for seed in seeds
    )


def test_names_of_settings_read_back() -> None:
    assert name_setting("e", gamma=20.0, shape="power", tau=3) == "e[gamma=20,shape=power,tau=3]"
    points = split_settings(table())
    assert set(points["experiment"]) == {"e"}
    assert set(points["map"]) == {"m"}
    assert sorted(set(points["x"])) == [0.5, 20, 100]
    assert (points["value"] == 10 * points["y"] + points["x"] + points["seed"]).all()


@given(
    st.dictionaries(
        st.text("abcxyz", min_size=1).filter(lambda name: name not in ("experiment",)),
        st.integers(-(10**5), 10**5) | st.text("pqr_-", min_size=1),
        max_size=3,
    )
)
def test_any_coordinates_read_back(coordinates: dict[str, int | str]) -> None:
    row = {"level": "l", "rule": "r", "seed": 0, "stage": 1, "metric": "m", "value": 0.0}
    (found,) = split_settings(pd.DataFrame([{**row, "experiment": name_setting("e", **coordinates)}])).to_dict(
        "records"
    )
    assert found["experiment"] == "e"
    assert {name: found[name] for name in coordinates} == coordinates


def test_a_table_without_settings_is_unchanged() -> None:
    plain = table().assign(experiment="e")
    assert split_settings(plain).equals(plain)


@pytest.mark.parametrize("text", ["a[b", "a]", "a,b", "a=b"])
def test_names_that_would_not_read_back_are_refused(text: str) -> None:
    message = re.escape("must hold none of [ ] , = in names and values")
    with pytest.raises(ValueError, match=message):
        name_setting(text, x=1)
    with pytest.raises(ValueError, match=message):
        name_setting("e", x=text)


def test_a_grid_is_the_mean_over_seeds_both_axes_rising() -> None:
    grid = pivot_map(split_settings(table()), "gap", "x", "y", scale=2)
    assert list(map(float, grid.columns)) == [0.5, 20, 100]
    assert list(map(float, grid.index)) == [1, 3]
    assert grid.loc[3, 20] == 2 * (30 + 20 + 0.5)


def test_a_map_shows_the_grid_with_its_values_as_ticks() -> None:
    figure, ax = plt.subplots()
    grid = pivot_map(split_settings(table()), "gap", "x", "y")
    assert draw_map(ax, grid, label="points", low=0, high=200, every=(2, 1)) is ax
    (cells,) = ax.collections
    assert np.array_equal(np.asarray(cells.get_array()), grid.to_numpy())
    assert [ax.get_xticks().tolist(), ax.get_yticks().tolist()] == [[0.5, 2.5], [0.5, 1.5]]  # centres of cells
    assert {text.get_rotation() for text in (*ax.get_xticklabels(), *ax.get_yticklabels())} == {0}
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.5", "100"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1", "3"]
    assert cells.get_clim() == (0, 200)
    assert figure.axes[1].get_ylabel() == "points"
    low, high = ax.get_ylim()
    assert low < high  # y rises upwards
    plt.close(figure)


def test_colours_may_be_logarithmic() -> None:
    figure, ax = plt.subplots()
    draw_map(ax, pd.DataFrame([[1.0, 10.0, 100.0]]), label="", log=True)
    (cells,) = ax.collections
    assert np.asarray(cells.norm(np.array([10.0]))) == pytest.approx([0.5])
    assert cells.get_clim() == (1, 100)
    plt.close(figure)


def test_notes_stand_in_their_cells_and_are_readable() -> None:
    figure, ax = plt.subplots()
    notes = pd.DataFrame([["a", "b"], ["", "d"]])
    draw_map(ax, pd.DataFrame([[0.0, 1.0], [0.5, 0.0]]), label="", notes=notes)
    places = {text.get_text(): text.get_position() for text in ax.texts if text.get_text()}
    assert places == {"a": (0.5, 0.5), "b": (1.5, 0.5), "d": (1.5, 1.5)}
    light = {text.get_text(): sum(to_rgb(text.get_color())) for text in ax.texts}
    assert light["a"] > 2.5  # on dark blue
    assert light["b"] < 1  # on yellow
    plt.close(figure)


def test_contours_lie_where_the_grid_crosses_their_level() -> None:
    figure, ax = plt.subplots()
    grid = pd.DataFrame(np.tile(np.arange(5.0), (4, 1)))
    draw_contours(ax, grid, [1.25, 99], color="black", labels=False)
    (lines,) = ax.collections
    (path,) = lines.get_paths()
    assert np.allclose(np.asarray(path.vertices)[:, 0], 1.75)  # centres of cells: 0.5, 1.5, ...
    tilted = pd.DataFrame(np.add.outer(2 * np.arange(4.0), np.arange(5.0)))  # value 2 y + x
    draw_contours(ax, tilted, [3.0], color="black", labels=False)
    (path,) = ax.collections[1].get_paths()
    vertices = np.asarray(path.vertices) - 0.5
    assert np.allclose(vertices[:, 0] + 2 * vertices[:, 1], 3)
    draw_contours(ax, grid, [99], color="black")  # outside: nothing is drawn
    draw_contours(ax, grid.iloc[:1], [1.25], color="black")  # a single row has no lines
    assert len(ax.collections) == 2
    plt.close(figure)


def test_seeds_are_said() -> None:
    assert say_seeds(table()) == "mean of n = 2 seeds"
    assert say_seeds(table((5,))) == "one seed"
