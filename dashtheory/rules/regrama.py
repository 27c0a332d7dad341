"""ReGraMa: units whose gradients are small begin again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dashtheory._check import integer, real
from dashtheory.rules.rule import AfterStep, Context, Learner, ablation
from dashtheory.rules.unit_rule import ResetRule, counted, mean_gradient, share_of_layer


@dataclass(frozen=True, kw_only=True)
class ReGraMa(ResetRule):
    """Reset units whose incoming weights have small gradients beside those of their layer, every so many steps.

    Formula:

        score of unit i = mean |gradient of its incoming weights| / (its mean over the layer + 1e-9)
        reset if score <= tau

    It sees what ReDo does not see in networks whose activations never vanish. The gradient is that of the step's
    batch, with all that is added to the loss.

    Published: tau = 0.01, every 1,000 updates.

    Cost: a mean over the gradients of one step in `every`; `draw=model` builds a network when there is a reset.

    Source: Liu et al. (NeurIPS 2025, arXiv:2505.24061). Its code could not be read; the score is as others tell
    it who read the paper, and what is left open (bias, moments) is as in ReDo.

    Attributes:
        tau: largest score of a unit that is reset; negative: none is.
        every: steps between two looks, counted through all stages.
        units: as `UnitRule`.
        draw: as `UnitRule`.
        bias: as `ResetRule`.
        norm: as `ResetRule`.
        moments: as `ResetRule`.
        counters: as `ResetRule`.
    """

    tau: float = ablation(0.01)
    every: int = ablation(1000)
    name: ClassVar[str] = "regrama"
    acts: ClassVar[tuple[str, ...]] = ("steps",)
    inert: ClassVar[Mapping[str, Any]] = {"tau": -1, "every": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        real("tau", self.tau, low=-1, fix="It is a share of the layer's mean gradient.")
        integer("every", self.every, minimum=1, fix="It counts optimizer steps.")

    def after_step(self, learner: Learner, context: Context) -> AfterStep:
        """Look, and reset what has small gradients."""
        layers = self.layers(learner.model)
        memory, fresh, total = self.memory(context, layers), self.fresh(context), counted(context)

        def call(step: int) -> None:
            step = total(step)
            if step % self.every:
                return
            found = {units.name: mean_gradient(units) for units in layers}
            resets = {
                name: share_of_layer(value) <= self.tau for name, value in found.items() if value is not None
            }
            looked = [units for units in layers if units.name in resets]
            self.reset_(learner.optimizer, looked, resets, fresh(step))
            for name, which in resets.items():
                memory[name]["resets"].add_(which)

        return AfterStep(call=call, recordable=False)
