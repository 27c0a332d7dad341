"""The experiment of level 1: every setting reaches what it should, on streams of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dashtheory.experiments.discrete_learning import DiscreteConfig, run_discrete
from dashtheory.seeds import numpy_stream
from tests.oracles.discrete import simulate_with_sets

CONFIG = DiscreteConfig(
    num_classes=3,
    num_features=6,
    chunk_size=30,
    num_stages=3,
    gamma=3.5,
    tau=2,
    max_probability=0.7,
    num_test=60,
    rules=("warm", "cold"),
)


@pytest.mark.parametrize("seed", [0, 5])
def test_a_run_is_its_transcription(seed: int) -> None:
    p = np.sort(numpy_stream(seed, "probabilities").uniform(0, 0.7, (3, 6)), axis=1)[:, ::-1]
    data = draw(p, 30, numpy_stream(seed, "data"))
    test = draw(p, 20, numpy_stream(seed, "test data"))
    expected: dict[tuple[str, str, int, str, int], float] = {}
    for rule in ("warm", "cold"):
        run = simulate_with_sets(data, 10, gamma=3.5, tau=2, rule=rule)
        for stage in range(3):
            sure = [(test[c].T @ run.learned[stage, c].astype(int)) >= 2 for c in range(3)]
            found = {
                "test_accuracy": np.mean([np.where(right, 1.0, 1 / 3) for right in sure]),
                "learned_features": run.learned[stage].sum(),
                "memorized_samples": run.memorized[stage].sum(),
                "active_samples": run.active_at_start[stage],
            }
            for metric, value in found.items():
                expected["discrete", rule, stage + 1, metric, seed] = float(value)
    table = run_discrete(CONFIG, seed, "e", lambda share, text: None)
    keys = table[["level", "rule", "stage", "metric", "seed"]].itertuples(index=False, name=None)
    assert dict(zip(keys, table["value"], strict=True)) == pytest.approx(expected, abs=1e-12)
    assert set(table["experiment"]) == {"e"}


def draw(p: np.ndarray[Any, Any], num: int, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """Bool (C, K, num), drawn class by class and feature by feature."""
    return np.array([[generator.random(num) < chance for chance in row] for row in p])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_size": 31}, "chunk_size must be a multiple of the 3 classes, got 31"),
        ({"num_test": 61}, "num_test must be a multiple of the 3 classes, got 61"),
        ({"num_features": 0}, "num_features must be an integer >= 1, got 0"),
        ({"tau": 0}, "tau must be an integer >= 1, got 0"),
        ({"gamma": 0}, "gamma must be a number"),
        ({"max_probability": 1.2}, "max_probability must be a number"),
        ({"rules": ()}, "rules must name at least one"),
        ({"rules": ("cold", "cold")}, "each once"),
        ({"rules": ("hot",)}, "rules must be one of cold, warm, ideal, got 'hot'"),
    ],
)
def test_bad_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiscreteConfig(**{**vars(CONFIG), **changes})
