"""What arithmetic in bfloat16 changes: the same runs in both precisions, side by side."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dashtheory._nested import restore
from dashtheory.deep.config import RunConfig
from dashtheory.paper.summary import per_run
from dashtheory.plot import rule_style
from dashtheory.record import Results

EXACT = "+precision=float32"
_HEAD = (
    "| rule | n | last accuracy (points) | mean accuracy (points) | last steps | mean steps |\n"
    "|---|---|---|---|---|---|\n"
)


def render_precision(found: Mapping[tuple[str, str], Results]) -> str:
    """A table for every setting that was run in both precisions; empty if there is none.

    Args:
        found: results by kind of device and name.
    """
    parts = []
    for (kind, name), exact in found.items():
        rough = found.get((kind, name.replace(EXACT, "")))
        if EXACT in name and rough is not None:
            rows = _rows(differences(rough, exact))
            parts.append(f"\n### {rough.name}: bfloat16 minus float32\n\n{_WORDS}\n{_HEAD}{rows}")
    return "".join(parts)


_WORDS = """The same seeds, data, initialisations and orders in both; mean ± sample standard deviation over seeds
of the difference. Rounding alone sends a run another way: read them beside the spreads over seeds above.
"""


def differences(rough: Results, exact: Results) -> pd.DataFrame:
    """Differences of `dashtheory.paper.per_run`, by rule and seed, of the runs that are whole in both."""
    first, second = rough.table, exact.table
    assert first is not None
    assert second is not None
    stages = restore(RunConfig, {**exact.config, "rules": ["cold"]}).data.length or 0
    return (per_run(first, stages) - per_run(second, stages)).dropna()


def _rows(table: pd.DataFrame) -> str:
    rows = []
    for rule, group in table.groupby(level="rule", sort=False):
        cells = [rule_style(str(rule)).label, str(len(group))]
        for quantity in table.columns:
            scale, digits = (100, 1) if "accuracy" in quantity else (1, 0)
            values = scale * group[quantity]
            spread = "" if len(values) < 2 else f" ± {values.std(ddof=1):,.{digits}f}"
            cells.append(f"{values.mean():+,.{digits}f}{spread}")
        rows.append(f"| {' | '.join(cells)} |\n")
    return "".join(rows)
