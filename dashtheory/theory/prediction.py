"""The population limit as rows of the tidy table, beside a simulation of the same setting and seeds."""

from __future__ import annotations

import pandas as pd

from dashtheory.discrete.experiment import DiscreteConfig, metric_rows, run_discrete
from dashtheory.parallel import Report
from dashtheory.record import concatenate, make_table
from dashtheory.theory.population import population

PREDICTED = "predicted_"
"""What the names of predicted metrics start with."""


def predict_discrete(config: DiscreteConfig, seed: int, experiment: str) -> pd.DataFrame:
    """Predict what `run_discrete` measures, for the same feature probabilities, without sampling.

    Args: as `dashtheory.discrete.experiment.run_discrete`.
    Returns: tidy table with predicted_test_accuracy, predicted_learned_features, predicted_memorized_samples and
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
            "memorized_samples": limit.memorized,
            "active_samples": limit.active_at_start,
        }
        rows += metric_rows(experiment, rule, seed, {PREDICTED + name: values for name, values in metrics.items()})
    return make_table(rows)


def run_with_prediction(config: DiscreteConfig, seed: int, experiment: str, report: Report) -> pd.DataFrame:
    """Simulate one seed and predict it.

    Args: as `dashtheory.discrete.experiment.run_discrete`.
    Returns: both tables in one.
    """
    return concatenate(
        [run_discrete(config, seed, experiment, report), predict_discrete(config, seed, experiment)]
    )
