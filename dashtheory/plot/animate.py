"""A stage of the discrete world, moment by moment: a still, an animation, and HTML with a text alternative.

Nothing is computed here but what is shown: moments come from `dashtheory.discrete.trace_stage`.
"""

from __future__ import annotations

import base64
import html
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

LOOKS = {
    "active": ("active: still teaches", "#0072B2", "o"),
    "explained": ("explained by features", "#009E73", "."),
    "memorised": ("memorised noise", "#D55E00", "x"),
}
"""Words, colour and marker of each kind of sample; the markers alone tell them apart."""
_ROWS = 5  # samples on top of each other
_COLORS = 64  # of a GIF


class TracedStage(Protocol):
    """What is drawn; `dashtheory.discrete.StageTrace` says what each attribute is."""

    @property
    def rule(self) -> str: ...  # noqa: D102
    @property
    def stage(self) -> int: ...  # noqa: D102
    @property
    def steps(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def learned(self) -> NDArray[np.bool_]: ...  # noqa: D102
    @property
    def active(self) -> NDArray[np.bool_]: ...  # noqa: D102
    @property
    def counts(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def held(self) -> NDArray[np.bool_]: ...  # noqa: D102
    @property
    def memorized(self) -> NDArray[np.bool_]: ...  # noqa: D102
    @property
    def chunk(self) -> NDArray[np.int64]: ...  # noqa: D102


def num_moments(trace: TracedStage) -> int:
    """Moments of a stage: its start, each learning step, and the memorising at its end."""
    return len(trace.steps) + 2


def draw_counts(ax: Axes, trace: TracedStage, label: int, moment: int, *, gamma: float, top: float) -> Axes:
    """Draw how many active samples of a class show each of its features, beside the threshold.

    Args:
        ax: where.
        trace: the stage.
        label: class, from 0.
        moment: from 0; see `num_moments`.
        gamma: the threshold.
        top: end of the axis.

    Returns:
        `ax`.
    """
    at = min(moment, len(trace.steps))
    counts, known = trace.counts[at, label], trace.learned[at, label]
    places = np.arange(1, len(counts) + 1)
    ended = moment > len(trace.steps)
    ax.bar(places, np.where(known | ended, 0, counts), color=LOOKS["active"][1], width=0.7)
    for place in places[known]:
        ax.text(place, 0.01 * top, "✓", ha="center", va="bottom", fontsize=9)
    ax.axhline(gamma, color="#444444", linestyle=(0, (4, 2)), linewidth=1.2)
    ax.text(len(counts) + 0.6, gamma, "γ", ha="left", va="center", fontsize=9)
    ax.set(ylim=(0, top), xlim=(0.4, len(counts) + 0.6), ylabel=f"class {label + 1}: active\nsamples with it")
    ax.set_xticks(places)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    ax.grid(visible=False)
    return ax


def draw_samples(ax: Axes, trace: TracedStage, label: int, moment: int) -> Axes:
    """Draw every sample of a class as a mark: active, explained or memorised; chunks lie side by side.

    Args:
        ax: where.
        trace: the stage.
        label: class, from 0.
        moment: from 0; see `num_moments`.

    Returns:
        `ax`.
    """
    ended = moment > len(trace.steps)
    active = trace.active[min(moment, len(trace.steps)), label] & (not ended)
    held = trace.memorized[label] if ended else trace.held[label]
    size = int(np.count_nonzero(trace.chunk == 1))
    columns = -(-size // _ROWS)
    within = np.arange(len(trace.chunk)) % size
    x, y = within // _ROWS + (trace.chunk - 1) * (columns + 1.5), _ROWS - 1 - within % _ROWS
    for kind, chosen in (("explained", ~active & ~held), ("memorised", held), ("active", active)):
        _, color, marker = LOOKS[kind]
        ax.plot(x[chosen], y[chosen], marker, color=color, markersize=5, markeredgewidth=1.4, linestyle="none")
    chunks = np.unique(trace.chunk)
    ax.set_xticks(
        (chunks - 1) * (columns + 1.5) + (columns - 1) / 2, [f"chunk {chunk}" for chunk in chunks.tolist()]
    )
    ax.set(yticks=[], ylim=(-0.8, _ROWS - 0.2), xlim=(-0.9, chunks[-1] * (columns + 1.5) - 1.6))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    return ax


def describe_moment(trace: TracedStage, moment: int) -> str:
    """One line for people: the stage, what happens, and how many samples are still active."""
    head = f"stage {trace.stage}, {trace.rule}: "
    if moment > len(trace.steps):
        new = np.count_nonzero(trace.memorized & ~trace.held)
        return f"{head}nothing reaches γ; {new} active samples are memorised"
    active = np.count_nonzero(trace.active[moment])
    if moment == 0:
        return f"{head}it starts with {active} active samples of {trace.active[0].size}"
    label, feature = trace.steps[moment - 1].tolist()
    count = trace.counts[moment - 1, label, feature]
    return f"{head}feature {feature + 1} of class {label + 1} (shown by {count}) is learned; {active} stay active"


def draw_moment(
    figure: FigureBase, trace: TracedStage, moment: int, *, gamma: float, top: float | None = None
) -> None:
    """Draw one moment of a stage on a figure or a part of one: counts left, samples right, a row per class.

    Args:
        figure: cleared first.
        trace: as `draw_counts`.
        moment: as `draw_counts`.
        gamma: as `draw_counts`.
        top: default: fits the stage.
    """
    figure.clear()
    top = top or _top([trace], gamma)
    num_classes = trace.active.shape[1]
    axes = figure.subplots(num_classes, 2, width_ratios=(1, 1.5), squeeze=False)
    for label, (left, right) in enumerate(axes):
        draw_counts(left, trace, label, moment, gamma=gamma, top=top)
        draw_samples(right, trace, label, moment)
    axes[-1, 0].set_xlabel("feature (✓ learned)")
    figure.suptitle(describe_moment(trace, moment), x=0.015, y=0.985, ha="left", va="top", fontsize=10.5)
    marks = [
        Line2D([], [], color=color, marker=marker, linestyle="none", markeredgewidth=1.4, label=words)
        for words, color, marker in LOOKS.values()
    ]
    figure.legend(handles=marks, loc="upper right", ncols=3, bbox_to_anchor=(0.995, 0.93), fontsize=8.5)
    figure.subplots_adjust(left=0.105, right=0.985, top=0.82, bottom=0.115, wspace=0.1, hspace=0.3)


def _top(traces: Sequence[TracedStage], gamma: float) -> float:
    largest = max(int(np.where(trace.learned, 0, trace.counts).max()) for trace in traces)
    return 1.12 * max(largest, gamma)


def animate_stages(
    traces: Sequence[TracedStage],
    *,
    gamma: float,
    size: tuple[float, float] = (8.4, 4.4),
    milliseconds: int = 1400,
) -> FuncAnimation:
    """Animate stages one after the other, a frame per moment; the figure is closed for other drawing.

    Args:
        traces: at least one.
        gamma: the threshold.
        size: in inches.
        milliseconds: of a frame.

    Returns:
        the animation; `gif_html` turns it into text for a notebook.
    """
    figure = plt.figure(figsize=size)
    frames = [(trace, moment) for trace in traces for moment in range(num_moments(trace))]
    top = _top(traces, gamma)

    def show(frame: int) -> list[Any]:
        trace, moment = frames[frame]
        draw_moment(figure, trace, moment, gamma=gamma, top=top)
        return []

    animation = FuncAnimation(figure, show, frames=len(frames), interval=milliseconds, init_func=list)
    plt.close(figure)
    return animation


def gif_html(animation: FuncAnimation, alternative: str, *, dpi: int = 96, loops: int = 3) -> str:
    """An animation as an <img> element that holds a GIF and its text alternative.

    It stops by itself, on its last frame, after `loops` rounds.

    Args:
        animation: of `animate_stages`.
        alternative: what it shows, in words.
        dpi: pixels per inch.
        loops: rounds, at least one.

    Returns:
        HTML.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "animation.gif")
        animation.save(path, writer=_SmallGif(loops), dpi=dpi)
        data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/gif;base64,{data}" alt="{html.escape(alternative)}">'


class _SmallGif(PillowWriter):
    """Writes one palette for all frames, a longer last frame, and a number of rounds."""

    def __init__(self, loops: int) -> None:
        super().__init__()
        self.loops = loops

    def finish(self) -> None:
        """Write the file."""
        frames = [frame.convert("RGB") for frame in self._frames]  # type: ignore[attr-defined]
        sheet = Image.new("RGB", (frames[0].width, frames[0].height * len(frames)))
        for place, frame in enumerate(frames):
            sheet.paste(frame, (0, place * frame.height))
        palette = sheet.quantize(_COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
        durations = [round(1000 / self.fps)] * len(others) + [round(3000 / self.fps)]
        loop = {"loop": self.loops - 1} if self.loops > 1 else {}  # without the word, a viewer plays once
        first.save(self.outfile, save_all=True, append_images=others, duration=durations, optimize=True, **loop)
