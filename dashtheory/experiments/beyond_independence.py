"""The experiment of simulations/beyond_independence.py: the paper's conclusions in worlds with more structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashtheory._check import choice, choices, fail, integer, real
from dashtheory.discrete import DISCRETE_RULES, Batch, DiscreteSetting, Mixture, simulate_batch
from dashtheory.discrete.accuracy import poisson_binomial_tail
from dashtheory.parallel import Report
from dashtheory.record import make_table, stage_rows
from dashtheory.record.table import PREDICTED
from dashtheory.theory.population import Population, population

Floats = NDArray[np.float64]
KINDS = ("correlated", "shared", "unbalanced", "label_noise")
"""What a world adds to the paper's."""


@dataclass(frozen=True, kw_only=True)
class BeyondConfig(DiscreteSetting):
    """The paper's synthetic setting, and how far each world departs from it.

    Raises:
        ValueError: if a value is out of range.
    """

    kinds: tuple[str, ...] = field(default=KINDS, metadata={"help": "worlds"})
    correlated: tuple[float, ...] = field(
        default=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        metadata={"help": "strength s: half of the samples show every feature (1+s) times as often, half (1-s)"},
    )
    shared: tuple[int, ...] = field(
        default=(0, 10, 20, 30, 40, 50), metadata={"help": "features of each class that all classes share"}
    )
    unbalanced: tuple[float, ...] = field(
        default=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95), metadata={"help": "share of the samples in the first class"}
    )
    label_noise: tuple[float, ...] = field(
        default=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
        metadata={"help": "share of samples without a feature of their label"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        choices("kinds", self.kinds, KINDS)
        for name in KINDS:
            values = getattr(self, name)
            for value in values:
                if name == "shared":
                    integer(name, value, minimum=0, fix="It counts features.")
                top = self.num_features if name == "shared" else 1
                real(name, value, low=0, high=top, fix="See its default.")
            if not values or list(values) != sorted(set(values)):
                fail(name, "must rise", str(values), "Name each value once, the smallest first.")
        if "correlated" in self.kinds and self.max_probability * (1 + self.correlated[-1]) > 1:
            got = f"{self.correlated[-1]:g} with max_probability {self.max_probability:g}"
            fail("correlated", "must keep (1 + s) max_probability <= 1", got, "Lower one of them.")
        if "unbalanced" in self.kinds and self.num_classes != 2:
            fail("kinds", "must leave out unbalanced but for two classes", str(self.num_classes), "Drop it.")
        if "unbalanced" in self.kinds and not all(0 < one < 1 for one in self.unbalanced):
            fail("unbalanced", "must lie between 0 and 1", str(self.unbalanced), "Both classes need samples.")
        if "unbalanced" in self.kinds and self.unbalanced[0] < 0.5:
            fail(
                "unbalanced", "must be at least 0.5", str(self.unbalanced), "It is the share of the larger class."
            )
        if "label_noise" in self.kinds and self.label_noise[-1] >= 1:
            fail("label_noise", "must be below 1", str(self.label_noise), "Leave samples to learn from.")

    def world(self, kind: str, value: float, seed: int) -> Mixture:
        """The world of a seed."""
        p = self.draw_probabilities(seed)
        if kind == "correlated":
            return Mixture.correlated(p, value)
        if kind == "shared":
            return Mixture.shared(p, int(value))
        return Mixture.independent(p).with_label_noise(value if kind == "label_noise" else 0.0)

    def class_sizes(self, kind: str, value: float) -> list[int]:
        """Samples per chunk of each class that is learned apart (one, if classes share features)."""
        if kind == "shared":
            return [self.chunk_size]
        if kind == "unbalanced":
            first = min(max(round(value * self.chunk_size), 1), self.chunk_size - 1)
            return [first, self.chunk_size - first]
        return [self.per_class("chunk_size")] * self.num_classes


def run_kind(
    config: BeyondConfig, kind: str, seeds: Sequence[int], experiment: str, report: Report
) -> pd.DataFrame:
    """Simulate and predict one kind of world at all its values.

    Args:
        config: the setting.
        kind: of `KINDS`.
        seeds: root seeds.
        experiment: name.
        report: told of progress.

    Returns:
        pd.DataFrame: tidy table with coordinates kind and x (its value), of the last stage, for each rule:
        test_accuracy (classes weighted by samples), worst_class_accuracy, learned_features, active_samples and
        predicted_ values of accuracy, features and active samples; learned_first (features after stage 1) and
        in_time_order, the share of stages that do not start with more active samples than the next slower rule
        (warm against ideal, ideal against cold; 1 for cold).
    """
    choice("kind", kind, KINDS)
    values = getattr(config, kind)
    rows = []
    for place, value in enumerate(values):
        report(place / len(values), f"{kind} {value:g}")
        sizes = config.class_sizes(kind, value)
        worlds = [config.world(kind, value, seed) for seed in seeds]
        batch = simulate_batch(
            worlds,
            np.tile(sizes, (len(worlds), 1)),
            config.num_stages,
            seeds=list(seeds),
            gamma=config.gamma,
            tau=config.tau,
            stages=range(1, config.num_stages + 1),
            num_threads=1,
        )
        for one, (world, seed) in enumerate(zip(worlds, seeds, strict=True)):
            for index, rule in enumerate(DISCRETE_RULES):
                limit = population(world, sizes, config.num_stages, gamma=config.gamma, tau=config.tau, rule=rule)
                metrics = {**_measured(batch, one, index, np.array(sizes)), **_predicted(limit)}
                metrics["worst_class_accuracy"] = _worst_label(world, batch.learned[one, index, -1], config.tau)
                rows += stage_rows(
                    level="discrete",
                    experiment=experiment,
                    rule=rule,
                    seed=seed,
                    stage=config.num_stages,
                    metrics=metrics,
                    coordinates={"kind": kind, "x": value},
                )
    return make_table(rows)


_SLOWER = {"warm": "ideal", "ideal": "cold", "cold": "cold"}


def _measured(batch: Batch, one: int, index: int, sizes: NDArray[np.int64]) -> dict[str, float]:
    """Metrics of simulation `one` under rule `index`."""
    accuracy, active = batch.accuracy[one, index, -1], batch.active_at_start[one].sum(axis=-1)  # (C,), (R, S)
    slower = DISCRETE_RULES.index(_SLOWER[DISCRETE_RULES[index]])
    return {
        "test_accuracy": float(accuracy @ sizes / sizes.sum()),
        "learned_features": float(batch.num_learned[one, index, -1]),
        "learned_first": float(batch.num_learned[one, index, 0]),
        "active_samples": float(active[index, -1]),
        "in_time_order": float((active[index] <= active[slower]).mean()),
    }


def _worst_label(world: Mixture, learned: NDArray[np.bool_], tau: int) -> float:
    """Expected accuracy on the label that fares worst; labels that share features are components of one class."""
    if world.num_labels == len(learned):
        return float(world.expected_accuracy(learned, tau).min())
    tails = poisson_binomial_tail(np.where(learned[:, None], world.probabilities, 0.0), tau)  # (1, labels)
    return float((1 - (1 - 1 / world.num_labels) * tails).min())


def _predicted(limit: Population) -> dict[str, float]:
    return {
        PREDICTED + "test_accuracy": float(limit.accuracy[-1]),
        PREDICTED + "learned_features": float(limit.num_learned[-1]),
        PREDICTED + "active_samples": float(limit.active_at_start[-1]),
    }
