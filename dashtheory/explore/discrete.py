"""Level 1 by stage: cold, warm, ideal, and any degree of forgetting, in the population limit; and simulations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dashtheory._check import fail
from dashtheory.discrete import DISCRETE_RULES, DiscreteSetting, Forgetting, Mixture, simulate_batch
from dashtheory.explore.state import Menu, Slider, control
from dashtheory.explore.stored import SEED, Arrays, stored
from dashtheory.theory import population

FORGETTING = "forgetting"
"""Name of the rule that the two chances of forgetting make."""

_USUAL = DiscreteSetting()
DISTRIBUTIONS = {
    "paper": "uniform on [0, 0.2] (paper)",
    "equal": "all equal, 0.1",
    "power_law": "power law, 0.4 / √k",
    "correlated": "uniform, rich and poor samples",
    "label_noise": "uniform, 10% wrong labels",
}
"""Feature distributions: what a reader sees, by name."""


@dataclass(frozen=True, kw_only=True)
class DiscreteState:
    """The controls of level 1. C = 2 classes with K = 50 features each."""

    gamma: int = control(50, Slider(label="γ: samples that must need a feature", low=1, high=300, step=1))
    tau: int = control(3, Slider(label="τ: learned features a sample needs", low=1, high=8, step=1))
    chunk_size: int = control(1000, Slider(label="N: samples per chunk", low=100, high=4000, step=20))
    num_stages: int = control(50, Slider(label="J: chunks, and stages", low=2, high=100, step=1))
    distribution: str = control("paper", Menu(label="p: feature probabilities", options=DISTRIBUTIONS))
    phi_noise: float = control(
        0.5, Slider(label="φ noise: chance to forget a sample", low=0.0, high=1.0, step=0.01)
    )
    phi_feature: float = control(
        0.05, Slider(label="φ feature: chance to forget a feature", low=0.0, high=1.0, step=0.01)
    )

    @property
    def per_class_chunk_size(self) -> int:
        """Samples of each class in a chunk: N / C."""
        return self.chunk_size // _USUAL.num_classes


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """One rule by stage; each array float64 (J,).

    Attributes:
        num_learned: features after the stage, of C K.
        num_memorized: samples held after it.
        accuracy: expected on test samples, in [1/C, 1].
        active_at_start: non-zero-gradient samples at its start, the training time.
    """

    num_learned: NDArray[np.float64]
    num_memorized: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    active_at_start: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class DiscreteFound:
    """Courses by the name of the rule: DISCRETE_RULES and `FORGETTING`.

    Attributes:
        limit: in the population limit.
        simulated: on drawn data, one seed; empty if this state was not simulated.
    """

    limit: Mapping[str, Course]
    simulated: Mapping[str, Course]


@lru_cache(maxsize=len(DISTRIBUTIONS))
def world(distribution: str) -> Mixture:
    """The features and samples of a named distribution."""
    ranks = np.arange(1, _USUAL.num_features + 1)
    shape = (_USUAL.num_classes, _USUAL.num_features)
    paper = _USUAL.draw_probabilities(0)
    makers: dict[str, Callable[[], Mixture]] = {
        "paper": lambda: Mixture.independent(paper),
        "equal": lambda: Mixture.independent(np.full(shape, 0.1)),
        "power_law": lambda: Mixture.independent(np.broadcast_to(0.4 / np.sqrt(ranks), shape)),
        "correlated": lambda: Mixture.correlated(paper, 0.8),
        "label_noise": lambda: Mixture.independent(paper).with_label_noise(0.1),
    }
    return makers[distribution]()


def rules(state: DiscreteState) -> dict[str, str | Forgetting]:
    """The rules that are shown, by name.

    Raises:
        ValueError: if features are forgotten where samples are a mixture of kinds: that has no closed form.
    """
    phi = Forgetting(state.phi_noise, state.phi_feature)
    kinds = world(state.distribution).shape[1]
    if kinds > 1 and phi.phi_feature > 0 and phi != Forgetting(1, 1):
        fail(
            "φ feature",
            f"must be 0 with '{DISTRIBUTIONS[state.distribution]}'",
            f"{phi.phi_feature:g}",
            "Move it to 0 or choose independent features: there is no closed form.",
        )
    return {**{name: name for name in DISCRETE_RULES}, FORGETTING: phi}


def limit(state: DiscreteState) -> dict[str, Course]:
    """Every rule in the population limit (`dashtheory.theory.population`).

    Raises:
        ValueError: if the state has no closed form.
    """
    courses = {}
    for name, rule in rules(state).items():
        found = population(
            world(state.distribution),
            state.per_class_chunk_size,
            state.num_stages,
            gamma=state.gamma,
            tau=state.tau,
            rule=rule,
        )
        courses[name] = _course(found.num_learned, found.num_memorized, found.accuracy, found.active_at_start)
    return courses


def simulated(state: DiscreteState, seed: int = 0) -> dict[str, Course]:
    """Every rule on data drawn from one seed (`dashtheory.discrete.simulate_batch`).

    Raises:
        ValueError: as `rules`.
    """
    given = rules(state)
    batch = simulate_batch(
        world(state.distribution),
        state.per_class_chunk_size,
        state.num_stages,
        seeds=seed,
        gamma=state.gamma,
        tau=state.tau,
        rules=list(given.values()),
        stages=range(1, state.num_stages + 1),
        num_threads=1,
    )
    return {
        name: _course(
            batch.num_learned[0, place],
            batch.num_memorized[0, place].sum(axis=-1),
            batch.accuracy[0, place].mean(axis=-1),
            batch.active_at_start[0, place].sum(axis=-1),
        )
        for place, name in enumerate(given)
    }


def _course(learned: ArrayLike, num_memorized: ArrayLike, accuracy: ArrayLike, active: ArrayLike) -> Course:
    numbers = (np.asarray(values, dtype=np.float64) for values in (learned, num_memorized, accuracy, active))
    return Course(
        **dict(zip(("num_learned", "num_memorized", "accuracy", "active_at_start"), numbers, strict=True))
    )


def as_arrays(courses: Mapping[str, Course]) -> Arrays:
    """Courses as arrays by RULE/METRIC, such as a stored pass holds.

    Args:
        courses: by rule.
    """
    metrics = [item.name for item in dataclasses.fields(Course)]
    return {f"{rule}/{name}": getattr(course, name) for rule, course in courses.items() for name in metrics}


def as_courses(arrays: Arrays) -> dict[str, Course]:
    """The courses that `as_arrays` turned into arrays.

    Args:
        arrays: by RULE/METRIC.
    """
    rules = dict.fromkeys(name.partition("/")[0] for name in arrays)
    metrics = [item.name for item in dataclasses.fields(Course)]
    return {rule: Course(**{name: arrays[f"{rule}/{name}"] for name in metrics}) for rule in rules}


class Simulations:
    """Limits, with the simulations of those states that were simulated."""

    def __init__(self) -> None:
        self._kept: dict[DiscreteState, dict[str, Course]] = {}

    def run(self, state: DiscreteState) -> None:
        """Simulate a state, once; the first one of the page is stored."""
        if state not in self._kept:
            found = stored("discrete", dataclasses.asdict(state), SEED)
            self._kept[state] = as_courses(found) if found is not None else simulated(state, SEED)

    def found(self, state: DiscreteState) -> DiscreteFound:
        """The limit, and the simulation if there is one.

        Raises:
            ValueError: as `rules`.
        """
        return DiscreteFound(limit=limit(state), simulated=self._kept.get(state, {}))


def describe(state: DiscreteState, found: DiscreteFound) -> str:
    """What the four panels show, in words."""
    names = {"cold": "cold", "warm": "warm", "ideal": "ideal", FORGETTING: "forgetting"}
    ends = "; ".join(f"{names[name]}: {_end(course)}" for name, course in found.limit.items())
    dots = (
        " Dots: a simulation of this state (one seed); " + _compared(found) + "."
        if found.simulated
        else " This state was not simulated."
    )
    return (
        f"Four panels by stage, 1 to {state.num_stages}, in the limit of large chunks: learned features, "
        "memorised samples, test accuracy and active samples at the start of the stage (training time), for "
        f"γ = {state.gamma}, τ = {state.tau}, N = {state.chunk_size:,}, feature probabilities "
        f"{DISTRIBUTIONS[state.distribution]}. After the last stage: {ends}. Forgetting has φ noise = "
        f"{state.phi_noise:g}, φ feature = {state.phi_feature:g}.{dots}"
    )


def _end(course: Course) -> str:
    return (
        f"{course.num_learned[-1]:.0f} features, {course.num_memorized[-1]:,.0f} memorised, accuracy "
        f"{100 * course.accuracy[-1]:.1f}%, {course.active_at_start[-1]:,.0f} active"
    )


def _compared(found: DiscreteFound) -> str:
    """Last accuracies of the simulation."""
    return "its last accuracies: " + ", ".join(
        f"{name} {100 * course.accuracy[-1]:.1f}%" for name, course in found.simulated.items()
    )
