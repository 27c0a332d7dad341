"""Figures that others measured, with their source, to stand beside ours."""

from __future__ import annotations

from dataclasses import dataclass

_AUTHORS = "one run of the authors each (seed 2021 or 2022), original pixels"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure.

    Attributes:
        preset: whose setting it is of.
        rule: of the run.
        metric: test_accuracy (a fraction) or steps.
        stage: after which it was measured; 0: mean over all stages.
        value: the figure.
        source: of it.
    """

    preset: str
    rule: str
    metric: str
    stage: int
    value: float
    source: str


def _of(rule: str, metric: str, values: dict[int, tuple[float, ...]]) -> tuple[Published, ...]:
    return tuple(
        Published(preset="cifar10-resnet18", rule=rule, metric=metric, stage=stage, value=value, source=_AUTHORS)
        for stage, several in values.items()
        for value in several
    )


PUBLISHED: tuple[Published, ...] = (
    *_of("cold", "test_accuracy", {1: (0.299,), 10: (0.521,), 25: (0.605,), 50: (0.675,), 0: (0.576,)}),
    *_of("cold", "steps", {50: (5083,), 0: (2833,)}),
    *_of("warm", "test_accuracy", {10: (0.48, 0.50), 29: (0.594,)}),
    *_of("warm", "steps", {29: (681,)}),
)
"""CIFAR-10, ResNet-18, standard setting, on the original pixels."""
