"""Scores of hidden units entry by entry, in plain Python, from their papers' formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.oracles.shrink import Values


def mean_absolute(activations: Values) -> list[float]:
    """Of each unit, over examples and places; activations (examples, units, places ...)."""
    found = []
    for unit in range(activations.shape[1]):
        entries = activations[:, unit].ravel().tolist()
        found.append(sum(abs(entry) for entry in entries) / len(entries))
    return found


def shares(values: Sequence[float]) -> list[float]:
    """Each divided by their mean."""
    mean = sum(values) / len(values)
    return [value / (mean + 1e-9) for value in values]


def gradient_scores(gradient: Values) -> list[float]:
    """ReGraMa's and CPR's: the mean absolute gradient of each row, divided by its mean over rows."""
    return shares([sum(map(abs, row.ravel().tolist())) / row.size for row in gradient])


def columns_of(weight: Values, unit: int, num_units: int) -> list[float]:
    """All entries that lead out of a unit: its channel, or its block of columns of a flattened map."""
    block = weight.shape[1] // num_units
    return list(weight[:, unit * block : (unit + 1) * block].ravel().tolist())


@dataclass
class Backprop:
    """Continual backpropagation of one layer, unit by unit."""

    num_units: int
    rho: float
    maturity: int
    decay: float
    adaptable: bool
    utility: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    age: list[int] = field(default_factory=list)
    account: float = 0.0

    def __post_init__(self) -> None:
        self.utility, self.mean = [0.0] * self.num_units, [0.0] * self.num_units
        self.age = [0] * self.num_units

    def step(self, activations: Values, incoming: Values, outgoing: Values) -> list[int]:
        """Which units are reset; activations of the step, weights after it."""
        for unit in range(self.num_units):
            entries = activations[:, unit].ravel().tolist()
            self.age[unit] += 1
            mean = sum(entries) / len(entries)
            self.mean[unit] = self.decay * self.mean[unit] + (1 - self.decay) * mean
            usual = self.corrected(self.mean[unit], unit) if self.adaptable else 0.0
            size = sum(abs(entry - usual) for entry in entries) / len(entries)
            out = columns_of(outgoing, unit, self.num_units)
            value = size * sum(map(abs, out)) / len(out)
            if self.adaptable:
                into = incoming[unit].ravel().tolist()
                value /= sum(map(abs, into)) / len(into)
            self.utility[unit] = self.decay * self.utility[unit] + (1 - self.decay) * value
        mature = [unit for unit in range(self.num_units) if self.age[unit] > self.maturity]
        self.account += self.rho * len(mature)
        number = min(math.floor(self.account), len(mature))
        self.account -= number
        chosen = sorted(mature, key=lambda unit: self.corrected(self.utility[unit], unit))[:number]
        for unit in chosen:
            self.utility[unit], self.mean[unit], self.age[unit] = 0.0, 0.0, 0
        return sorted(chosen)

    def corrected(self, value: float, unit: int) -> float:
        """A running average that began at zero."""
        return value / (1 - self.decay ** self.age[unit])


@dataclass
class Silence:
    """Self-normalized resets of one unit."""

    eta: float
    cap: int
    kept: int
    threshold: int = 0
    age: int = 0
    times: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.threshold = self.cap

    def step(self, fired: bool, samples: int, *, renew: bool) -> bool:
        """Whether the unit is reset."""
        self.age += samples
        late = not fired and self.age >= self.threshold
        if fired:
            self.times.append(self.age)
        if fired or late:
            self.age = 0
        if renew and self.times:
            last = sorted(self.times[-self.kept :])
            usual = next(
                time for time in last if sum(other <= time for other in last) >= (1 - self.eta) * len(last)
            )
            self.threshold = usual if usual < self.threshold else 2 * self.threshold
            self.threshold = max(min(self.threshold, self.cap), samples)
        return late
