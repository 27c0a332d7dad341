"""The figure on effective steps: its table against the law, its correlation against one by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashtheory.experiments.effective_step import STEPPED, EffectiveStepConfig, last_stage, rank_agreement
from dashtheory.record import load_table, make_table, stage_rows
from tests.experiments.test_simulations import toy_table

ROOT = Path(__file__).parents[2]


def table(points: dict[tuple[str, int], tuple[float, float]]) -> pd.DataFrame:
    """A table of one stage from effective step and accuracy by rule and seed."""
    return make_table(
        row
        for (rule, seed), (step, accuracy) in points.items()
        for row in stage_rows(
            level="deep",
            experiment="effective_step",
            rule=rule,
            seed=seed,
            stage=1,
            metrics={"effective_step_at_start": step, "test_accuracy": accuracy},
        )
    )


def test_the_correlation_is_that_of_ranks_within_each_seed() -> None:
    orders = {0: (0.1, 0.2, 0.3), 1: (0.3, 0.2, 0.1), 2: (0.1, 0.3, 0.2)}  # 1, -1, 1 - 6 * 2 / (3 * 8)
    points = {
        (rule, seed): (10.0**place, accuracies[place])
        for seed, accuracies in orders.items()
        for place, rule in enumerate(("a", "b", "c"))
    }
    found = rank_agreement(table(points))
    assert found.by_seed == pytest.approx((1, -1, 0.5))
    assert found.mean == pytest.approx(1 / 6)
    half = 4.302652729911275 * np.std([1, -1, 0.5], ddof=1) / np.sqrt(3)  # Student's t, two degrees of freedom
    assert (found.low, found.high) == pytest.approx((1 / 6 - half, 1 / 6 + half))
    assert rank_agreement(table(points), ("a", "c")).by_seed == pytest.approx((1, -1, 1))
    one = rank_agreement(table({key: value for key, value in points.items() if key[1] == 0}))
    assert one.mean == pytest.approx(1)
    assert np.isnan(one.low)
    flat = rank_agreement(table({(rule, 0): (10.0**place, 0.5) for place, rule in enumerate("abc")}))
    assert flat.by_seed == (0.0,)


def test_a_rewarmed_stage_starts_with_a_step_of_one_over_s_squared(tmp_path: Path) -> None:
    found = toy_table("effective_step", tmp_path)
    wide = found.pivot_table(index=["rule", "seed"], columns=["metric", "stage"], values="value")
    growth = wide["effective_step_at_start", 2] / wide["effective_step", 1]
    assert growth["warm"].to_numpy() == pytest.approx(1, rel=1e-9)
    assert growth["rewarm"].to_numpy() == pytest.approx(1 / 0.09, rel=1e-9)
    assert growth["rewarm:momentum=scaled"].to_numpy() == pytest.approx(1 / 0.09, rel=1e-9)
    scale = found[(found["metric"] == "mean_scale") & (found["rule"] == "uniform")].set_index("seed")["value"]
    assert growth["uniform"].to_numpy() == pytest.approx(scale.to_numpy() ** -2, rel=1e-4)  # float32
    assert set(last_stage(found)["rule"]) == set(STEPPED)


def test_fewer_than_three_rules_have_no_order() -> None:
    with pytest.raises(ValueError, match="rules must name three or more"):
        EffectiveStepConfig.of(rules=("cold", "warm"))
    with pytest.raises(ValueError, match="effective_step must be measured"):
        EffectiveStepConfig.of(effective_step=False)


def test_the_committed_table_obeys_the_law() -> None:
    found, _ = load_table(ROOT / "figures" / "effective_step.csv")
    wide = found.pivot_table(index=["rule", "seed"], columns=["metric", "stage"], values="value")
    for stage in range(2, 6):
        growth = wide["effective_step_at_start", stage] / wide["effective_step", stage - 1]
        assert growth["rewarm"].to_numpy() == pytest.approx(1 / 0.09, rel=1e-6)
        assert growth["warm"].to_numpy() == pytest.approx(1, rel=1e-6)
