"""Figures: drawn from tables, the same bytes each time, colours that tell rules apart."""

import itertools
from collections import Counter
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from dashtheory.plot import (
    RULE_STYLES,
    describe_band,
    draw_amounts,
    draw_differences,
    draw_map,
    draw_means,
    draw_stages,
    rule_style,
    save_figure,
    sort_rules,
    style,
)
from dashtheory.record import load_table, make_table, paired_differences
from dashtheory.rules import RULES


def table(num_seeds: int = 2) -> pd.DataFrame:
    return make_table(
        {
            "level": "deep",
            "experiment": "e",
            "rule": rule,
            "seed": seed,
            "stage": stage,
            "metric": "m",
            "value": stage + seed,
        }
        for rule in ("warm", "cold")
        for seed in range(num_seeds)
        for stage in (1, 2, 3)
    )


def test_lines_are_means_and_bands_are_what_the_summary_says() -> None:
    with style():
        _, ax = plt.subplots()
        assert draw_stages(ax, table(), "m", band="range", scale=10) is ax
    assert [line.get_label() for line in ax.lines] == ["cold", "warm"]
    assert np.array_equal(ax.lines[0].get_xydata(), [[1, 15], [2, 25], [3, 35]])
    band = np.asarray(ax.collections[0].get_paths()[0].vertices)
    assert (band[:, 1].min(), band[:, 1].max()) == (10, 40)
    plt.close("all")


@pytest.mark.parametrize("line", [True, False])
def test_a_line_across_stages_that_a_rule_left_out_is_dotted(line: bool) -> None:
    """Else a reader takes it for what was measured there."""
    whole = table()
    part = whole[~((whole["rule"] == "cold") & (whole["stage"] == 2))]
    with style():
        _, ax = plt.subplots()
        draw_stages(ax, part, "m", band="range", line=line)
    found = {str(one.get_label()): one for one in ax.lines}
    assert np.array_equal(found["cold"].get_xydata(), [[1, 1.5], [2, np.nan], [3, 3.5]], equal_nan=True)
    assert found["cold"].get_marker() not in {"", "None"}
    assert found["cold"].get_markevery() == 1
    dotted = [one for one in ax.lines if one.get_linestyle() == ":"]
    assert [np.asarray(one.get_xydata()).tolist() for one in dotted] == [[[1, 1.5], [3, 3.5]]] * line
    assert [one.get_color() for one in dotted] == [found["cold"].get_color()] * line
    bands = [np.asarray(path.vertices)[:, 0] for path in ax.collections[0].get_paths()]
    assert [sorted(set(band)) for band in bands] == [[1], [3]]  # none where nothing was measured
    _, legend = ax.get_legend_handles_labels()
    assert legend == ["cold", "warm"]
    plt.close("all")


MEANS = pd.DataFrame(
    {
        "x": [0, 0, 0, 10, 10, 10, 0, 0, 0, 10, 10, 10],
        "rule": ["cold"] * 6 + ["warm"] * 6,
        "seed": [0, 1, 2] * 4,
        "value": [1.0, 2.0, 6.0, 4.0, 4.0, 7.0, 1.0, 2.0, 6.0, 9.0, 8.0, 1.0],
    }
)
LOOKS = {"cold": rule_style("cold"), "warm": rule_style("warm")}


@pytest.mark.parametrize("scale", ["linear", "symlog"])
@pytest.mark.parametrize("line", [True, False])
def test_points_are_means_and_bars_are_sample_standard_deviations(scale: str, line: bool) -> None:
    with style():
        figure, ax = plt.subplots()
        ax.set_xscale(scale)
        shuffled = MEANS.sample(frac=1, random_state=0)
        assert draw_means(ax, shuffled, "x", "rule", LOOKS, scale=10, line=line, dodge=0.2) is ax
    groups = (10 * MEANS.set_index(["rule", "x"])["value"]).groupby(["rule", "x"])
    lines = [one for one in ax.lines if len(np.asarray(one.get_xdata())) > 0]
    for place, (rule, look) in enumerate(LOOKS.items()):
        means, *bars = lines[3 * place : 3 * place + 3]
        assert np.asarray(means.get_ydata()) == pytest.approx(groups.mean()[rule].tolist())
        assert [means.get_color(), means.get_marker()] == [look.color, look.marker]
        assert (means.get_linestyle() == "None") == (not line)
        for bar, x in zip(bars, (0, 10), strict=True):
            mean, sd = groups.mean()[rule, x], groups.std(ddof=1)[rule, x]
            assert np.asarray(bar.get_ydata()) == pytest.approx([mean - sd, mean + sd])
            assert bar.get_color() == look.color
    first, second = (np.asarray(one.get_xdata()) for one in (lines[0], lines[3]))
    assert (first < second).all()  # side by side
    assert (first + second == pytest.approx([0, 20], abs=1e-6)) == (scale == "linear")
    assert ax.get_legend_handles_labels()[1] == ["cold", "warm"]
    plt.close(figure)


def test_means_may_stand_at_equal_distances_and_one_seed_has_no_bar() -> None:
    with style():
        figure, ax = plt.subplots()
        draw_means(ax, MEANS[MEANS["seed"] == 1], "x", "rule", {"warm": LOOKS["warm"]}, evenly=True)
    assert np.asarray(ax.lines[0].get_xydata()).tolist() == [[0, 2], [1, 8]]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "10"]
    assert not np.isfinite([np.asarray(bar.get_ydata(), dtype=float) for bar in ax.lines[1:-1]]).any()
    plt.close(figure)


def test_means_are_never_those_of_logarithms() -> None:
    figure, ax = plt.subplots()
    ax.set_yscale("log")
    with pytest.raises(ValueError, match="ax must have a linear y axis while means are drawn, got log"):
        draw_means(ax, MEANS, "x", "rule", LOOKS)
    plt.close(figure)


def test_the_foot_names_kind_and_number() -> None:
    assert describe_band(table(2), "sd") == (
        "lines: mean of n = 2 seeds; bands: ± 1 standard deviation over these seeds"
    )
    assert "smallest to largest" in describe_band(table(3), "range")
    assert describe_band(table(1), "sd") == "lines: one seed, no band"


def test_every_rule_has_a_look_of_its_own_even_without_color() -> None:
    assert set(RULES) <= set(RULE_STYLES)
    looks = list(RULE_STYLES.values())
    for a, b in itertools.combinations(looks, 2):
        assert (a.marker, str(a.linestyle)) != (b.marker, str(b.linestyle)), (a, b)
        if a.color == b.color:  # of one family
            assert a.marker != b.marker, (a, b)
            assert str(a.linestyle) != str(b.linestyle), (a, b)
        else:
            assert np.abs(np.subtract(to_rgb(a.color), to_rgb(b.color))).sum() > 0.3, (a, b)
    assert max(Counter(look.color for look in looks).values()) <= 6  # more could not be told apart
    assert rule_style("unheard of").label == "unheard of"
    assert sort_rules(["zz", "dash", "cold", "aa", "warm"]) == ["cold", "warm", "dash", "aa", "zz"]


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    def once(name: str) -> list[bytes]:
        with style():
            figure, axes = plt.subplots(5)
            draw_stages(axes[0], table(), "m")
            draw_differences(axes[1], paired_differences(table(), "m", "cold"), ["cold", "warm"])
            draw_amounts(axes[2], MEANS.set_index("rule")["value"], ["cold", "warm"])
            draw_means(axes[3], MEANS, "x", "rule", LOOKS)
            draw_map(axes[4], pd.DataFrame([[1.0, 2.0]]), label="l", notes=pd.DataFrame([["a", "b"]]))
            return [path.read_bytes() for path in save_figure(figure, tmp_path / name)]

    before = np.random.get_state()  # noqa: NPY002
    first = once("a")
    assert str(np.random.get_state()) == str(before)  # noqa: NPY002
    np.random.seed(123)  # noqa: NPY002
    assert once("b") == first
    np.random.set_state(before)  # noqa: NPY002
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]
    plt.close("all")


def test_the_callers_settings_come_back() -> None:
    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["legend.frameon"] is False
        draw_means(plt.figure().gca(), MEANS, "x", "rule", LOOKS)
    assert dict(mpl.rcParams) == before


def test_an_unknown_metric_is_named() -> None:
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="metric must be one of m, got 'k'"):
        draw_stages(ax, table(), "k")
    plt.close("all")


ROOT = Path(__file__).parents[2]
PLACES = ("figures/*.csv", "figures/*/*.csv", "paper_repro/results/*/*.csv")
# The comparison of remedies draws a row per rule, with its name beside it.
TABLES = sorted(path for place in PLACES for path in ROOT.glob(place) if path.stem != "remedies")


@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_two_rules_of_a_committed_table_look_alike(path: Path) -> None:
    table, _ = load_table(path)
    looks: dict[tuple[object, ...], str] = {}
    for rule in sorted(set(table["rule"])):
        look = rule_style(rule)
        key = (look.color, str(look.linestyle), look.marker)
        assert key not in looks, (rule, looks[key])
        looks[key] = rule
