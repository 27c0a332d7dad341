"""The experiment of simulations/phase_diagram.py: where warm-starting hurts, simulated and predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashtheory._check import choice, choices, fail, real
from dashtheory.discrete import DiscreteSetting, Mixture, simulate_batch
from dashtheory.parallel import Report
from dashtheory.record import make_table, stage_rows
from dashtheory.record.table import PREDICTED
from dashtheory.theory.finite import warm_law
from dashtheory.theory.population import population

Floats = NDArray[np.float64]
_RULES = ("cold", "warm")
MAPS = ("gamma_tau", "size_stages", "uniform", "power_law", "two_level")
"""What each map varies: the learner, the data, and three shapes of the feature distribution against gamma."""
AXES = {
    "gamma_tau": ("gammas", "taus"),
    "size_stages": ("sizes", "stages"),
    "uniform": ("tops", "gammas"),
    "power_law": ("exponents", "gammas"),
    "two_level": ("lows", "gammas"),
}
"""Fields of the configuration along x and y of each map."""
SHOWN, FREQUENT, HIGH = 4.0, 10, 0.3
"""Features per sample under the power law; number and probability of the frequent features of two levels."""


@dataclass(frozen=True, kw_only=True)
class PhaseConfig(DiscreteSetting):
    """The paper's synthetic setting, and the values that the maps vary.

    Raises:
        ValueError: if a value is out of range.
    """

    maps: tuple[str, ...] = field(default=MAPS, metadata={"help": "maps to make"})
    gammas: tuple[float, ...] = field(
        default=(10, 15, 20, 30, 40, 50, 60, 80, 100, 130, 160, 200), metadata={"help": "gamma"}
    )
    taus: tuple[int, ...] = field(default=(1, 2, 3, 4, 5, 6, 7, 8), metadata={"help": "tau, first map"})
    sizes: tuple[int, ...] = field(
        default=(200, 300, 400, 600, 800, 1000, 1400, 2000, 3000, 4000), metadata={"help": "N, second map"}
    )
    stages: tuple[int, ...] = field(default=(2, 3, 5, 8, 12, 20, 30, 50), metadata={"help": "J, second map"})
    tops: tuple[float, ...] = field(
        default=(0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4),
        metadata={"help": "largest probability of uniform features"},
    )
    exponents: tuple[float, ...] = field(
        default=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0), metadata={"help": "a of p_k ~ k^-a, 4 features per sample"}
    )
    lows: tuple[float, ...] = field(
        default=(0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12),
        metadata={"help": "probability of rare features beside 10 of 0.3"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        choices("maps", self.maps, MAPS)
        for name in ("gammas", "taus", "sizes", "stages", "tops", "exponents", "lows"):
            values = getattr(self, name)
            for value in values:
                top = 1 if name in ("tops", "lows") else np.inf
                real(name, value, low=0, high=top, open_low=name != "exponents", fix="It is a value on an axis.")
            if len(values) < 2 or list(values) != sorted(set(values)):
                fail(
                    name, "must rise, with two values or more", str(values), "Name each once, the smallest first."
                )
        for size in self.sizes if "size_stages" in self.maps else ():
            if size % self.num_classes:
                fail("sizes", f"must be multiples of the {self.num_classes} classes", str(size), "Change it.")
        if "two_level" in self.maps and (self.lows[-1] > HIGH or self.num_features <= FREQUENT):
            got = f"{self.lows[-1]:g} and {self.num_features} features"
            fail("lows", f"must be at most {HIGH:g}, with more than {FREQUENT} features", got, "Drop two_level.")
        if "power_law" in self.maps and self.shaped("power_law", self.exponents[-1], 0).max() > 1:
            fail("exponents", "must keep p <= 1", f"{self.exponents[-1]:g}", "Lower it or raise num_features=.")

    def shaped(self, which: str, x: float, seed: int) -> Floats:
        """Probabilities (C, K) of a map's world at `x`; drawn from the seed where features are uniform."""
        if which == "uniform":
            return replace(self, max_probability=x).draw_probabilities(seed)
        if which == "power_law":
            falling = np.arange(1, self.num_features + 1) ** -float(x)
            row = SHOWN * falling / falling.sum()
        elif which == "two_level":
            row = np.where(np.arange(self.num_features) < FREQUENT, HIGH, x)
        else:
            return self.draw_probabilities(seed)
        return np.tile(row, (self.num_classes, 1))


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One simulation of a map: where it lies, and its numbers."""

    x: float
    y: float  # of every recorded stage, if the map's y is the stage
    seed: int
    world: Floats
    size: int
    gamma: float
    tau: int


def run_map(
    config: PhaseConfig, which: str, seeds: Sequence[int], experiment: str, report: Report
) -> pd.DataFrame:
    """Simulate and predict one map, all its points and seeds in one batch.

    Args:
        config: the setting.
        which: of `MAPS`.
        seeds: root seeds.
        experiment: name.
        report: told of progress.

    Returns:
        pd.DataFrame: tidy table with coordinates map, x and y: for cold and warm test_accuracy and
        predicted_test_accuracy (limit of large chunks); for warm law_test_accuracy (finite chunks).
    """
    choice("which", which, MAPS)
    runs = _runs(config, which, seeds)
    stages = config.stages if which == "size_stages" else (config.num_stages,)
    batch = simulate_batch(
        [Mixture.independent(run.world) for run in runs],
        [run.size for run in runs],
        stages[-1],
        seeds=[run.seed for run in runs],
        gamma=[run.gamma for run in runs],
        tau=[run.tau for run in runs],
        rules=_RULES,
        stages=stages,
        num_threads=1,
        report=lambda share, text: report(0.7 * share, text),
    )
    simulated = batch.accuracy.mean(axis=-1)  # (B, R, S)
    predicted = _predict(runs, stages, report)
    law = _law(runs, stages)
    rows = []
    for one, run in enumerate(runs):
        for place, stage in enumerate(stages):
            height = float(stage) if which == "size_stages" else run.y
            point: dict[str, float | str] = {"map": which, "x": run.x, "y": height}
            for index, rule in enumerate(_RULES):
                metrics = {
                    "test_accuracy": simulated[one, index, place],
                    PREDICTED + "test_accuracy": predicted[one, index, place],
                }
                if rule == "warm":
                    metrics["law_test_accuracy"] = law[one, place]
                rows += stage_rows(
                    level="discrete",
                    experiment=experiment,
                    rule=rule,
                    seed=run.seed,
                    stage=stage,
                    metrics=metrics,
                    coordinates=point,
                )
    return make_table(rows)


def _runs(config: PhaseConfig, which: str, seeds: Sequence[int]) -> list[_Run]:
    """All simulations of a map; runs of one seed and world share their data."""
    over_x, over_y = (getattr(config, name) for name in AXES[which])
    by_stage = which == "size_stages"  # one run serves every J
    return [
        _Run(
            x=x,
            y=y,
            seed=seed,
            world=world,
            size=x // config.num_classes if by_stage else config.per_class("chunk_size"),
            gamma={"gamma_tau": x, "size_stages": config.gamma}.get(which, y),
            tau=y if which == "gamma_tau" else config.tau,
        )
        for seed in seeds
        for x in over_x
        for world in [config.shaped(which, x, seed)]
        for y in ((0,) if by_stage else over_y)
    ]


def _predict(runs: Sequence[_Run], stages: Sequence[int], report: Report) -> Floats:
    """Accuracy (B, R, S) in the limit of large chunks."""
    chosen = np.array(stages) - 1
    accuracy = np.empty((len(runs), len(_RULES), len(stages)))
    for one, run in enumerate(runs):
        if one % 50 == 0:
            report(0.7 + 0.2 * one / len(runs), "limit")
        for place, rule in enumerate(_RULES):
            limit = population(run.world, run.size, stages[-1], gamma=run.gamma, tau=run.tau, rule=rule)
            accuracy[one, place] = limit.accuracy[chosen]
    return accuracy


def _law(runs: Sequence[_Run], stages: Sequence[int]) -> Floats:
    """Accuracy (B, S) of warm on finite chunks, by the mean-field law; runs of one tau go together."""
    accuracy = np.empty((len(runs), len(stages)))
    for tau in {run.tau for run in runs}:
        members = [one for one, run in enumerate(runs) if run.tau == tau]
        law = warm_law(
            np.stack([runs[one].world for one in members]),
            np.array([runs[one].size for one in members]),
            stages[-1],
            gamma=np.array([runs[one].gamma for one in members]),
            tau=tau,
        )
        accuracy[members] = law.accuracy[:, np.array(stages) - 1]
    return accuracy
