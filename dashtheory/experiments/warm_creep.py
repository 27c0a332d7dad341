"""The experiment of simulations/warm_creep.py: warm over many finite chunks, and three theories of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashtheory._check import integer
from dashtheory._memory import must_fit
from dashtheory.discrete import DiscreteSetting, expected_accuracy, simulate_batch
from dashtheory.parallel import Report
from dashtheory.record import make_table, stage_rows
from dashtheory.seeds import numpy_stream
from dashtheory.theory.finite import chance_to_learn, warm_chain, warm_law
from dashtheory.theory.population import population

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
THEORIES = ("chain", "law", "limit")
"""Prefixes of predicted metrics: the exact chain, the mean-field law, the limit of large chunks."""


@dataclass(frozen=True, kw_only=True)
class CreepConfig(DiscreteSetting):
    """The paper's synthetic setting with twenty times its stages.

    Raises:
        ValueError: if a value is out of range.
    """

    num_stages: int = field(default=1000, metadata={"help": "J, chunks and stages"})
    num_chains: int = field(default=50, metadata={"help": "draws of the exact chain per seed"})
    num_points: int = field(default=25, metadata={"help": "stages recorded, spread evenly over log(stage)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("num_chains", self.num_chains, minimum=1, fix="It counts learners.")
        integer("num_points", self.num_points, minimum=2, fix="It counts stages.")
        must_fit("num_points", self.num_points, 64)
        must_fit("num_chains", self.num_chains, self.num_classes * self.num_features)

    @property
    def stages(self) -> list[int]:
        """Recorded stages, the first and the last among them."""
        places = np.geomspace(1, self.num_stages, self.num_points).round()
        return sorted({int(place) for place in places})


def run_creep(config: CreepConfig, seed: int, experiment: str, report: Report) -> pd.DataFrame:
    """Simulate cold and warm on one seed's data, and predict both.

    Args:
        config: the setting.
        seed: root seed.
        experiment: name for the table.
        report: told of progress.

    Returns:
        tidy table of the recorded stages with learned_features and test_accuracy of each rule; for warm
        learning_rate (share of the stages since the last recorded one that learned something),
        expected_learning_rate (the exact chance of that, given what the learner knew before each) and chain_, law_
        and limit_ values; for cold limit_ values.
    """
    p, size = config.draw_probabilities(seed), config.per_class("chunk_size")
    report(0.0, "simulation")
    warm = _simulate(config, p, seed, "warm", list(range(1, config.num_stages + 1)))
    cold = _simulate(config, p, seed, "cold", config.stages)
    report(0.4, "exact chain")
    chains = warm_chain(
        p,
        size,
        config.num_stages,
        gamma=config.gamma,
        tau=config.tau,
        num_chains=config.num_chains,
        generator=numpy_stream(seed, "chains"),
        stages=config.stages,
    )
    report(0.7, "law")
    law = warm_law(p, size, config.num_stages, gamma=config.gamma, tau=config.tau)
    chosen = np.array(config.stages) - 1
    limits = {
        rule: population(p, size, config.num_stages, rule=rule, gamma=config.gamma, tau=config.tau)
        for rule in ("cold", "warm")
    }
    report(0.8, "chance to learn")
    metrics = {
        "warm": {
            **_course("", warm[chosen], p, config.tau),
            "learning_rate": _learning_rate(warm, config.stages),
            **_mean_course("chain_", chains, p, config.tau),
            "expected_learning_rate": _chance_to_learn(warm, config, p),
            "law_learned_features": law.num_learned[chosen],
            "law_test_accuracy": law.accuracy[chosen],
            "limit_learned_features": limits["warm"].num_learned[chosen].astype(np.float64),
            "limit_test_accuracy": limits["warm"].accuracy[chosen],
        },
        "cold": {
            **_course("", cold, p, config.tau),
            "limit_learned_features": limits["cold"].num_learned[chosen].astype(np.float64),
            "limit_test_accuracy": limits["cold"].accuracy[chosen],
        },
    }
    return make_table(
        row
        for rule, courses in metrics.items()
        for place, stage in enumerate(config.stages)
        for row in stage_rows(
            level="discrete",
            experiment=experiment,
            rule=rule,
            seed=seed,
            stage=stage,
            metrics={name: float(course[place]) for name, course in courses.items()},
        )
    )


def _simulate(config: CreepConfig, p: Floats, seed: int, rule: str, stages: list[int]) -> Bools:
    """Learned features (S, C, K) of one rule."""
    batch = simulate_batch(
        p,
        config.per_class("chunk_size"),
        config.num_stages,
        seeds=seed,
        gamma=config.gamma,
        tau=config.tau,
        rules=[rule],
        stages=stages,
        num_threads=1,
    )
    return np.asarray(batch.learned[0, 0])


def _course(prefix: str, learned: Bools, p: Floats, tau: int) -> dict[str, Floats]:
    return {
        f"{prefix}learned_features": learned.sum(axis=(1, 2)).astype(np.float64),
        f"{prefix}test_accuracy": expected_accuracy(learned, p, tau),
    }


def _mean_course(prefix: str, chains: Bools, p: Floats, tau: int) -> dict[str, Floats]:
    """Mean over chains (R, S, C, K)."""
    each = [_course(prefix, learned, p, tau) for learned in chains]
    return {name: np.mean([course[name] for course in each], axis=0) for name in each[0]}


def _learning_rate(learned: Bools, stages: list[int]) -> Floats:
    """Share of the stages since the last recorded one in which something was learned."""
    known = np.concatenate([[0], learned.sum(axis=(1, 2))])
    grew = np.concatenate([[0], np.cumsum(np.diff(known) > 0)])[np.array([0, *stages])]
    return np.asarray(np.diff(grew) / np.diff([0, *stages]))


def _chance_to_learn(learned: Bools, config: CreepConfig, p: Floats) -> Floats:
    """Mean chance to learn something over the stages since the last recorded one, given what was known before."""
    size = config.per_class("chunk_size")
    before = np.concatenate([np.zeros_like(learned[:1]), learned[:-1]])
    changed = np.append(True, (before[1:] != before[:-1]).any(axis=(1, 2)))
    sets = before[changed]  # what is known changes in few stages
    chances = np.array([chance_to_learn(known, p, size, gamma=config.gamma, tau=config.tau) for known in sets])
    total = np.concatenate([[0.0], np.cumsum(chances[np.cumsum(changed) - 1])])[np.array([0, *config.stages])]
    return np.asarray(np.diff(total) / np.diff([0, *config.stages]))
