"""The plane of one weight vector, and factors by angle, redrawn in place."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.quiver import Quiver
from numpy.typing import NDArray

from dashtheory.explore.figure import Canvas, make_figure, screen_style, settle
from dashtheory.explore.geometry import ShrinkFound
from dashtheory.plot.style import rule_style

_RULES = ("dash", "uniform", "sp")
_DESCENTS = {"newest": "#000000", "older": "#9a9a9a", "descent": "#0072B2"}
_WORDS = {
    "w, before": (rule_style("warm").color, 6),
    "w after DASH": (rule_style("dash").color, 6),
    "w after uniform shrink": (rule_style("uniform").color, 6),
    "w after S&P (200 draws)": (rule_style("sp").color, 6),
    "descent of newest chunk": (_DESCENTS["newest"], 2.5),
    "descent of older chunk": (_DESCENTS["older"], 2.5),
    "G: both, mixed by α": (_DESCENTS["descent"], 2.5),
}
"""Legend of the plane: colour and width of each arrow."""


class ShrinkDrawing:
    """Arrows on the left; curves, and where the vector stands on them, on the right."""

    def __init__(self) -> None:
        with screen_style():
            figure = make_figure(470)
            plane = figure.add_axes((0.285, 0.13, 0.33, 0.33 * 1180 / 470))
            curves = figure.add_axes((0.685, 0.13, 0.3, 0.66))
            self._plane(plane)
            self._curves(curves)
            for ax in (plane, curves):
                settle(ax, left=52)
            figure.legend(
                [Line2D([], [], color=color, linewidth=width) for color, width in _WORDS.values()],
                list(_WORDS),
                loc="center left",
                bbox_to_anchor=(0.0, 0.55),
                handlelength=1.6,
                labelspacing=0.9,
            )
        self.canvas = Canvas(figure, [])

    def _plane(self, ax: Axes) -> None:
        turn = np.linspace(0, 2 * np.pi, 181)
        ax.plot(np.cos(turn), np.sin(turn), color="#cfcfcf", linewidth=1.2)
        self.cloud = ax.plot([], [], ".", color=rule_style("sp").color, markersize=4, alpha=0.55)[0]
        self.thin = {name: _arrow(ax, color, 0.007) for name, color in _DESCENTS.items()}
        self.arrows = {"weight": _arrow(ax, rule_style("warm").color, 0.018)} | {
            rule: _arrow(ax, rule_style(rule).color, 0.018) for rule in _RULES
        }
        ax.set(
            xlabel="along the newest chunk's negative gradient",
            ylabel="at a right angle to it",
            xlim=(-1.3, 1.3),
            ylim=(-1.3, 1.3),
            xticks=[-1, -0.5, 0, 0.5, 1],
            yticks=[-1, -0.5, 0, 0.5, 1],
        )

    def _curves(self, ax: Axes) -> None:
        self.factors = {
            rule: ax.plot([], [], color=rule_style(rule).color, linestyle=rule_style(rule).linestyle)[0]
            for rule in ("sp", "uniform", "dash")
        }
        self.here = ax.plot([], [], color=rule_style("warm").color, linewidth=1.4)[0]
        self.dots = [
            ax.plot([], [], rule_style(rule).marker, color=rule_style(rule).color, markersize=10)[0]
            for rule in ("sp", "uniform", "dash")
        ]
        handles = [*(self.factors[rule] for rule in _RULES), self.here]
        ax.legend(
            [
                Line2D(
                    [], [], color=line.get_color(), linestyle=line.get_linestyle(), linewidth=line.get_linewidth()
                )
                for line in handles
            ],
            ["DASH: cosine, at least λ", "uniform: DASH's mean", "S&P: its λ", "angle of w"],
            loc="lower left",
            bbox_to_anchor=(-0.16, 1.08),
            ncols=2,
            columnspacing=1.0,
        )
        ax.set(
            title="Factor on the length, by angle",
            xlabel="angle between a vector and G (degrees)",
            ylabel="factor",
            xlim=(-3, 183),
            ylim=(-0.03, 1.06),
            xticks=range(0, 181, 30),
        )

    def show(self, found: ShrinkFound) -> None:
        """Move arrows, draws, curves and dots."""
        shrink = found.draws_factor
        vectors = {
            "weight": found.weight,
            "dash": found.dash,
            "uniform": found.uniform,
            "sp": shrink * found.weight,
        }
        for name, arrow in self.arrows.items():
            _point(arrow, vectors[name])
        lengths = {name: float(np.linalg.norm(vector)) for name, vector in vectors.items()}
        by_length = sorted(self.arrows, key=lambda name: -lengths[name])  # all point one way: short ones on top
        for name, arrow in self.thin.items():
            _point(arrow, getattr(found, name))
        self.cloud.set_data(found.draws[:, 0], found.draws[:, 1])
        flat = np.ones_like(found.angles)
        for rule, values in (("dash", found.factors), ("uniform", found.mean * flat), ("sp", shrink * flat)):
            self.factors[rule].set_data(found.angles, values)
        self.here.set_data([found.degrees] * 2, [-0.03, 1.06])
        heights = (shrink, found.mean, float(np.linalg.norm(found.dash)))
        for dot, height in zip(self.dots, heights, strict=True):
            dot.set_data([found.degrees], [height])
        self.canvas.move(
            [
                *self.thin.values(),
                self.cloud,
                *(self.arrows[name] for name in by_length),
                *self.factors.values(),
                self.here,
                *self.dots,
            ]
        )


def _arrow(ax: Axes, color: str, width: float) -> Quiver:
    """An arrow from the origin in units of the axes."""
    return ax.quiver(
        [0], [0], [1], [0], color=color, angles="xy", scale_units="xy", scale=1, width=width, headwidth=3.4
    )


def _point(arrow: Quiver, vector: NDArray[np.float64]) -> None:
    arrow.set_UVC([vector[0]], [vector[1]])
