"""The pages with numbers, and how these are taken from the committed tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dashtheory.record import paired_differences, summarize

ROOT = Path(__file__).parents[2]
README, RESULTS, BENCHMARKS = (
    (ROOT / name).read_text() for name in ("README.md", "docs/results.md", "docs/benchmarks.md")
)


def measured(table: pd.DataFrame, metric: str, scale: float = 1.0) -> dict[tuple[str, int, int], float]:
    """By rule, seed and stage."""
    rows = table[table["metric"] == metric][["rule", "seed", "stage", "value"]].to_numpy()
    return {(rule, seed, stage): scale * value for rule, seed, stage, value in rows}


def last_stage(table: pd.DataFrame, rule: str, metric: str, decimals: int, scale: float = 1.0) -> str:
    """Mean ± sample sd over seeds at the last stage, as the results print it."""
    summary = summarize(table, metric, "sd")
    row = summary[(summary["rule"] == rule)].iloc[-1]
    mean, sd = scale * row["mean"], scale * (row["high"] - row["mean"])
    return f"{mean:,.{decimals}f} ± {sd:,.{decimals}f}"


def difference(table: pd.DataFrame, rule: str, reference: str) -> str:
    """Paired difference of test accuracy in points at the last stage, with its 95% interval."""
    if rule == reference:
        return ""
    row = paired_differences(table, "test_accuracy", reference).set_index("rule").loc[rule]
    mean, low, high = (f"{100 * row[name]:+.1f}".replace("-", "−") for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
