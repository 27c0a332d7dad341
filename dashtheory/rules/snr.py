"""Self-normalized resets: a unit begins again when it is silent for longer than is usual for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dashtheory._check import integer, real
from dashtheory.rules.rule import AfterStep, Context, Learner, ablation
from dashtheory.rules.unit_rule import ResetRule, counted
from dashtheory.rules.unit_watch import Watch
from dashtheory.rules.unit_weights import Units

Memory = Mapping[str, Tensor]
_NEVER = 2**62


@dataclass(frozen=True, kw_only=True)
class SelfNormalizedReset(ResetRule):
    """Reset units that are silent for unusually long, each measured by its own past.

    Formula:

        age of unit i = samples since it last fired: since it was above 0 on one sample (or place of it)
        reset if it did not fire and age >= threshold_i

        threshold_i: from time to time  <- the (1 - eta) quantile of its past times between firings, if that is
                                        lower, else twice what it was; at least the batch size, at most a cap

    Thresholds begin at the cap; times and thresholds of a unit outlive its resets. It is made for ReLU: what is
    always above 0 always fires. A unit that is reset was silent on the whole batch: the network's output on it
    stays the same, unless a layer norm or group norm makes units depend on each other.

    Published: eta = 0.08, cap 20,000, thresholds renewed every 16 tasks. Tasks are not everywhere, so that steps
    are counted here.

    Elsewhere: the published code keeps a histogram of all times since the thresholds were renewed, has a batch
    size of 100 written into it, and gives NaN for a unit that never fired; here the last `times` times of a unit
    count, and the batch size is that of the step. FIRE's code sets no outgoing weight and no moment to zero.

    Cost: a maximum over all hidden activations a step, and the device waits for the host at every step.

    Source: Farias & Jozefiak, "Self-Normalized Resets for Plasticity in Continual Learning" (ICLR 2025,
    arXiv:2410.20098) and facts of the code, from which nothing is taken over.

    Attributes:
        eta: share of times that count as unusually long, in [0, 1); 0: no unit is reset.
        update: steps between two renewals of the thresholds, counted through all stages.
        cap: largest threshold, in samples; 20,000 as published.
        times: times between firings that are kept of each unit.
        units: as `UnitRule`.
        draw: as `UnitRule`.
        bias: as `ResetRule`; "zero" as published.
        norm: as `ResetRule`.
        moments: as `ResetRule`.
        counters: as `ResetRule`.
    """

    eta: float = ablation(0.08)
    update: int = ablation(1000)
    cap: int = ablation(20_000)
    times: int = ablation(100)
    name: ClassVar[str] = "snr"
    acts: ClassVar[tuple[str, ...]] = ("steps",)
    inert: ClassVar[Mapping[str, Any]] = {"eta": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        real("eta", self.eta, low=0, high=1 - 1e-9, fix="It is a share of the times between firings.")
        integer("update", self.update, minimum=1, fix="It counts optimizer steps.")
        integer("cap", self.cap, minimum=1, fix="It counts samples.")
        integer("times", self.times, minimum=1, fix="It counts times between firings.")

    def remembers(self, num_units: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """Age, threshold and past times of each unit, how many there were, and how often each was reset."""
        return {
            **super().remembers(num_units, dtype),
            "age": torch.zeros(num_units, dtype=torch.int64),
            "threshold": torch.full((num_units,), self.cap, dtype=torch.int64),
            "times": torch.full((num_units, self.times), _NEVER, dtype=torch.int64),
            "firings": torch.zeros(num_units, dtype=torch.int64),
        }

    def after_step(self, learner: Learner, context: Context) -> AfterStep:
        """Follow who fires, and reset who is silent for too long."""
        layers = self.layers(learner.model)
        memory, fresh, total = self.memory(context, layers), self.fresh(context), counted(context)
        watch = Watch(learner.model, layers, fired)
        watch.take(again=True)

        @torch.no_grad()
        def call(step: int) -> None:
            step, seen = total(step), watch.take(again=True)
            looked = [units for units in layers if units.name in seen]
            resets = {units.name: self._late(memory[units.name], *seen[units.name]) for units in looked}
            if looked and bool(torch.cat(list(resets.values())).any()):
                self.reset_(learner.optimizer, looked, resets, fresh(step))
            for name, which in resets.items():
                memory[name]["resets"].add_(which)
                memory[name]["age"].masked_fill_(which, 0)
                if step % self.update == 0:
                    self._renew_(memory[name], least=seen[name][1])

        return AfterStep(call=call, recordable=False, close=watch.close)

    def _late(self, memory: Memory, fired: Tensor, samples: int) -> Tensor:
        """Note who fired in a step of so many samples; who is silent for too long."""
        memory["age"].add_(samples)
        place = (memory["firings"] % self.times)[:, None]
        before = memory["times"].gather(1, place)
        memory["times"].scatter_(1, place, torch.where(fired[:, None], memory["age"][:, None], before))
        memory["firings"].add_(fired)
        memory["age"].masked_fill_(fired, 0)
        late = ~fired & (memory["age"] >= memory["threshold"])
        return late if self.eta else torch.zeros_like(late)

    def _renew_(self, memory: Memory, *, least: int) -> None:
        """Renew the thresholds."""
        known = memory["firings"].clamp(max=self.times)
        place = ((1 - self.eta) * known.double() - 1e-9).ceil().long().clamp(min=1) - 1
        usual = memory["times"].sort(dim=1).values.gather(1, place[:, None])[:, 0]
        before = memory["threshold"]
        after = torch.where(usual < before, usual, 2 * before)  # without a firing it stays at the cap
        before.copy_(after.clamp(min=min(least, self.cap), max=self.cap))


def fired(units: Units, values: Tensor) -> tuple[Tensor, int]:
    """(units,) whether each was above 0 anywhere, and on how many samples.

    Args:
        units: of the layer.
        values: (batch, units, places).
    """
    return (values > 0).any(dim=2).any(dim=0), len(values)
