"""Cosines, factors, norms and accuracies of a shrink, redrawn in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dashtheory.explore.alpha_lambda import EDGES, NUM_QUANTILES, AlphaLambdaFound
from dashtheory.explore.figure import Canvas, make_figure, round_top, screen_style, settle
from dashtheory.plot.style import rule_style

_BARS = (("before", rule_style("warm").color), ("DASH", rule_style("dash").color), ("uniform", "#E69F00"))
_WIDTH = 0.27
_FLOOR = (0, (2, 1.4))


class AlphaLambdaDrawing:
    """Four panels.

    Args:
        found: at any state; its names of layers and groups of examples stay.
        lengths: whose norms are shown.
    """

    def __init__(self, found: AlphaLambdaFound, lengths: str) -> None:
        with screen_style():
            figure = make_figure(400)
            places = ((0.055, 0.195), (0.31, 0.15), (0.565, 0.165), (0.845, 0.14))
            cosines, factors, norms, accuracy = (
                figure.add_axes((left, 0.15, width, 0.66)) for left, width in places
            )
            self._cosines(cosines)
            self._factors(factors)
            self.norms, self.accuracy = _bars(norms, found.names), _bars(accuracy, found.groups)
            norms.set(title="Norms", xlabel=lengths, xlim=(0, round_top(found.lengths.max())))
            accuracy.set(title="Accuracy", xlabel="per cent, right after", xlim=(0, 104))
            handles: list[Artist] = [Patch(facecolor=color, label=label) for label, color in _BARS]
            handles[2].set_label("uniform, by DASH's mean factor")
            handles.append(Line2D([], [], color="#000000", linestyle=_FLOOR, label="λ"))
            for ax in figure.axes:
                settle(ax)
            figure.legend(handles=handles, ncols=4, loc="upper left", bbox_to_anchor=(0.03, 1.0))
        bars = [patch for group in (*self.norms, *self.accuracy) for patch in group]
        self.canvas = Canvas(figure, [self.histogram, *self.floors, self.curve, self.even, *bars])

    def _cosines(self, ax: Axes) -> None:
        # Moved in place at every touch of a slider: seaborn would make new artists.
        self.histogram = ax.stairs(np.zeros(len(EDGES) - 1), EDGES, fill=True, color=rule_style("dash").color)
        self.floors = [ax.plot([], [], color="#000000", linestyle=_FLOOR, linewidth=1.8)[0]]
        ax.set(
            title="Cosine with descent",
            xlabel="cos(w, G) of a group",
            ylabel="per cent of the weights",
            xlim=(-1, 1),
        )
        self.cosines_ax = ax

    def _factors(self, ax: Axes) -> None:
        self.curve = ax.plot([], [], color=rule_style("dash").color)[0]
        self.even = ax.plot([], [], color=_BARS[2][1], linestyle=rule_style("uniform").linestyle)[0]
        self.floors.append(ax.plot([], [], color="#000000", linestyle=_FLOOR, linewidth=1.8)[0])
        ax.set(
            title="Factors", xlabel="weights, sorted (per cent)", ylabel="factor", xlim=(0, 100), ylim=(0, 1.04)
        )

    def show(self, found: AlphaLambdaFound) -> None:
        """Move histogram, curves, lines and bars."""
        shares = 100 * found.shares
        top = round_top(shares.max())
        self.histogram.set_data(shares, EDGES)
        self.cosines_ax.set_ylim(0, top)
        self.floors[0].set_data([found.lam] * 2, [0, top])
        self.floors[1].set_data([0, 100], [found.lam] * 2)
        self.curve.set_data(np.linspace(0, 100, NUM_QUANTILES), found.quantiles)
        self.even.set_data([0, 100], [found.mean] * 2)
        _stretch(self.norms, found.lengths)
        _stretch(self.accuracy, 100 * found.accuracy)


def _bars(ax: Axes, names: Sequence[str]) -> list[BarContainer]:
    """Three bars for each name: before, DASH, uniform."""
    places = np.arange(len(names))
    bars = [
        ax.barh(places + (order - 1) * _WIDTH, np.zeros(len(names)), _WIDTH * 0.94, color=color)
        for order, (_, color) in enumerate(_BARS)
    ]
    ax.set_yticks(places, list(names))
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
    return bars


def _stretch(bars: list[BarContainer], lengths: NDArray[np.float64]) -> None:
    for group, row in zip(bars, lengths, strict=True):
        for patch, length in zip(group, row.tolist(), strict=True):
            patch.set_width(length)
