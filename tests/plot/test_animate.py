"""Animations of a stage: what is drawn is what the trace says, and the picture comes with words."""

from __future__ import annotations

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image, ImageSequence

from dashtheory.discrete import StageTrace, simulate, trace_stage
from dashtheory.plot import animate_stages, describe_moment, draw_moment, gif_html, num_moments, style
from dashtheory.plot.animate import LOOKS

FEATURES = np.array([[[1, 1, 0, 0] * 2, [0, 1, 1, 0] * 2, [0, 0, 0, 1] * 2]], dtype=bool)
# Chunks {1}, {1, 2}, {2}, {3}; gamma 2, tau 1: feature 1 is learned, {2} and {3} are memorised.


def trace(rule: str, stage: int) -> StageTrace:
    run = simulate(FEATURES, 4, gamma=2, tau=1, rule=rule)
    return trace_stage(FEATURES, run, stage=stage, tau=1)


def marks(ax: Axes) -> dict[str, int]:
    """Number of samples of each kind, by marker."""
    kinds = {marker: kind for kind, (_, _, marker) in LOOKS.items()}
    return {kinds[str(line.get_marker())]: len(np.atleast_1d(line.get_xdata())) for line in ax.lines}


@pytest.mark.parametrize(
    ("moment", "bars", "samples"),
    [
        (0, [2, 2, 1], {"active": 4, "explained": 0, "memorised": 0}),
        (1, [0, 1, 1], {"active": 2, "explained": 2, "memorised": 0}),
        (2, [0, 0, 0], {"active": 0, "explained": 2, "memorised": 2}),
    ],
)
def test_a_still_shows_counts_and_samples(moment: int, bars: list[int], samples: dict[str, int]) -> None:
    figure = plt.figure()
    draw_moment(figure, trace("warm", 1), moment, gamma=2)
    left, right = figure.axes
    assert [bar.get_height() for bar in left.patches] == bars  # type: ignore[attr-defined]
    assert any(np.array_equal(np.asarray(line.get_ydata()), [2, 2]) for line in left.lines), "gamma"
    assert marks(right) == samples
    assert [text.get_text() for text in left.texts].count("✓") == min(moment, 1)
    plt.close("all")


def test_every_sample_has_a_place_of_its_own() -> None:
    figure = plt.figure()
    draw_moment(figure, trace("warm", 2), 0, gamma=2)
    places = np.concatenate([np.asarray(line.get_xydata()) for line in figure.axes[1].lines])
    assert len(np.unique(places.round(6), axis=0)) == len(places) == 8
    assert marks(figure.axes[1]) == {"active": 2, "explained": 4, "memorised": 2}
    plt.close("all")


def test_words_say_what_happens() -> None:
    first, second = trace("warm", 1), trace("warm", 2)
    assert [describe_moment(first, moment) for moment in range(num_moments(first))] == [
        "stage 1, warm: it starts with 4 active samples of 4",
        "stage 1, warm: feature 1 of class 1 (shown by 2) is learned; 2 stay active",
        "stage 1, warm: nothing reaches γ; 2 active samples are memorised",
    ]
    assert describe_moment(second, 0) == "stage 2, warm: it starts with 2 active samples of 8"
    assert "4 active samples of 8" in describe_moment(trace("ideal", 2), 0)
    assert "8 active samples of 8" in describe_moment(trace("cold", 2), 0)


def test_the_html_holds_every_frame_and_the_alternative_and_ends() -> None:
    stages = [trace("warm", 1), trace("warm", 2)]
    with style():
        text = gif_html(animate_stages(stages, gamma=2), 'bars < marks & "words"', dpi=40, loops=2)
    assert 'alt="bars &lt; marks &amp; &quot;words&quot;"' in text
    data = re.search(r'src="data:image/gif;base64,([^"]+)"', text)
    assert data is not None
    picture = Image.open(io.BytesIO(base64.b64decode(data[1])))
    frames = sum(num_moments(stage) for stage in stages)
    assert getattr(picture, "n_frames", 1) == frames == 5
    assert picture.info["loop"] == 1  # one round more after the first
    assert len({frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(picture)}) == frames
    assert not plt.get_fignums()


def test_the_same_stages_give_the_same_bytes() -> None:
    with style():
        both = [gif_html(animate_stages([trace("ideal", 2)], gamma=2), "words", dpi=40) for _ in range(2)]
    assert both[0] == both[1]
