"""Maps: the grid that two coordinates make, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from dashtheory.plot import (
    draw_contours,
    draw_differences,
    draw_map,
    draw_prediction,
    draw_stages,
    pivot_map,
    say_seeds,
)
from dashtheory.record import concatenate, make_table, paired_differences


def table(seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    """Value 10 y + x + seed on a grid of three x and two y."""
    return make_table(
        {
            "level": "discrete",
            "experiment": "e",
            "map": "m",
            "x": x,
            "y": y,
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


def test_a_grid_is_the_mean_over_seeds_both_axes_rising() -> None:
    grid = pivot_map(table(), "gap", "x", "y", scale=2)
    assert list(map(float, grid.columns)) == [0.5, 20, 100]
    assert list(map(float, grid.index)) == [1, 3]
    assert grid.loc[3, 20] == 2 * (30 + 20 + 0.5)


@pytest.mark.parametrize(
    ("other", "words"),
    [({"map": "k"}, "map k, m"), ({"rule": "cold"}, "rule cold, warm"), ({"z": 2}, "z none, 2")],
)
def test_a_cell_never_mixes_what_is_not_a_seed(other: dict[str, Any], words: str) -> None:
    both = concatenate([table(), table().assign(**other)])
    with pytest.raises(ValueError, match=rf"one gap per x, y and seed, got several \({words}\)") as raised:
        pivot_map(both, "gap", "x", "y")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("draw", [draw_stages, draw_prediction])
def test_a_line_by_stage_never_mixes_points(draw: Callable[..., Axes]) -> None:
    figure, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"one gap per rule and stage, got several \(x 0.5, 20, 100; y 1, 3\)"):
        draw(ax, table(), "gap")
    one = table()
    draw(ax, one[(one["x"] == 20) & (one["y"] == 3)], "gap")
    assert np.asarray(ax.lines[0].get_ydata()).tolist() == [50.5]
    plt.close(figure)


def test_differences_of_several_points_are_not_drawn_over_each_other() -> None:
    both = concatenate([table(), table().assign(rule="cold")])
    found = paired_differences(both, "gap", "cold")
    figure, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"one difference per rule, got several \(x 0.5, 20, 100; y 1, 3\)"):
        draw_differences(ax, found, ["warm"])
    draw_differences(ax, found[(found["x"] == 20) & (found["y"] == 3)], ["warm"])
    plt.close(figure)


def test_a_map_shows_the_grid_with_its_values_as_ticks() -> None:
    figure, ax = plt.subplots()
    grid = pivot_map(table(), "gap", "x", "y")
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
