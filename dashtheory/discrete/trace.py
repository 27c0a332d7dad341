"""One stage of a simulation, step by step: which samples teach, which feature is learned, what is memorised.

`simulate` keeps the order in which features were learned and what was memorised after each stage. That fixes
everything in between: this module replays a stage from it and counts anew, without the bookkeeping of the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashtheory._check import choice, fail, integer
from dashtheory.discrete.packed import PackedFeatures, check_features
from dashtheory.discrete.simulate import DISCRETE_RULES, Simulation

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class StageTrace:
    """A stage with m learning steps: moment 0 is its start, moment i the state after step i.

    Attributes:
        rule: name of the rule between stages.
        stage: from 1.
        steps: int64 (m, 2), (class, feature) learned at each step.
        learned: bool (m + 1, C, K), features known at each moment.
        active: bool (m + 1, C, n_j), samples with a non-zero gradient among those of chunks 1 to j.
        counts: int64 (m + 1, C, K), active samples that show each feature.
        held: bool (C, n_j), samples whose noise is held while the stage learns.
        memorized: bool (C, n_j), samples whose noise is held when it has ended: those of `held`, and those still
            active at the last moment.
        chunk: int64 (n_j,), the chunk that brought each sample, from 1.
    """

    rule: str
    stage: int
    steps: Ints
    learned: Bools
    active: Bools
    counts: Ints
    held: Bools
    memorized: Bools
    chunk: Ints

    @property
    def num_active(self) -> Ints:
        """int64 (m + 1,): active samples at each moment, all classes together."""
        return np.asarray(np.count_nonzero(self.active, axis=(1, 2)), dtype=np.int64)


def trace_stage(features: Bools | PackedFeatures, simulation: Simulation, *, stage: int, tau: int) -> StageTrace:
    """Replay one stage of a simulation.

    Time and memory: O(m C n_j), meant for small worlds.

    Args:
        features: bool (C, K, n), or the same packed: the data that were simulated.
        simulation: of the rule "cold", "warm" or "ideal" on these data.
        stage: from 1 to J.
        tau: as simulated.

    Returns:
        a `StageTrace`.

    Raises:
        ValueError: if the shapes do not fit, the stage is out of range, or the rule forgets at random (what was
            drawn is not kept).
    """
    shown = features.unpack() if isinstance(features, PackedFeatures) else features
    check_features("features", shown)
    num_stages, num_classes, num_features = simulation.learned.shape
    expected = (num_classes, num_features, simulation.memorized.shape[2])
    if shown.shape != expected:
        fail("features", f"must have the simulated shape {expected}", str(shown.shape), "Pass the same data.")
    stage = integer("stage", stage, minimum=1, fix="Stages count from 1.")
    if stage > num_stages:
        fail("stage", f"must be at most {num_stages}", str(stage), "Choose a stage that was simulated.")
    tau = integer("tau", tau, minimum=1, fix="Give the number of learned features a sample needs.")
    choice("simulation.rule", simulation.rule, DISCRETE_RULES)
    size = expected[2] // num_stages
    shown = shown[:, :, : stage * size]
    known, held = _before(simulation, stage)
    held = held[:, : stage * size]
    steps = simulation.order[stage - 1]
    learned = np.repeat(known[None], len(steps) + 1, axis=0)
    for step, (label, feature) in enumerate(steps.tolist(), 1):
        learned[step:, label, feature] = True
    hits = np.einsum("mck,ckn->mcn", learned.astype(np.int64), shown.astype(np.int64))
    active = (hits < tau) & ~held
    return StageTrace(
        rule=simulation.rule,
        stage=stage,
        steps=steps,
        learned=learned,
        active=active,
        counts=np.einsum("mcn,ckn->mck", active.astype(np.int64), shown.astype(np.int64)),
        held=held,
        memorized=held | active[-1],
        chunk=np.arange(stage * size, dtype=np.int64) // size + 1,
    )


def _before(simulation: Simulation, stage: int) -> tuple[Bools, Bools]:
    """What is known, bool (C, K), and held, bool (C, n), when a stage starts."""
    first = stage == 1
    nothing_known = first or simulation.rule == "cold"
    nothing_held = first or simulation.rule != "warm"
    known, held = simulation.learned[stage - 2], simulation.memorized[stage - 2]
    return (np.zeros_like(known) if nothing_known else known), (np.zeros_like(held) if nothing_held else held)
