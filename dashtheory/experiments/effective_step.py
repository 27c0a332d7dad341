"""How large a step is for a direction, stage by stage, and how far that alone tells the rules' order.

Where every weight but the classifier's has a norm behind it, shrinking is a larger step (docs/theory.md,
"Shrinking as a step size"). `rewarm` takes the larger step without a shrink; `cold_shrunk` has it without a past.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from dashtheory._check import fail
from dashtheory.deep.presets import ComparisonConfig

STEPPED = (
    *("cold", "cold_shrunk", "warm", "sp", "dash", "uniform"),
    *("rewarm", "rewarm:momentum=scaled"),
)
"""Rules that are compared by default."""
STEP, ACCURACY = "effective_step_at_start", "test_accuracy"


@dataclass(frozen=True, kw_only=True)
class EffectiveStepConfig(ComparisonConfig):
    """The rules of the figure on a small residual network, whose convolutions all have a batch norm behind them.

    Raises:
        ValueError: as `RunConfig`, or if fewer than three rules are compared or effective steps not measured.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        **ComparisonConfig.defaults,
        "data": "digits",
        "model": "narrow_resnet",
        "model_options": ("width=8",),
        "rules": STEPPED,
        "chunk_size": 100,
        "batch_size": 50,
        "label_noise": 0.0,
        "learning_rate": 0.01,
        "effective_step": True,
        "retention": -1,
        "reestimate": False,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.rules) < 3:
            fail("rules", "must name three or more", ",".join(self.rules), "Their order is what is asked about.")
        if not self.measures.effective_step:
            fail("effective_step", "must be measured", "no", "Leave it on.")


class Agreement(NamedTuple):
    """Rank correlation over rules within each seed: mean, its 95% interval, and the values by seed."""

    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]


def last_stage(table: pd.DataFrame) -> pd.DataFrame:
    """Effective step at the start of the last stage and accuracy at its end: a row per rule and seed."""
    rows = table[(table["stage"] == table["stage"].max()) & table["metric"].isin([STEP, ACCURACY])]
    wide: pd.DataFrame = rows.pivot(index=["rule", "seed"], columns="metric", values="value")
    return wide.reset_index()


def rank_agreement(table: pd.DataFrame, rules: Sequence[str] = ()) -> Agreement:
    """Spearman's correlation of effective step and accuracy over rules, seed by seed.

    The interval is that of the mean over seeds, of Student's t. A seed in which all accuracies are equal counts as
    0. What would fool it: a handful of rules, of which several are near twins, is no sample of rules.

    Args:
        table: tidy table with both metrics.
        rules: that are compared; empty for all.

    Returns:
        `Agreement`; with one seed low and high are NaN.
    """
    found, points = [], last_stage(table)
    for _, rows in points[points["rule"].isin(list(rules or points["rule"]))].groupby("seed"):
        flat = rows[ACCURACY].nunique() == 1 or rows[STEP].nunique() == 1
        found.append(0.0 if flat else float(stats.spearmanr(rows[STEP], rows[ACCURACY]).statistic))
    mean, count = float(np.mean(found)), len(found)
    if count == 1:
        return Agreement(mean, np.nan, np.nan, tuple(found))
    half = float(stats.t.ppf(0.975, count - 1) * np.std(found, ddof=1) / np.sqrt(count))
    return Agreement(mean, mean - half, mean + half, tuple(found))
