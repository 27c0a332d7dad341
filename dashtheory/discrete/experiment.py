"""The experiment of level 1: one stream of chunks, every rule, accuracy and training time by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashtheory._check import choices, fail, integer, real
from dashtheory.discrete.accuracy import test_accuracy
from dashtheory.discrete.sample import paper_probabilities, sample_features, sample_packed
from dashtheory.discrete.simulate import RULES, simulate
from dashtheory.parallel import Report
from dashtheory.record import make_table, stage_rows
from dashtheory.seeds import numpy_stream


@dataclass(frozen=True, kw_only=True)
class DiscreteConfig:
    """The paper's synthetic setting (Section 3 of arXiv:2410.23495) is the default.

    Raises: ValueError if a value is out of range, or the classes do not share samples equally.
    """

    num_classes: int = field(default=2, metadata={"help": "C, classes"})
    num_features: int = field(default=50, metadata={"help": "K, features per class"})
    chunk_size: int = field(default=1000, metadata={"help": "N, samples per chunk, all classes together"})
    num_stages: int = field(default=50, metadata={"help": "J, chunks and stages"})
    gamma: float = field(default=50, metadata={"help": "active samples that must show a feature to learn it"})
    tau: int = field(default=3, metadata={"help": "learned features that give a sample a zero gradient"})
    max_probability: float = field(
        default=0.2, metadata={"help": "feature probabilities are uniform on [0, this], sorted downwards"}
    )
    num_test: int = field(default=10_000, metadata={"help": "test samples, all classes together"})
    rules: tuple[str, ...] = field(default=RULES, metadata={"help": "rules between stages"})

    def __post_init__(self) -> None:
        for name in ("num_classes", "num_features", "chunk_size", "num_stages", "tau", "num_test"):
            integer(name, getattr(self, name), minimum=1, fix="It counts things.")
        real(
            "gamma",
            self.gamma,
            low=0,
            open_low=True,
            infinite=True,
            fix="Give the count at which a feature is learned.",
        )
        real("max_probability", self.max_probability, low=0, high=1, fix="It is a probability.")
        for name in ("chunk_size", "num_test"):
            if getattr(self, name) % self.num_classes:
                fail(
                    name,
                    f"must be a multiple of the {self.num_classes} classes",
                    str(getattr(self, name)),
                    "Every class brings as many samples.",
                )
        choices("rules", self.rules, RULES)


def run_discrete(config: DiscreteConfig, seed: int, experiment: str, report: Report) -> pd.DataFrame:
    """Simulate every rule on one seed's data.

    The streams "probabilities", "data" and "test data" of the seed are shared by the rules.

    Args:
        config: the setting. seed: root seed. experiment: name for the table. report: told of progress.
    Returns: tidy table with test_accuracy (fraction), learned_features, memorized_samples and
        active_samples (non-zero-gradient samples at the start of the stage), for each rule and stage.
    """
    probabilities = draw_probabilities(config, seed)
    per_chunk = config.chunk_size // config.num_classes
    data = sample_packed(probabilities, per_chunk * config.num_stages, numpy_stream(seed, "data"))
    per_class = config.num_test // config.num_classes
    test = sample_features(probabilities, per_class, numpy_stream(seed, "test data"))
    rows = []
    for done, rule in enumerate(config.rules):
        report(done / len(config.rules), rule)
        result = simulate(data, per_chunk, gamma=config.gamma, tau=config.tau, rule=rule)
        metrics = {
            "test_accuracy": test_accuracy(result.learned, test, config.tau),
            "learned_features": result.num_learned,
            "memorized_samples": result.num_memorized,
            "active_samples": result.active_at_start,
        }
        rows += metric_rows(experiment, rule, seed, metrics)
    return make_table(rows)


def draw_probabilities(config: DiscreteConfig, seed: int) -> NDArray[np.float64]:
    """Feature probabilities (C, K) of a seed, from its stream "probabilities"."""
    return paper_probabilities(
        numpy_stream(seed, "probabilities"),
        num_classes=config.num_classes,
        num_features=config.num_features,
        max_probability=config.max_probability,
    )


def metric_rows(
    experiment: str, rule: str, seed: int, metrics: Mapping[str, NDArray[Any]]
) -> list[dict[str, object]]:
    """Rows of the tidy table for metrics given stage by stage, each (J,)."""
    num_stages = len(next(iter(metrics.values())))
    return [
        row
        for stage in range(num_stages)
        for row in stage_rows(
            level="discrete",
            experiment=experiment,
            rule=rule,
            seed=seed,
            stage=stage + 1,
            metrics={name: values[stage] for name, values in metrics.items()},
        )
    ]
