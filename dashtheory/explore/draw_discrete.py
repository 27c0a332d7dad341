"""The four panels of level 1, redrawn in place."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dashtheory.discrete import DISCRETE_RULES
from dashtheory.explore.discrete import FORGETTING, DiscreteFound
from dashtheory.explore.figure import Canvas, make_figure, round_top, screen_style, settle, short
from dashtheory.plot.style import RuleStyle, rule_style

_PANELS = (
    ("num_learned", 1.0, "Learned features", "features, of 100"),
    ("num_memorized", 1.0, "Memorised samples", "samples"),
    ("accuracy", 100.0, "Test accuracy", "per cent"),
    ("active_at_start", 1.0, "Training time", "active at the start"),
)
_FIXED = {"num_learned": (0.0, 104.0), "accuracy": (48.0, 102.0)}
_NAMES = (*DISCRETE_RULES, FORGETTING)


def look(rule: str) -> RuleStyle:
    """Style of a rule; forgetting has one of its own."""
    return RuleStyle("forgetting (φ)", "#7A3B9A", (0, (7, 1.5)), "X") if rule == FORGETTING else rule_style(rule)


class DiscreteDrawing:
    """Lines are the population limit, dots a simulation."""

    def __init__(self) -> None:
        with screen_style():
            figure = make_figure(400)
            axes = figure.subplots(1, len(_PANELS))
            self.lines = [_lines(ax) for ax in axes]
            self.dots = [_dots(ax) for ax in axes]
            for ax, (metric, _, title, unit) in zip(axes, _PANELS, strict=True):
                ax.set(title=title, xlabel="stage", ylabel=unit, ylim=_FIXED.get(metric, (0, 1)))
                ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))
                ax.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
                ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            handles = [Line2D([], [], color=look(name).color, linestyle=look(name).linestyle) for name in _NAMES]
            handles.append(Line2D([], [], color="#444444", marker="o", markerfacecolor="none", linestyle="none"))
            figure.legend(
                handles,
                [*(look(name).label for name in _NAMES), "simulated, one seed"],
                ncols=5,
                loc="upper left",
                bbox_to_anchor=(0.03, 1.0),
                handlelength=3.2,
            )
            figure.subplots_adjust(left=0.063, right=0.99, top=0.83, bottom=0.14, wspace=0.38)
            for ax in axes:
                settle(ax, left=54)
        self.axes = axes
        moving = [
            one for some in zip(self.lines, self.dots, strict=True) for part in some for one in part.values()
        ]
        self.canvas = Canvas(figure, moving)

    def show(self, found: DiscreteFound) -> None:
        """Move lines and dots."""
        num_stages = len(found.limit["cold"].num_learned)
        stages = np.arange(1, num_stages + 1)
        every = max(1, num_stages // 10)
        for ax, lines, dots, (metric, scale, _, _) in zip(self.axes, self.lines, self.dots, _PANELS, strict=True):
            most = 0.0
            for name in _NAMES:
                values = scale * getattr(found.limit[name], metric)
                lines[name].set_data(stages, values)
                most = max(most, values.max())
                drawn = name in found.simulated
                seen = scale * getattr(found.simulated[name], metric) if drawn else np.empty(0)
                most = max(most, seen.max(initial=0.0))
                dots[name].set_data(stages[every - 1 :: every][: len(seen)], seen[every - 1 :: every])
            ax.set_xlim(1 - 0.02 * num_stages, num_stages * 1.02)
            if metric not in _FIXED:
                ax.set_ylim(0, round_top(most))


def _lines(ax: Axes) -> dict[str, Line2D]:
    return {
        name: ax.plot([], [], color=look(name).color, linestyle=look(name).linestyle)[0]
        for name in ("cold", FORGETTING, "warm", "ideal")
    }


def _dots(ax: Axes) -> dict[str, Line2D]:
    return {
        name: ax.plot([], [], "o", color=look(name).color, markerfacecolor="none", markeredgewidth=1.4)[0]
        for name in _NAMES
    }
