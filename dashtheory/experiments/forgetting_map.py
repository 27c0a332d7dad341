"""The experiment behind simulations/forgetting_map.py: every degree of forgetting noise and features."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashtheory._check import fail, real
from dashtheory.discrete import Batch, DiscreteSetting, Forgetting, simulate_batch
from dashtheory.parallel import Report
from dashtheory.record import make_table, stage_rows
from dashtheory.record.table import PREDICTED
from dashtheory.theory.population import population

FORGET = "forget"
"""What tables call the rule, whatever its chances."""
_PHIS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True, kw_only=True)
class ForgettingMapConfig(DiscreteSetting):
    """The paper's synthetic setting, and the chances of forgetting.

    Raises:
        ValueError: if a value is out of range.
    """

    phis: tuple[float, ...] = field(
        default=_PHIS, metadata={"help": "chances phi_noise and phi_feature, rising; all pairs are run"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for phi in self.phis:
            real("phis", phi, low=0, high=1, fix="They are chances.")
        if not self.phis or list(self.phis) != sorted(set(self.phis)):
            fail("phis", "must rise", str(self.phis), "Name each chance once, from the smallest.")

    @property
    def rules(self) -> tuple[Forgetting, ...]:
        """All pairs of chances."""
        return tuple(Forgetting(noise, feature) for noise in self.phis for feature in self.phis)


def run_forgetting_map(config: ForgettingMapConfig, seed: int, experiment: str, report: Report) -> pd.DataFrame:
    """Simulate one seed with every pair of chances, and run the population limit of the same world.

    Args:
        config: the setting.
        seed: root seed.
        experiment: name for the table.
        report: told of progress.

    Returns:
        pd.DataFrame: tidy table at the last stage, of the rule "forget" with coordinates phi_noise and
        phi_feature: test_accuracy and active_samples of that stage, mean_test_accuracy and mean_active_samples
        over all stages, and predicted_ values of the limit.
    """
    p = config.draw_probabilities(seed)
    stages = range(1, config.num_stages + 1)
    batch = simulate_batch(
        p,
        config.per_class("chunk_size"),
        config.num_stages,
        seeds=seed,
        gamma=config.gamma,
        tau=config.tau,
        rules=config.rules,
        stages=stages,
        num_threads=1,
    )
    rows = []
    for place, rule in enumerate(config.rules):
        report((place + 1) / len(config.rules), f"limit of {rule}")
        limit = population(
            p,
            config.per_class("chunk_size"),
            config.num_stages,
            gamma=config.gamma,
            tau=config.tau,
            rule=rule,
        )
        metrics = _summary(*_courses(batch, place)) | {
            PREDICTED + name: value for name, value in _summary(limit.accuracy, limit.active_at_start).items()
        }
        rows += stage_rows(
            level="discrete",
            experiment=experiment,
            rule=FORGET,
            seed=seed,
            stage=config.num_stages,
            metrics=metrics,
            coordinates={"phi_noise": rule.phi_noise, "phi_feature": rule.phi_feature},
        )
    return make_table(rows)


def _courses(batch: Batch, place: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy and active samples by stage, (J,), of one rule."""
    return batch.accuracy[0, place].mean(axis=-1), batch.active_at_start[0, place].sum(axis=-1).astype(np.float64)


def _summary(accuracy: NDArray[np.float64], active: NDArray[np.float64]) -> dict[str, float]:
    return {
        "test_accuracy": float(accuracy[-1]),
        "active_samples": float(active[-1]),
        "mean_test_accuracy": float(accuracy.mean()),
        "mean_active_samples": float(active.mean()),
    }
