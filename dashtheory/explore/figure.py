"""A figure that is drawn again and again, fast, and its static copies with text in place of the picture.

Frames, ticks, words and legends are drawn once for given limits of each axes and kept as pixels; what moves is
drawn on top of them. So a picture depends on the state alone, not on the way to it.
"""

from __future__ import annotations

import base64
import html
import io
import itertools
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from dashtheory.plot.style import style

WIDTH, DPI = 1180, 100
"""Width of every figure in pixels, and pixels per inch; a page of 1280 pixels has room for it."""

KEPT = 40
"""Strips of axes that are kept as pixels: some 20 MB of an explorer."""

IMAGE_CLASS = "dashtheory-figure"
"""Class of the img element, by which a page's style or a test finds it."""

_SIZES: dict[Any, Any] = {
    "font.size": 11.5,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 11.5,
    "legend.fontsize": 11.5,
    "lines.linewidth": 2.2,
    "lines.markersize": 6,
}


@contextmanager
def screen_style() -> Iterator[None]:
    """The package's style in sizes for a screen and a projector: no words below 11 points."""
    with style():
        mpl.rcParams.update(_SIZES)
        yield


def make_figure(height: int) -> Figure:
    """An empty figure of the common width.

    Args:
        height: in pixels.
    """
    return Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI)


def settle(ax: Axes, *, left: int = 46, below: int = 30) -> None:
    """Fix where the title and the labels of axes stand: to find a place for them takes a third of drawing them.

    Args:
        ax: at its final size.
        left: gap between axes and labels, in pixels.
        below: gap between axes and labels, in pixels.
    """
    box = ax.get_window_extent()
    ax.set_title(ax.get_title(loc="left"), y=1.0)
    ax.xaxis.set_label_coords(0.5, -below / box.height)
    ax.yaxis.set_label_coords(-left / box.width, 0.5)


class Canvas:
    """A figure, what moves on it, and its pixels.

    Axes stand side by side: each has a strip of the figure, from its labels to the next one's. A strip is kept
    as pixels by the limits of its axes, so that a slider that changes the limits of one panel draws that one
    anew, and a slider that comes back draws none.

    Args:
        figure: with all its axes.
        moving: artists that change, in the order in which they are drawn.
    """

    def __init__(self, figure: Figure, moving: Iterable[Artist]) -> None:
        self.figure, self.moving = figure, list[Artist]()
        self.move(moving)
        self._agg: Any = FigureCanvasAgg(figure)
        self._bare: Any = None
        self._strips: list[Bbox] = []
        self._kept: OrderedDict[tuple[object, ...], Any] = OrderedDict()

    def move(self, moving: Iterable[Artist]) -> None:
        """Say what moves, and in which order it is drawn."""
        self.moving = list(moving)
        for artist in self.moving:
            artist.set_animated(True)

    def draw(self) -> None:
        """Draw what moves; of the rest the axes whose limits were not seen lately."""
        if self._bare is None:
            self._begin()
        wanted = [(place, *ax.get_xlim(), *ax.get_ylim()) for place, ax in enumerate(self.figure.axes)]
        missing = [key for key in wanted if key not in self._kept]
        if missing:
            self._agg.restore_region(self._bare)
            with screen_style():
                renderer = self._agg.get_renderer()
                for key in missing:
                    self.figure.axes[key[0]].draw(renderer)
            for key in missing:
                self._kept[key] = self._agg.copy_from_bbox(self._strips[key[0]])
        self._agg.restore_region(self._bare)
        for key in wanted:
            self._kept.move_to_end(key)
            self._agg.restore_region(self._kept[key])
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        renderer = self._agg.get_renderer()
        for artist in self.moving:
            artist.draw(renderer)

    def forget(self) -> None:
        """Drop the kept pixels of all axes; the next figure draws them anew."""
        self._kept.clear()

    def _begin(self) -> None:
        """Draw what is no part of any axes, and find the strip of each."""
        axes = self.figure.axes
        with screen_style():
            self._agg.draw()
            renderer = self._agg.get_renderer()
            boxes = [ax.get_tightbbox(renderer) or ax.get_window_extent() for ax in axes]
            for ax in axes:
                ax.set_visible(False)
            self._agg.draw()
            for ax in axes:
                ax.set_visible(True)
        self._bare = self._agg.copy_from_bbox(self.figure.bbox)
        width, height = self._agg.get_width_height()
        edges = [0, *(math.floor(box.x0) - 3 for box in boxes[1:]), width]
        self._strips = [Bbox([[left, 0], [right, height]]) for left, right in itertools.pairwise(edges)]

    def encode(self) -> bytes:
        """The pixels as PNG, quickly rather than small."""
        pixels = Image.frombuffer("RGBA", self._agg.get_width_height(), bytes(self._agg.buffer_rgba()))
        file = io.BytesIO()
        pixels.convert("RGB").save(file, "png", compress_level=1)
        return file.getvalue()

    def message(self, text: str) -> bytes:
        """A PNG of the same size with nothing but a line of text."""
        figure = make_figure(self._agg.get_width_height()[1])
        with screen_style():
            words = figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True, fontsize=14)
            words.set_in_layout(False)
            canvas = Canvas(figure, [])
            canvas.draw()
        return canvas.encode()


@dataclass(frozen=True)
class Picture:
    """A picture and the words that say what it shows.

    Shown in a notebook it is HTML with alternative text; readers of the file who see no HTML get the image.

    Attributes:
        png: the image.
        text: what it shows, one paragraph.
        width: in pixels of the page.
    """

    png: bytes
    text: str
    width: int = WIDTH

    def html(self) -> str:
        """An img element with the alternative text."""
        data = base64.b64encode(self.png).decode()
        width, height = (int.from_bytes(self.png[place : place + 4], "big") for place in (16, 20))
        return (
            f'<img class="{IMAGE_CLASS}" src="data:image/png;base64,{data}" alt="{html.escape(self.text)}" '
            f'width="{width}" height="{height}" decoding="sync" style="max-width: 100%; height: auto">'
        )

    def _repr_html_(self) -> str:
        return self.html()

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict[str, object], dict[str, object]]:
        data: dict[str, object] = {
            "text/html": self.html(),
            "image/png": base64.b64encode(self.png).decode(),
            "text/plain": self.text,
        }
        return data, {"image/png": {"width": self.width, "alt": self.text}}


def round_top(value: float) -> float:
    """The smallest of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is >= 1.03 `value`; 1 for 0."""
    if value <= 0:
        return 1.0
    needed = 1.03 * value
    power = 10.0 ** math.floor(math.log10(needed))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= needed)


def short(count: float) -> str:
    """A count for a tick: 950, 12k, 1.5M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(count) >= size:
            return f"{count / size:g}{unit}"
    return f"{count:g}"
