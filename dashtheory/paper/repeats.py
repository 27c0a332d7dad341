"""DASH minus each other rule, seed by seed: which of the differences of one seed hold in others.

Rules of one seed begin with the same network and see the same pictures in the same order, so that differences are
paired. With two seeds each difference is given alone: the t interval of two is 12.7 times as wide as they are
apart, and would say no more than they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dashtheory.paper.waterfall import FEWEST, brief_label
from dashtheory.plot import add_heading, draw_differences, rule_style, sort_rules
from dashtheory.record import paired_differences

SUBJECT = "dash"
_METRIC = "test_accuracy"
_PANELS = 4


def dash_minus(table: pd.DataFrame) -> pd.DataFrame:
    """DASH's test accuracy minus that of each rule that shares at least two seeds with it.

    Args:
        table: tidy, of one setting.

    Returns:
        stage (from the second on; before it no rule has acted), rule, mean, low and high (of the 95% t interval)
        and p (of its test), which are NaN with fewer than three seeds, n, and differences (tuple, in the order of
        the seeds), as shares, sorted by stage and rule; without lines if there is nothing to compare.
    """
    rows = table[(table["metric"] == _METRIC) & (table["stage"] > 1)]
    parts = [
        _minus(here, rule, stage)
        for stage in sorted(set(rows["stage"]))
        for rule in sorted(set(rows["rule"]) - {SUBJECT})
        if len(here := _paired(rows[rows["stage"] == stage], rule)) >= 2 * 2
    ]
    columns = ["stage", "rule", "mean", "low", "high", "p", "n", "differences"]
    return pd.DataFrame(parts, columns=columns)


def _paired(rows: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Rows of the rule and of DASH, of the seeds that both have."""
    both = rows[rows["rule"].isin([SUBJECT, rule])]
    return both[both.groupby("seed")["rule"].transform("nunique") == 2]


def _minus(here: pd.DataFrame, rule: str, stage: int) -> dict[str, object]:
    (line,) = paired_differences(here, _METRIC, rule).to_dict("records")
    enough = int(line["n"]) >= FEWEST
    ends = {end: float(line[end]) if enough else np.nan for end in ("low", "high", "p")}
    return {**{str(name): value for name, value in line.items()}, "stage": stage, "rule": rule, **ends}


def render_repeats(found: pd.DataFrame) -> str:
    """The differences as a table of a page, a line per rule and a column per stage; empty if there are none."""
    if found.empty:
        return ""
    stages = sorted(set(found["stage"]))
    cells = {(line["rule"], line["stage"]): _words(line) for line in found.to_dict("records")}
    lines = [
        f"| DASH minus | {' | '.join(f'stage {stage}' for stage in stages)} |",
        "|---" * (len(stages) + 1) + "|",
        *(
            f"| {rule_style(rule).label} | {' | '.join(cells.get((rule, stage), '') for stage in stages)} |"
            for rule in sort_rules(list(dict.fromkeys(found["rule"])))
        ),
    ]
    return "\n".join(lines)


def _words(line: Mapping[Any, Any]) -> str:
    mean, *each = (points(value) for value in (line["mean"], *line["differences"]))
    interval = "" if np.isnan(line["low"]) else f" [{points(line['low'])}, {points(line['high'])}]"
    return f"{mean} ({', '.join(each)}){interval}"


def points(share: float) -> str:
    """A difference of shares in points, signed."""
    return f"{100 * share:+.1f}".replace("-", "−")


def draw_repeats(found: pd.DataFrame, words: Mapping[str, str]) -> Figure:
    """A panel per stage, at most four: means with intervals, a dot per seed.

    Args:
        found: of `dash_minus`, not empty.
        words: title, setting and foot of the figure.
    """
    import matplotlib.pyplot as plt

    rules = sort_rules(list(dict.fromkeys(found["rule"])))
    stages = _some(sorted(set(found["stage"])))
    height = 1.75 + 0.42 * len(rules)
    figure, grid = plt.subplots(1, len(stages), figsize=(11.6, height), sharex=True, squeeze=False)
    for place, (ax, stage) in enumerate(zip(grid[0], stages, strict=True)):
        here = found[found["stage"] == stage]
        draw_differences(ax, here, rules, scale=100, names=False)
        if place == 0:
            ax.set_yticklabels([brief_label(rule) for rule in rules])
        ax.set(title=f"after stage {stage}", xlabel="DASH minus the rule (points)")
    figure.subplots_adjust(left=0.19, right=0.985, top=1 - 0.9 / height, bottom=0.82 / height, wspace=0.08)
    add_heading(figure, words["title"], words["setting"], words["foot"])
    return figure


def _some(stages: Sequence[int]) -> list[int]:
    """At most four of them, the first and the last among them."""
    places = np.unique(np.linspace(0, len(stages) - 1, min(_PANELS, len(stages))).round().astype(int))
    return [stages[place] for place in places]
