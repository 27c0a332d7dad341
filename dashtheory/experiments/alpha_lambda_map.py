"""DASH over alpha and lam beside its controls: `simulations/alpha_lambda_map.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from dashtheory._check import choices, fail, integer
from dashtheory.parallel import Report
from dashtheory.record import make_table, stage_rows
from dashtheory.rules.alignment import checked_alpha, checked_lam
from dashtheory.twolayer.config import REGIMES, TwoLayerConfig
from dashtheory.twolayer.ridge import RIDGE, ridge_ceiling
from dashtheory.twolayer.stages import Replica, TwoLayerRun, run

MAPPED = ("dash", "uniform", "permuted")
"""Rules that are run for every alpha and lam."""

CONTROLS = ("cold", "warm", "sp", "ideal")
"""Rules that are run once per regime."""


@dataclass(frozen=True, kw_only=True)
class AlphaLambdaConfig:
    """Regimes, and the grid of alpha and lam.

    Raises:
        ValueError: if a value is out of range.
    """

    regimes: tuple[str, ...] = field(
        default=("cnn_a", "mlp_small"), metadata={"help": f"some of {', '.join(REGIMES)}"}
    )
    alphas: tuple[float, ...] = field(
        default=(0.05, 0.1, 0.3, 0.6, 1.0), metadata={"help": "DASH: weights of each newer chunk"}
    )
    lams: tuple[float, ...] = field(
        default=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9), metadata={"help": "DASH: smallest factors"}
    )
    num_stages: int = field(default=0, metadata={"help": "J, chunks and stages; 0: the regime's"})
    num_test: int = field(default=2000, metadata={"help": "test samples"})

    def __post_init__(self) -> None:
        choices("regimes", self.regimes, REGIMES)
        for name, check in (("alphas", checked_alpha), ("lams", checked_lam)):
            values = getattr(self, name)
            for value in values:
                check(value)
            choices(name, tuple(map(str, values)), sorted(map(str, values)))
        integer("num_stages", self.num_stages, minimum=0, fix="0 takes the regime's.")
        if self.num_stages == 1:
            fail("num_stages", "must be at least 2, or 0", "1", "Rules act between stages; 0 takes the regime's.")
        for regime in self.regimes:
            self.setting(regime)

    def setting(self, regime: str) -> TwoLayerConfig:
        """A regime, with the sizes asked for."""
        usual = REGIMES[regime]
        return replace(usual, num_stages=self.num_stages or usual.num_stages, num_test=self.num_test)


def run_alpha_lambda(
    config: AlphaLambdaConfig, regime: str, seeds: Sequence[int], experiment: str, report: Report
) -> pd.DataFrame:
    """Run DASH, a uniform shrink by its mean, its factors permuted, for every alpha and lam; and the controls.

    Args:
        config: the grid.
        regime: one of its regimes.
        seeds: root seeds.
        experiment: name.
        report: of progress.

    Returns:
        tidy table at the last stage, with coordinates regime, alpha and lam (the controls and the ridge classifier
        without alpha and lam): test_accuracy; steps, of all stages after the first together; share_clamped and
        mean_scale, means over these stages, of the first three.
    """
    setting = config.setting(regime)
    points = [(rule, alpha, lam) for rule in MAPPED for alpha in config.alphas for lam in config.lams]
    replicas = [Replica(rule=f"{rule}:alpha={alpha}:lam={lam}") for rule, alpha, lam in points]
    found = run(setting, [*replicas, *(Replica(rule=rule) for rule in CONTROLS)], seeds, report=report)
    rows: list[dict[str, object]] = []
    for place, (rule, alpha, lam) in enumerate(points):
        rows += _rows(found, place, rule, experiment, {"regime": regime, "alpha": alpha, "lam": lam})
    for place, rule in enumerate(CONTROLS, start=len(points)):
        rows += _rows(found, place, rule, experiment, {"regime": regime})
    for seed, accuracy in zip(seeds, ridge_ceiling(setting, seeds).test_accuracy.tolist(), strict=True):
        rows += stage_rows(
            level="twolayer",
            experiment=experiment,
            rule=RIDGE,
            seed=seed,
            stage=setting.num_stages,
            metrics={"test_accuracy": accuracy},
            coordinates={"regime": regime},
        )
    return make_table(rows)


def _rows(
    found: TwoLayerRun, place: int, rule: str, experiment: str, point: Mapping[str, float | str]
) -> list[dict[str, object]]:
    """Numbers of one replica, by seed."""
    rows = []
    for order, seed in enumerate(found.seeds):
        metrics = {
            "test_accuracy": float(found.metrics["test_accuracy"][order, place, -1]),
            "steps": float(found.metrics["steps"][order, place, 1:].sum()),
            "converged": float(found.metrics["converged"][order, place].min()),
        }
        if rule in MAPPED:
            for metric in ("mean_scale", "share_clamped"):
                metrics[metric] = float(found.metrics[metric][order, place, 1:].mean())
        rows += stage_rows(
            level="twolayer",
            experiment=experiment,
            rule=rule,
            seed=seed,
            stage=found.config.num_stages,
            metrics=metrics,
            coordinates=point,
        )
    return rows
