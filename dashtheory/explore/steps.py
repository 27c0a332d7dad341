"""Effective steps and norms by stage: whether one number tells where a rule ends.

The runs are those of the committed figure on effective steps, kept in the stored pass "steps": nothing is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashtheory._check import fail
from dashtheory.explore.state import Menu, Slider, control
from dashtheory.explore.stored import facts, read
from dashtheory.plot.style import rule_style

Floats = NDArray[np.float64]

ALL = "all"
_RULES: tuple[str, ...] = (facts("steps") or {"rules": ()})["rules"]


@dataclass(frozen=True, kw_only=True)
class StepState:
    """The controls: whose runs are shown, and at which stage step and accuracy are compared."""

    seed: int = control(-1, Slider(label="seed (−1: means over all seeds)", low=-1, high=9, step=1))
    stage: int = control(5, Slider(label="stage at which they are compared", low=2, high=5, step=1))
    rule: str = control(
        ALL,
        Menu(
            label="rule to look at",
            options={ALL: "all rules alike", **{rule: rule_style(rule).label for rule in _RULES}},
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class StepFound:
    """What is shown; arrays are (rules, stages) unless said otherwise.

    Attributes:
        rules: as texts.
        chosen: the rule to look at, or `ALL`.
        stage: at which step and accuracy are compared.
        step: effective step at the start of each stage, after the rule; geometric mean over layers and seeds.
        norm: of the weights at the start of each stage, after the rule, mean over seeds.
        norm_end: the same at the end of the stage.
        accuracy: test accuracy after each stage, in [0, 1], mean over seeds.
        points: (rules, seeds, 2), step at the start of the stage and accuracy after it, seed by seed.
        correlation: rank correlation of step and accuracy over rules at that stage, mean over the seeds shown.
    """

    rules: tuple[str, ...]
    chosen: str
    stage: int
    step: Floats
    norm: Floats
    norm_end: Floats
    accuracy: Floats
    points: Floats
    correlation: float


def compute(state: StepState) -> StepFound:
    """Read the runs of a state.

    Raises:
        ValueError: if there is no such seed or stage among the runs.
    """
    arrays = read("steps")
    step, accuracy = arrays["effective_step_at_start"], arrays["test_accuracy"]
    _, num_seeds, num_stages = step.shape
    if state.seed >= num_seeds:
        fail("seed", f"must be below {num_seeds}", str(state.seed), "Move it to the left.")
    if state.stage > num_stages:
        fail("stage", f"must be at most {num_stages}", str(state.stage), "Move it to the left.")
    seeds = slice(None) if state.seed < 0 else slice(state.seed, state.seed + 1)
    points = np.stack([step[:, seeds, state.stage - 1], accuracy[:, seeds, state.stage - 1]], axis=-1)
    return StepFound(
        rules=tuple(_RULES),
        chosen=state.rule,
        stage=state.stage,
        step=np.exp(np.log(step[:, seeds]).mean(axis=1)),
        norm=arrays["weight_norm_at_start"][:, seeds].mean(axis=1),
        norm_end=arrays["weight_norm"][:, seeds].mean(axis=1),
        accuracy=accuracy[:, seeds].mean(axis=1),
        points=points,
        correlation=float(np.mean([rank_correlation(*points[:, one].T) for one in range(points.shape[1])])),
    )


def limits() -> dict[str, tuple[float, float]]:
    """Ends of the axes that hold every seed and rule: of norm, step and accuracy (also after stage 1)."""
    arrays = read("steps")
    norm = np.stack([arrays["weight_norm"], arrays["weight_norm_at_start"]])
    step, accuracy = arrays["effective_step_at_start"], 100 * arrays["test_accuracy"]
    ends = {
        name: (float(one.min()) / 1.5, 1.5 * float(one.max())) for name, one in (("norm", norm), ("step", step))
    }
    later = accuracy[..., 1:]
    return ends | {
        name: (float(one.min()) - 1, float(one.max()) + 1)
        for name, one in (("accuracy", accuracy), ("later accuracy", later))
    }


def rank_correlation(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> float:
    """Spearman's correlation; ties share their mean rank, and 0 if all of one list are equal.

    Args:
        first: numbers.
        second: as many numbers.
    """
    a, b = _ranks(np.asarray(first)), _ranks(np.asarray(second))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _ranks(values: Floats) -> Floats:
    below = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    found: Floats = below + (equal - 1) / 2
    return found


def setting() -> Mapping[str, object]:
    """How the runs were made: the configuration beside the committed table."""
    found: Mapping[str, object] = (facts("steps") or {})["from"]
    return found


def describe(state: StepState, found: StepFound) -> str:
    """What the four panels show, in words."""
    place = found.stage - 1
    whose = "means over all seeds" if state.seed < 0 else f"seed {state.seed}"
    if found.chosen == ALL:
        listed = "; ".join(_line(found, row, place) for row in range(len(found.rules)))
    else:
        row = found.rules.index(found.chosen)
        norms = ", ".join(f"{one:.3g}" for one in found.norm[row])
        steps = ", ".join(f"{one:.2g}" for one in found.step[row])
        listed = (
            f"{_line(found, row, place)}. By stage, its norm at the start is {norms}, its effective step {steps}"
        )
    return (
        "Four panels, for a narrow residual network on scikit-learn's digits with right labels, whose "
        f"convolutions all have a batch norm behind them ({whose}): by stage, the norm of the weights at the "
        "start (lines) and at the end (marks), the effective step η / |w|² at the start, test accuracy after "
        f"it; and, at stage {found.stage}, one against the other. Rank correlation over rules there: "
        f"{found.correlation:+.2f}. At stage {found.stage}: {listed}."
    ).replace("-0.", "−0.")


def _line(found: StepFound, row: int, place: int) -> str:
    return (
        f"{rule_style(found.rules[row]).label}: norm {found.norm[row, place]:.1f}, effective step "
        f"{found.step[row, place]:.2g}, accuracy {100 * found.accuracy[row, place]:.1f}%"
    )
