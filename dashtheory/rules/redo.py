"""ReDo: recycling dormant neurons. Units that hardly respond any more begin again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from dashtheory._check import integer, real
from dashtheory.rules.rule import AfterStep, Context, Learner, ablation
from dashtheory.rules.unit_rule import ResetRule, counted, share_of_layer
from dashtheory.rules.unit_watch import Watch, some_examples
from dashtheory.rules.unit_weights import Units


@dataclass(frozen=True, kw_only=True)
class ReDo(ResetRule):
    """Reset units whose activations are small beside those of their layer, every so many steps.

    Formula:

        score of unit i = mean |h_i| / (mean over the layer of mean |h| + 1e-9);   dormant if score <= tau

    The means are over examples and places. A dormant unit gets new incoming weights, its outgoing weights become
    zero. With tau = 0 only units that were silent on all examples are reset, and the network's output on these
    stays the same, unless a layer norm or group norm makes units depend on each other.

    Published: tau = 0.025 and every 1,000 updates, on 64 examples; 0.1 where there are many updates per example.

    Elsewhere: FIRE's code takes tau = 0.01 to 0.5 once an epoch, and sets no outgoing weight and no moment to
    zero. The bias becomes 0 in the authors' code; a port to PyTorch draws it (`bias=draw`), and starts the step
    counters anew, which it calls crucial (`counters=yes`).

    Cost: a mean over the activations of one step in `every`; `draw=model` builds a network when there is a
    reset.

    Source: Sokar, Agarwal, Castro & Evci, "The Dormant Neuron Phenomenon in Deep Reinforcement Learning" (ICML
    2023, arXiv:2302.12902), and facts of the code in dopamine, from which nothing is taken over.

    Attributes:
        tau: largest score of a dormant unit; negative: no unit is.
        every: steps between two looks, counted through all stages.
        examples: 0: the examples of the step, in training mode and before its update; else so many, drawn from all
            chunks so far, in evaluation mode.
        units: as `UnitRule`.
        draw: as `UnitRule`.
        bias: as `ResetRule`.
        norm: as `ResetRule`.
        moments: as `ResetRule`.
        counters: as `ResetRule`.
    """

    tau: float = ablation(0.025)
    every: int = ablation(1000)
    examples: int = ablation(0)
    name: ClassVar[str] = "redo"
    acts: ClassVar[tuple[str, ...]] = ("steps",)
    inert: ClassVar[Mapping[str, Any]] = {"tau": -1, "every": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        real("tau", self.tau, low=-1, fix="It is a share of the layer's mean activation.")
        integer("every", self.every, minimum=1, fix="It counts optimizer steps.")
        integer("examples", self.examples, minimum=0, fix="0 stands for those of the step.")

    def after_step(self, learner: Learner, context: Context) -> AfterStep:
        """Look, and reset what is dormant."""
        layers = self.layers(learner.model)
        memory, fresh = self.memory(context, layers), self.fresh(context)
        watch, total = Watch(learner.model, layers, mean_activation), counted(context)
        watch.take(again=not self.examples and total(0) % self.every == self.every - 1)

        def call(step: int) -> None:
            step = total(step)
            seen = watch.take(again=not self.examples and (step + 1) % self.every == 0)
            if step % self.every:
                return
            drawing = fresh(step)
            if self.examples:
                seen = watch.ask(some_examples(context, self.examples, drawing.generator))
            looked = [units for units in layers if units.name in seen]
            resets = {units.name: share_of_layer(seen[units.name]) <= self.tau for units in looked}
            self.reset_(learner.optimizer, looked, resets, drawing)
            for name, which in resets.items():
                memory[name]["resets"].add_(which)

        return AfterStep(call=call, recordable=False, close=watch.close)


def mean_activation(units: Units, values: Tensor) -> Tensor:
    """(units,) mean absolute activation over examples and places.

    Args:
        units: of the layer.
        values: (batch, units, places).
    """
    return values.abs().mean(dim=(0, 2))
