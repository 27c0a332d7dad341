"""Means over seeds against a parameter, with their spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from dashtheory._check import fail
from dashtheory.plot.style import RuleStyle


def draw_means(
    ax: Axes,
    rows: pd.DataFrame,
    x: str,
    by: str,
    looks: Mapping[Any, RuleStyle],
    *,
    scale: float = 1.0,
    line: bool = True,
    dodge: float = 0.0,
    evenly: bool = False,
) -> Axes:
    """Draw the mean over seeds against `x`, with bars of ± 1 sample standard deviation, a look per value of `by`.

    Args:
        x: column along the axis.
        by: column of the rules.
        ax: where.
        rows: a row per seed, with columns value, `x` and `by`.
        looks: by values of `by`; others are left out.
        scale: factor on the values (100: per cent).
        line: join the means by a line.
        dodge: room that the looks take side by side, where equal means would hide each other, in the smallest gap
            between neighbours on the x axis (on its scale, which is set before).
        evenly: values of `x` at equal distances 0, 1, 2, ..., ticks at all of them, instead of to scale.

    Returns:
        `ax`.

    Raises:
        ValueError: if the y axis is not linear yet: seaborn would average logarithms. Set its scale after.
    """
    import seaborn as sns

    if ax.get_yscale() != "linear":
        fail("ax", "must have a linear y axis while means are drawn", ax.get_yscale(), "Set its scale afterwards.")
    shown = rows[rows[by].isin(list(looks))].sort_values(x)
    sns.pointplot(
        x=shown[x],
        y=scale * shown["value"],
        hue=shown[by],
        hue_order=list(looks),
        palette={name: look.color for name, look in looks.items()},
        markers=[look.marker for look in looks.values()],
        linestyles=[look.linestyle if line else "none" for look in looks.values()],
        errorbar="sd",
        dodge=dodge if len(looks) > 1 else False,
        native_scale=not evenly,
        formatter="{:g}".format,
        linewidth=1.6,
        markersize=5,
        markeredgewidth=1.0,
        err_kws={"linewidth": 1.4},
        legend=False,
        ax=ax,
    )
    for look in looks.values():
        dashes = look.linestyle if line else "none"
        ax.plot([], [], color=look.color, marker=look.marker, linestyle=dashes, label=look.label)
    ax.grid(visible=True)
    return ax
