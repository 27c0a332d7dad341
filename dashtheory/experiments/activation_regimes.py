"""Where warm-starting hurts and where shrinking helps, over activations: `simulations/activation_regimes.py`.

Patch networks with the smoothed activation z^q / q on [0, 1] and z - 1 + 1/q above, so that exponents from 1 to 3
train with one step size; data, sizes and step size are those of the regime CNN-A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from dashtheory._check import choice, choices, fail, integer, real
from dashtheory.parallel import Report
from dashtheory.record import concatenate as stack_tables
from dashtheory.record import make_table, stage_rows
from dashtheory.twolayer.config import CNN_A, LARGEST_SCALE, PatchConfig, TwoLayerConfig
from dashtheory.twolayer.ridge import RIDGE, ridge_ceiling
from dashtheory.twolayer.stages import Replica, run

MAPS = ("init", "threshold")
"""What is mapped against the exponent: the scale of the initialisation, or the loss that ends a stage."""


@dataclass(frozen=True, kw_only=True)
class RegimesConfig:
    """Exponents, and the scales and thresholds that are mapped against them.

    Raises:
        ValueError: if a value is out of range.
    """

    maps: tuple[str, ...] = field(default=MAPS, metadata={"help": f"some of {', '.join(MAPS)}"})
    exponents: tuple[float, ...] = field(
        default=(1.0, 1.5, 1.75, 2.0, 2.5, 3.0), metadata={"help": "q of the activation, 1 to 3"}
    )
    init_scales: tuple[float, ...] = field(
        default=(0.001, 0.003, 0.01, 0.03), metadata={"help": "standard deviations of initial weights"}
    )
    thresholds: tuple[float, ...] = field(
        default=(0.2, 0.05, 0.01), metadata={"help": "losses that end a stage, in nats"}
    )
    rules: tuple[str, ...] = field(
        default=(
            "cold",
            "warm",
            "sp:shrink=0.05",
            "dash:lam=0.05",
            "uniform:lam=0.05",
            "permuted:lam=0.05",
            "ideal",
        ),
        metadata={"help": "rules, with options as dash:lam=0.05; cold first"},
    )
    num_stages: int = field(default=5, metadata={"help": "J, chunks and stages"})
    num_test: int = field(default=2000, metadata={"help": "test samples"})
    max_epochs: int = field(default=1500, metadata={"help": "epochs after which a stage ends unconverged"})

    def __post_init__(self) -> None:
        choices("maps", self.maps, MAPS)
        for exponent in self.exponents:
            real("exponents", exponent, low=1, high=3, fix="1 is the ReLU.")
        for name, most in (("init_scales", LARGEST_SCALE), ("thresholds", math.inf)):
            for value in getattr(self, name):
                real(name, value, low=0, high=most, open_low=True, fix="It is positive; 0.003 is usual.")
        for name in ("exponents", "init_scales", "thresholds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                fail(name, "must name at least one, each once", str(values), "Drop doubles.")
        if self.rules[:1] != ("cold",) or len(set(self.rules)) < len(self.rules):
            fail("rules", "must begin with cold, each once", str(self.rules), "All are compared with it.")
        if len(self.rules) < 2:
            fail("rules", "must name one beside cold", str(self.rules), "It is compared with cold.")
        for rule in self.rules:
            Replica(rule=rule).parsed()
        integer("max_epochs", self.max_epochs, minimum=1, fix="It counts epochs.")
        self.setting(self.exponents[0], self.init_scales[0], self.thresholds[0])

    def setting(self, exponent: float, init_scale: float, threshold: float) -> TwoLayerConfig:
        """One cell."""
        return replace(
            CNN_A,
            network=PatchConfig(exponent=exponent, smoothed=True, init_scale=init_scale),
            num_stages=self.num_stages,
            num_test=self.num_test,
            threshold=threshold,
            max_epochs=self.max_epochs,
        )


def run_exponent(
    config: RegimesConfig, which: str, exponent: float, seeds: Sequence[int], experiment: str, report: Report
) -> pd.DataFrame:
    """One column of a map: all cells with one exponent.

    Args:
        config: the maps.
        which: one of `MAPS`.
        exponent: q.
        seeds: root seeds.
        experiment: name.
        report: of progress.

    Returns:
        pd.DataFrame: tidy table at the last stage, with coordinates map, q and y (the scale or the loss):
        test_accuracy, steps of all stages together, converged (1 if every stage was), and test_accuracy of the
        ridge classifier on the same samples, which is the same in every cell.
    """
    choice("which", which, MAPS)
    heights = config.init_scales if which == "init" else config.thresholds
    tables = []
    for place, height in enumerate(heights):
        report(place / len(heights), f"q = {exponent:g}, {which} {height:g}")
        init = height if which == "init" else CNN_A.network.init_scale  # type: ignore[union-attr]
        threshold = height if which == "threshold" else CNN_A.threshold
        setting = config.setting(exponent, init, threshold)
        found = run(setting, config.rules, seeds)
        cell: dict[str, float | str] = {"map": which, "q": exponent, "y": height}
        rows = []
        for at, rule in enumerate(config.rules):
            for order, seed in enumerate(seeds):
                metrics = {
                    "test_accuracy": float(found.metrics["test_accuracy"][order, at, -1]),
                    "steps": float(found.metrics["steps"][order, at].sum()),
                    "converged": float(found.metrics["converged"][order, at].min()),
                }
                rows += stage_rows(
                    level="twolayer",
                    experiment=experiment,
                    rule=rule,
                    seed=seed,
                    stage=setting.num_stages,
                    metrics=metrics,
                    coordinates=cell,
                )
        for seed, accuracy in zip(seeds, ridge_ceiling(setting, seeds).test_accuracy.tolist(), strict=True):
            rows += stage_rows(
                level="twolayer",
                experiment=experiment,
                rule=RIDGE,
                seed=seed,
                stage=setting.num_stages,
                metrics={"test_accuracy": accuracy},
                coordinates=cell,
            )
        tables.append(make_table(rows))
    return stack_tables(tables)
