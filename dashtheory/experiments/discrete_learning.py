"""The experiment of level 1: one stream of chunks, every rule, accuracy and training time by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from dashtheory._check import integer
from dashtheory._spec import read_names
from dashtheory.discrete.accuracy import test_accuracy
from dashtheory.discrete.sample import sample_features, sample_packed
from dashtheory.discrete.setting import DiscreteSetting
from dashtheory.discrete.simulate import DISCRETE_RULES, simulate
from dashtheory.parallel import Report
from dashtheory.record import concatenate, make_table, stage_rows
from dashtheory.record.table import PREDICTED
from dashtheory.seeds import numpy_stream
from dashtheory.theory.population import population


@dataclass(frozen=True, kw_only=True)
class DiscreteConfig(DiscreteSetting):
    """A setting, its test data and its rules.

    Raises:
        ValueError: if a value is out of range, or the classes do not share samples equally.
    """

    num_test: int = field(default=10_000, metadata={"help": "test samples, all classes together"})
    rules: tuple[str, ...] = field(default=DISCRETE_RULES, metadata={"help": "rules between stages"})

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("num_test", self.num_test, minimum=1, fix="It counts things.")
        self.per_class("num_test")
        read_names("rules", self.rules, DISCRETE_RULES)


def run_discrete(config: DiscreteConfig, seed: int, experiment: str, report: Report) -> pd.DataFrame:
    """Simulate every rule on one seed's data.

    The streams "probabilities", "data" and "test data" of the seed are shared by the rules.

    Args:
        config: the setting.
        seed: root seed.
        experiment: name for the table.
        report: told of progress.

    Returns:
        tidy table with test_accuracy (fraction), learned_features, memorized_samples and active_samples
        (non-zero-gradient samples at the start of the stage), for each rule and stage.
    """
    probabilities = config.draw_probabilities(seed)
    per_chunk = config.per_class("chunk_size")
    data = sample_packed(probabilities, per_chunk * config.num_stages, numpy_stream(seed, "data"))
    per_class = config.per_class("num_test")
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


def predict_discrete(config: DiscreteConfig, seed: int, experiment: str) -> pd.DataFrame:
    """Predict what `run_discrete` measures, for the same feature probabilities, without sampling.

    Args:
        config: the setting.
        seed: root seed.
        experiment: name for the table.

    Returns:
        tidy table with predicted_test_accuracy, predicted_learned_features, predicted_memorized_samples and
        predicted_active_samples, for each rule and stage.
    """
    probabilities = config.draw_probabilities(seed)
    rows = []
    for rule in config.rules:
        limit = population(
            probabilities,
            config.per_class("chunk_size"),
            config.num_stages,
            gamma=config.gamma,
            tau=config.tau,
            rule=rule,
        )
        metrics = {
            "test_accuracy": limit.accuracy,
            "learned_features": limit.num_learned,
            "memorized_samples": limit.num_memorized,
            "active_samples": limit.active_at_start,
        }
        rows += metric_rows(experiment, rule, seed, {PREDICTED + name: values for name, values in metrics.items()})
    return make_table(rows)


def run_with_prediction(config: DiscreteConfig, seed: int, experiment: str, report: Report) -> pd.DataFrame:
    """Simulate one seed and predict it.

    Args:
        config: the setting.
        seed: root seed.
        experiment: name for the table.
        report: told of progress.

    Returns:
        both tables in one.
    """
    return concatenate(
        [run_discrete(config, seed, experiment, report), predict_discrete(config, seed, experiment)]
    )
