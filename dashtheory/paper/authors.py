"""The authors' accuracies by stage below ours, what ours are from them, and what may be behind a gap."""

from __future__ import annotations

import pandas as pd

from dashtheory.paper.published import PUBLISHED
from dashtheory.plot import rule_style

WIDE = 1.5
"""Points from which on a gap gets words."""
_NONE = "–"


def authors_rows(table: pd.DataFrame, name: str, stages: list[int]) -> list[str]:
    """Lines with the authors' accuracies at stages, and with ours minus theirs where both are known.

    Args:
        table: tidy, of one setting.
        name: of its preset.
        stages: one column each.
    """
    lines = []
    for rule in dict.fromkeys(one.rule for one in PUBLISHED if one.preset == name):
        theirs = [_known(name, rule, stage) for stage in stages]
        if any(theirs):
            label = rule_style(rule).label
            known = (" and ".join(f"{100 * value:.1f}" for value in values) or _NONE for values in theirs)
            lines.append(f"| {label}, authors | 1 each | {' | '.join(known)} | {_NONE} |")
            gaps = [_gaps(table, name, rule, stage) for stage in stages]
            cells = (" and ".join(f"{gap:+.1f}" for gap in values) or _NONE for values in gaps)
            if any(gaps):
                lines.append(f"| {label}, minus the authors' (points) | {_NONE} | {' | '.join(cells)} | {_NONE} |")
    return lines


def gap_words(table: pd.DataFrame, name: str, stages: list[int]) -> str:
    """Possible reasons if some accuracy of ours is more than `WIDE` points from the authors'; else empty.

    Args:
        table: tidy, of one setting.
        name: of its preset.
        stages: that are looked at.
    """
    wide = [
        f"{rule_style(rule).label} at stage {stage}"
        for rule in dict.fromkeys(one.rule for one in PUBLISHED if one.preset == name)
        for stage in stages
        if any(abs(gap) > WIDE for gap in _gaps(table, name, rule, stage))
    ]
    if not wide:
        return ""
    return (
        f"More than {WIDE:g} points from the authors': {', '.join(wide)}. Possible reasons, none of them tested: "
        "the pixels, where they were encoded anew (JPEG), rounding (the last section has bfloat16 minus float32 "
        "where that was run), the order of the examples, how accuracy is taken, and that theirs are single runs."
    )


def _known(name: str, rule: str, stage: int) -> list[float]:
    wanted = (name, rule, "test_accuracy", stage)
    return [one.value for one in PUBLISHED if (one.preset, one.rule, one.metric, one.stage) == wanted]


def _gaps(table: pd.DataFrame, name: str, rule: str, stage: int) -> list[float]:
    """Ours (mean over seeds) minus each of theirs, in points; none where either is missing."""
    ours = table.query("rule == @rule and stage == @stage and metric == 'test_accuracy'")["value"]
    return [] if ours.empty else [100 * (float(ours.mean()) - value) for value in _known(name, rule, stage)]
