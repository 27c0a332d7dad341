"""Maps: a metric over two parameters, with contours of what was predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from dashtheory.record import one_per


def pivot_map(table: pd.DataFrame, metric: str, x: str, y: str, *, scale: float = 1.0) -> pd.DataFrame:
    """Mean over seeds of `metric` as a grid: rows are values of `y`, columns values of `x`, both rising.

    Raises:
        ValueError: if a seed has several values in a cell, of two rules, say: only seeds are averaged over.
    """
    rows = table[table["metric"] == metric]
    one_per(rows, [x, y, "seed"], f"{metric} per {x}, {y} and seed")
    return scale * rows.pivot_table(index=y, columns=x, values="value", aggfunc="mean")


def draw_map(
    ax: Axes,
    grid: pd.DataFrame,
    *,
    label: str,
    low: float | None = None,
    high: float | None = None,
    log: bool = False,
    every: tuple[int, int] = (1, 1),
    colors: str = "cividis",
    notes: pd.DataFrame | None = None,
) -> Axes:
    """Draw a grid as cells of equal size, ticks at its values, with a colour bar.

    A cell is one unit wide and high; the first is centred at (0.5, 0.5).

    Args:
        ax: where.
        grid: values; its index and columns become the y and x ticks, every[1]-th and every[0]-th of them.
        label: of the colour bar.
        low: ends of the colours.
        high: ends of the colours.
        log: logarithmic colours.
        every: label each every[0]-th value of the x axis and each every[1]-th of the y axis.
        colors: name of a colour map; "cividis" for amounts, "PuOr" for differences around zero.
        notes: words in the cells, of the shape of `grid`; their colour is readable on the cell's.

    Returns:
        `ax`.
    """
    import seaborn as sns

    sns.heatmap(
        grid.rename(index="{:g}".format, columns="{:g}".format),
        norm=LogNorm(low, high) if log else Normalize(low, high),
        cmap=colors,
        linewidths=0.3,
        linecolor="face",  # cells of an SVG have no hairlines between them
        annot=notes,
        fmt="",
        annot_kws={"fontsize": 7, "linespacing": 0.9},
        xticklabels=every[0],
        yticklabels=every[1],
        cbar_kws={"label": label, "pad": 0.02},
        ax=ax,
    )
    ax.invert_yaxis()
    ax.tick_params(rotation=0)
    ax.grid(visible=False)
    if log:
        bar = ax.collections[0].colorbar
        assert bar is not None
        plain_log_ticks(bar.ax.yaxis)
    return ax


def plain_log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, written out."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_locator(NullLocator())


def draw_contours(
    ax: Axes, grid: pd.DataFrame, levels: Sequence[float], *, color: str, style: str = "-", labels: bool = True
) -> None:
    """Draw lines of equal value over a map made by `draw_map` from a grid of the same shape.

    Levels outside the range of the grid are left out.
    """
    values = grid.to_numpy()
    inside = [level for level in levels if np.nanmin(values) < level < np.nanmax(values)]
    if not inside or min(values.shape) < 2:
        return
    rows, columns = (np.arange(size) + 0.5 for size in values.shape)
    lines = ax.contour(columns, rows, values, levels=inside, colors=color, linewidths=1.6, linestyles=style)
    if labels:
        ax.clabel(lines, fmt="%g", fontsize=8)
