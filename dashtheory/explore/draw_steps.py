"""Norms, effective steps and accuracy by stage, redrawn in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dashtheory.explore.figure import Canvas, make_figure, screen_style, settle
from dashtheory.explore.steps import ALL, StepFound
from dashtheory.plot.style import rule_style

_FAINT = 0.16
"""Opacity of rules that are not looked at."""


class StepDrawing:
    """Four panels.

    Args:
        found: at any state; its rules and stages stay, and limits hold for every state.
        limits: of norm, step and accuracy (and that after stage 1), over all seeds.
    """

    def __init__(self, found: StepFound, limits: dict[str, tuple[float, float]]) -> None:
        self.rules, stages = found.rules, np.arange(1, found.step.shape[1] + 1)
        with screen_style():
            figure = make_figure(430)
            norms, steps, accuracy, against = figure.subplots(1, 4)
            self.norms = {rule: _line(norms, rule) for rule in self.rules}
            self.ends = {rule: _line(norms, rule, linestyle="none") for rule in self.rules}
            self.steps = {rule: _line(steps, rule) for rule in self.rules}
            self.accuracy = {rule: _line(accuracy, rule) for rule in self.rules}
            self.seeds = {rule: _line(against, rule, linestyle="none", markersize=4) for rule in self.rules}
            self.means = {
                rule: _line(against, rule, linestyle="none", markersize=11, markeredgecolor="white")
                for rule in self.rules
            }
            norms.set(title="Norm of the weights", ylabel="|w|", yscale="log", ylim=limits["norm"])
            steps.set(title="Effective step", ylabel="η / |w|²", yscale="log", ylim=limits["step"])
            accuracy.set(title="Test accuracy", ylabel="per cent", ylim=limits["accuracy"])
            against.set(title="One against the other", xlabel="effective step", xscale="log", xlim=limits["step"])
            against.set(ylim=limits["later accuracy"], ylabel="accuracy, per cent")
            for ax in (norms, steps, accuracy):
                ax.set(xlabel="stage", xlim=(stages[0] - 0.2, stages[-1] + 0.2))
                ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
            figure.legend(
                [_key(rule) for rule in self.rules],
                [rule_style(rule).label for rule in self.rules],
                ncols=4,
                loc="upper left",
                bbox_to_anchor=(0.03, 1.0),
                handlelength=3.2,
            )
            figure.subplots_adjust(left=0.06, right=0.99, top=0.75, bottom=0.13, wspace=0.4)
            for ax in figure.axes:
                settle(ax, left=50)
        self.stages = stages
        self.here = [ax.axvline(stages[-1], color="#9a9a9a", linewidth=1.2) for ax in (norms, steps, accuracy)]
        parts = (self.norms, self.ends, self.steps, self.accuracy, self.seeds, self.means)
        self.canvas = Canvas(figure, [*self.here, *(one for part in parts for one in part.values())])

    def show(self, found: StepFound) -> None:
        """Move lines and marks, and fade the rules that are not looked at."""
        for line in self.here:
            line.set_xdata([found.stage] * 2)
        for row, rule in enumerate(self.rules):
            seen = 1.0 if found.chosen in (ALL, rule) else _FAINT
            points = found.points[row]
            middle = np.exp(np.log(points[:, 0]).mean()), 100 * points[:, 1].mean()
            for line, x, y, alpha in (
                (self.norms[rule], self.stages, found.norm[row], seen),
                (self.ends[rule], self.stages, found.norm_end[row], seen),
                (self.steps[rule], self.stages, found.step[row], seen),
                (self.accuracy[rule], self.stages, 100 * found.accuracy[row], seen),
                (self.seeds[rule], points[:, 0], 100 * points[:, 1], 0.45 * seen),
                (self.means[rule], [middle[0]], [middle[1]], seen),
            ):
                line.set_data(x, y)
                line.set_alpha(alpha)


def _line(ax: Axes, rule: str, **look: Any) -> Line2D:
    style = rule_style(rule)
    marker = {"marker": style.marker} if look.get("linestyle") == "none" else {}
    return ax.plot([], [], **{"color": style.color, "linestyle": style.linestyle, **marker, **look})[0]


def _key(rule: str) -> Line2D:
    style = rule_style(rule)
    return Line2D([], [], color=style.color, linestyle=style.linestyle, marker=style.marker)
