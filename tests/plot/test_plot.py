"""Figures: drawn from tables, the same bytes each time, colours that tell rules apart."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from dashtheory.plot import RULE_STYLES, describe_band, draw_stages, rule_style, save_figure, sort_rules, style
from dashtheory.record import make_table
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


def test_the_foot_names_kind_and_number() -> None:
    assert describe_band(table(2), "sd") == (
        "lines: mean of n = 2 seeds; bands: ± 1 standard deviation over these seeds"
    )
    assert "smallest to largest" in describe_band(table(3), "range")
    assert describe_band(table(1), "sd") == "lines: one seed, no band"


def test_every_rule_has_a_look_of_its_own_even_without_color() -> None:
    assert set(RULES) <= set(RULE_STYLES)
    looks = list(RULE_STYLES.values())
    assert len({look.color for look in looks}) == len(looks)
    assert len({look.marker for look in looks}) == len(looks)
    assert len({str(look.linestyle) for look in looks}) == len(looks)
    for a in looks:
        for b in looks:
            assert a is b or np.abs(np.subtract(to_rgb(a.color), to_rgb(b.color))).sum() > 0.3
    assert rule_style("unheard of").label == "unheard of"
    assert sort_rules(["zz", "dash", "cold", "aa", "warm"]) == ["cold", "warm", "dash", "aa", "zz"]


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    def once(name: str) -> list[bytes]:
        with style():
            figure, ax = plt.subplots()
            draw_stages(ax, table(), "m")
            return [path.read_bytes() for path in save_figure(figure, tmp_path / name)]

    assert once("a") == once("b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]
    plt.close("all")


def test_the_callers_settings_come_back() -> None:
    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["legend.frameon"] is False
    assert dict(mpl.rcParams) == before


def test_an_unknown_metric_is_named() -> None:
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="metric must be one of m, got 'k'"):
        draw_stages(ax, table(), "k")
    plt.close("all")
