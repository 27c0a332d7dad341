"""Worlds, rules and arguments for simulations in one call."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from dashtheory.discrete import Batch, Forgetting, Mixture

Rule = str | Forgetting

WORLD = Mixture.independent([[0.6, 0.4, 0.2], [0.5, 0.3, 0.1]])

batch = sys.modules["dashtheory.discrete.simulate_batch"]  # the package's attribute is the function


def assert_same(first: Batch, second: Batch) -> None:
    assert (first.rules, first.stages) == (second.rules, second.stages)
    for name in ("learned", "num_memorized", "active_at_start", "accuracy"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def varied(count: int) -> dict[str, Any]:
    """Arguments of `count` simulations, no two alike."""
    generator = np.random.default_rng(1)
    return {
        "distribution": generator.uniform(0, 0.7, (count, 2, 5)),
        "per_class_chunk_size": generator.integers(5, 40, (count, 2)),
        "seeds": generator.integers(0, 2**40, count),
        "gamma": generator.uniform(1, 20, count),
        "tau": generator.integers(1, 5, count),
    }


RULES_HERE: tuple[Rule, ...] = ("cold", Forgetting(0.5, 0.2), "warm", "ideal", Forgetting(0, 1))

GOOD: dict[str, Any] = {"distribution": WORLD, "per_class_chunk_size": 10, "num_stages": 3, "seeds": 0}
