"""The figure of a preset shows its table."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch

from dashtheory.measure import BINS
from dashtheory.paper import PUBLISHED
from dashtheory.paper.figure import draw_results, furthest, panels_in_words
from dashtheory.plot import style
from tests.paper.toys import made_table

COSINES = tuple(f"cosine_{when}_{place:02d}" for when in ("before", "after") for place in range(BINS))
BOTH = ("test_accuracy", "steps", "old_accuracy_epoch0", "old_accuracy_reestimated_epoch0")


def drawn(metrics: tuple[str, ...], **options: Any) -> Any:
    table = made_table(
        lambda rule, seed, stage, metric: stage / 10 + len(metric) / 100, metrics=metrics, **options
    )
    with style():
        return draw_results(table, [], title="title", setting="setting", foot="; foot"), table


@pytest.mark.parametrize(
    ("metrics", "titles", "words"),
    [
        (
            BOTH,
            ["What the rule leaves"],
            "test accuracy, steps and old accuracy by stage for each rule",
        ),
        (
            ("test_accuracy", "steps", "old_accuracy_epoch0"),
            ["What the rule leaves"],
            "test accuracy, steps and old accuracy by stage for each rule",
        ),
        (
            ("test_accuracy", "steps"),
            [],
            "test accuracy and steps by stage for each rule",
        ),
        (
            (*BOTH, *COSINES),
            ["What the rule leaves", "Alignment after the rule, stage 3"],
            "test accuracy, steps and old accuracy by stage for each rule; cosines of weights with descent",
        ),
        (
            (*BOTH, "canary_accuracy_at_start_reestimated"),
            ["What the rule leaves", "Memorised, after the rule"],
            "test accuracy, steps, old accuracy and old wrong labels still predicted by stage for each rule",
        ),
    ],
)
def test_all_that_was_measured_has_a_labelled_panel(
    metrics: tuple[str, ...], titles: list[str], words: str
) -> None:
    figure, table = drawn(metrics)
    assert panels_in_words(table) == words
    panels = figure.axes
    assert [ax.get_title(loc="left") for ax in panels] == ["Generalisation", "Training time", *titles]
    assert all(ax.get_ylabel() for ax in panels)
    assert all(ax.get_xlabel() and (ax.lines or ax.patches) for ax in panels)
    if titles:
        assert ("re-estimated" in panels[2].get_ylabel()) == ("old_accuracy_reestimated_epoch0" in metrics)
    plt.close(figure)


def test_runs_that_went_further_are_of_the_seed_with_most_of_them() -> None:
    def runs(rule: str, seed: int, stages: int) -> pd.DataFrame:
        return made_table(lambda *_: 0.5, (rule,), (seed,), stages)

    shared = [runs(rule, 0, 3) for rule in ("cold", "warm", "dash")]
    assert furthest(pd.concat([*shared, runs("cold", 1, 3), runs("dash", 2, 2)])).empty
    further = [runs("cold", 1, 5), runs("cold", 2, 4), runs("dash", 2, 6)]
    table = pd.concat([*shared, *further])
    pd.testing.assert_frame_equal(furthest(table), pd.concat(further[1:]))
    assert furthest(table[table["seed"] > 0]).empty  # seed 2, which both have, is as far as any


def test_panels_show_the_table() -> None:
    figure, table = drawn((*BOTH, "canary_accuracy_at_start_reestimated"))
    metrics = ["test_accuracy", "steps", "old_accuracy_reestimated_epoch0", "canary_accuracy_at_start_reestimated"]
    for ax, metric, scale in zip(figure.axes, metrics, (100, 1, 100, 100), strict=True):
        expected = table[(table["metric"] == metric) & (table["rule"] == "cold") & (table["seed"] == 0)]["value"]
        assert list(ax.lines[0].get_ydata()) == pytest.approx(list(scale * expected))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cold", "warm"]
    words = [text.get_text() for text in figure.texts]
    assert "setting" in words
    assert any(word.endswith("over these seeds; foot") for word in words)
    plt.close(figure)


def test_rules_are_drawn_over_the_seeds_that_all_have() -> None:
    """A mean over two seeds began elsewhere than the runs of one seed beside it."""
    metrics = ("test_accuracy", "steps")
    table = pd.concat(
        [
            made_table(lambda rule, seed, stage, metric: stage / 10 + seed, (rule,), seeds, 3, metrics)
            for rule, seeds in (("warm", (0,)), ("dash", (0, 1)))
        ]
    )
    with style():
        figure = draw_results(table, [], title="title", setting="setting", foot="; foot")
    assert [np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].lines] == [
        pytest.approx([10, 20, 30])
    ] * 2
    words = [text.get_text() for text in figure.texts]
    assert "lines: one seed, no band; the seeds that all rules have; foot" in words
    plt.close(figure)


def test_a_figure_says_what_a_dotted_line_is() -> None:
    whole = made_table(lambda *_: 0.5, ("warm", "cold"), (0,), 3, ("test_accuracy", "steps"))
    part = whole[~((whole["rule"] == "cold") & (whole["stage"] == 2))]
    for table, words in ((part, "; dotted: across stages left out; foot"), (whole, "no band; foot")):
        with style():
            figure = draw_results(table, [], title="title", setting="setting", foot="; foot")
        assert any(text.get_text().endswith(words) for text in figure.texts)
        plt.close(figure)


def test_cosines_are_those_of_the_last_stage_that_has_them() -> None:
    def value(rule: str, seed: int, stage: int, metric: str) -> float:
        return stage + seed + len(rule) + int(metric[-2:]) / 100 if metric.startswith("cosine") else 0.5

    whole = made_table(value, ("cold", "warm", "dash"), stages=4, metrics=("test_accuracy", "steps", *COSINES))
    after = whole["metric"].str.startswith("cosine_after")
    table = whole[~after | (whole["stage"].isin((2, 3)) & ((whole["rule"] != "dash") | (whole["stage"] == 2)))]
    with style():
        figure = draw_results(table, [], title="", setting="", foot="")
    ax = figure.axes[-1]
    assert ax.get_title(loc="left") == "Alignment after the rule, stage 3"
    places = [place / 100 for place in range(BINS)]
    shares = sorted(list(patch.get_data()[0]) for patch in ax.patches if isinstance(patch, StepPatch))
    expected = [100 * (3 + 1 + 4 + place) for place in places]  # cold and warm, mean over seeds 0, 1, 2
    before = [100 * (2 + 1 + 4 + place) for place in places]  # warm, at the end of stage 2
    assert shares == [pytest.approx(before), pytest.approx(expected), pytest.approx(expected)]
    assert (legend := ax.get_legend()) is not None
    assert [text.get_text() for text in legend.get_texts()] == ["warm, before"]
    plt.close(figure)


def test_rings_are_the_authors_figures_at_their_stage() -> None:
    table = made_table(lambda *_: 0.5, stages=50, seeds=(0,))
    with style():
        figure = draw_results(table, list(PUBLISHED), title="", setting="", foot="")
    rings = [line.get_xydata() for line in figure.axes[0].lines[2:]]
    accuracies = [one for one in PUBLISHED if one.metric == "test_accuracy" and one.stage]
    np.testing.assert_allclose(np.concatenate(rings), [[one.stage, 100 * one.value] for one in accuracies])
    assert any("rings: one run of the authors each, original pixels" in text.get_text() for text in figure.texts)
    plt.close(figure)


def test_the_legend_of_many_rules_is_whole_and_covers_no_panel() -> None:
    rules: tuple[str, ...] = (
        *("cold", "warm", "sp", "dash", "uniform", "cold_shrunk", "permuted", "scattered", "norm_matched"),
        *("permuted:move=within_filters", "permuted:move=across_filters", "cold:weight_decay=0.0005"),
    )
    table = made_table(
        lambda rule, seed, stage, metric: stage / 10, rules=rules, metrics=("test_accuracy", "steps")
    )
    with style():
        figure = draw_results(table, list(PUBLISHED), title="title", setting="setting", foot="")
        figure.canvas.draw()
        (legend,), renderer = figure.legends, figure.canvas.get_renderer()  # type: ignore[attr-defined]
        place = legend.get_window_extent(renderer)
        assert len(legend.get_texts()) == len(rules)
        assert place.x1 <= figure.bbox.x1
        boxes = [box for ax in figure.axes if (box := ax.get_tightbbox(renderer)) is not None]
        assert len(boxes) == 2
        assert not any(place.overlaps(box) for box in boxes)
    last = table["stage"].max()
    lines = figure.axes[0].lines
    rings = [float(np.asarray(line.get_xdata())[0]) for line in lines if line.get_markerfacecolor() == "none"]
    assert rings == [one.stage for one in PUBLISHED if one.metric == "test_accuracy" and 0 < one.stage <= 2 * last]
    plt.close(figure)
