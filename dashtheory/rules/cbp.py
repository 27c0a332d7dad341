"""Continual backpropagation: at a steady rate, the hidden units that are of least use begin again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dashtheory._check import choice, integer, real
from dashtheory.rules.rule import AfterStep, Context, Learner, ablation, flag
from dashtheory.rules.unit_rule import ResetRule, counted
from dashtheory.rules.unit_watch import Watch
from dashtheory.rules.unit_weights import Units

UTILITIES = ("contribution", "adaptable")
Memory = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class ContinualBackprop(ResetRule):
    """Reset a small share of the mature units of every layer, those of least use, step by step.

    Formula:

        contribution   x = mean |h_i| mean |w_out|
        adaptable      x = mean |h_i - its running mean| mean |w_out| / mean |w_in|
        u <- decay u + (1 - decay) x;   of use: u / (1 - decay^age)

    A unit is mature when its age in steps is above `maturity`. Every step adds rho x (mature units) to an
    account of the layer; its whole part is the number of mature units, least useful first, that are reset.
    Activations are those of the step, weights those after it.

    Published: rho = 1e-4 with maturity 100 (permuted MNIST), 3e-4 with 100 and "adaptable" (continual ImageNet),
    1e-5 with 1,000 and "contribution" (a ResNet on CIFAR), 1e-4 with 10,000 (PPO).

    Elsewhere: the authors mean the biases of the next layers to take over what a unit gave on average
    (`correct=yes`); in their code that average is zero by then, so that published results are without it. Their
    optimizer has step counters for every weight, which go to zero as well; PyTorch's has one for a tensor
    (`counters`).

    Cost: two means over all hidden activations and over the weights a step, and the device waits for the host at
    every step.

    Source: Dohare et al., "Loss of plasticity in deep continual learning" (Nature 632, 2024; arXiv:2306.13812)
    and facts of the code, from which nothing is taken over.

    Attributes:
        rho: share of the mature units that are reset in a step, in [0, 1].
        maturity: steps that a unit is safe for.
        decay: of the running averages, in [0, 1).
        utility: "contribution" or "adaptable".
        correct: whether biases of linear layers and convolutions take over the mean contribution; that of a unit
            behind which a maximum is pooled is only roughly its mean activation.
        units: as `UnitRule`.
        draw: as `UnitRule`; "mixed" as published.
        bias: as `ResetRule`; "zero" as published.
        norm: as `ResetRule`; "reset" as in the newer code.
        moments: as `ResetRule`; "cleared" as published.
        counters: as `ResetRule`.
    """

    rho: float = ablation(1e-4)
    maturity: int = ablation(100)
    decay: float = ablation(0.99)
    utility: str = ablation("contribution")
    correct: bool = ablation(False)
    draw: str = ablation("mixed")
    norm: str = ablation("reset")
    name: ClassVar[str] = "cbp"
    acts: ClassVar[tuple[str, ...]] = ("steps",)
    inert: ClassVar[Mapping[str, Any]] = {"rho": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        real("rho", self.rho, low=0, high=1, fix="It is the share that is reset in a step.")
        integer("maturity", self.maturity, minimum=0, fix="It counts steps.")
        real("decay", self.decay, low=0, high=1 - 1e-9, fix="It is the share of the past that stays.")
        choice("utility", self.utility, UTILITIES)
        flag("correct", self.correct)

    def remembers(self, num_units: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """Utility, age and mean activation of each unit, the layer's account, and how often each was reset."""
        return {
            **super().remembers(num_units, dtype),
            "utility": torch.zeros(num_units, dtype=dtype),
            "mean": torch.zeros(num_units, dtype=dtype),
            "age": torch.zeros(num_units, dtype=torch.int64),
            "account": torch.zeros((), dtype=torch.float64),
        }

    def after_step(self, learner: Learner, context: Context) -> AfterStep:
        """Follow what units are of use, and reset."""
        layers = self.layers(learner.model)
        memory, fresh, total = self.memory(context, layers), self.fresh(context), counted(context)

        def look(units: Units, values: Tensor) -> tuple[Tensor, Tensor]:
            mean = values.mean(dim=(0, 2))
            if self.utility == "contribution":
                return mean, values.abs().mean(dim=(0, 2))
            usual = self._usual(self._followed(memory[units.name]["mean"], mean), memory[units.name]["age"] + 1)
            return mean, (values - usual[:, None]).abs().mean(dim=(0, 2))

        watch = Watch(learner.model, layers, look)
        watch.take(again=True)

        @torch.no_grad()
        def call(step: int) -> None:
            step, seen = total(step), watch.take(again=True)
            looked = [units for units in layers if units.name in seen]
            for units in looked:
                self._follow_(units, memory[units.name], *seen[units.name])
            resets = self._due(looked, memory)
            chosen = [units for units in looked if units.name in resets]
            if chosen:
                means = {name: self._usual(memory[name]["mean"], memory[name]["age"]) for name in resets}
                given = means if self.correct else None
                self.reset_(learner.optimizer, chosen, resets, fresh(step), means=given)
            for name, which in resets.items():
                memory[name]["resets"].add_(which)
                for what in ("utility", "mean", "age"):
                    memory[name][what].masked_fill_(which, 0)

        return AfterStep(call=call, recordable=False, close=watch.close)

    def _followed(self, average: Tensor, value: Tensor) -> Tensor:
        return self.decay * average + (1 - self.decay) * value.to(average)

    def _usual(self, average: Tensor, age: Tensor) -> Tensor:
        """A running average, corrected for its start at zero; of no age: zero."""
        weight = 1 - self.decay ** age.to(average.dtype)
        return torch.where(age > 0, average / weight.clamp(min=1e-12), torch.zeros_like(average))

    def _follow_(self, units: Units, memory: Memory, mean: Tensor, size: Tensor) -> None:
        """Age, mean and utility after a step."""
        memory["age"].add_(1)
        memory["mean"].copy_(self._followed(memory["mean"], mean))
        counts = sum(block.rows(block.parameter).shape[1] for block in units.outgoing)
        outgoing = sum(block.rows(block.parameter.abs()).sum(dim=1) for block in units.outgoing) / counts
        value = size * outgoing
        if self.utility == "adaptable":
            incoming = units.incoming.rows(units.incoming.parameter.abs()).mean(dim=1)
            value = value / incoming.clamp(min=torch.finfo(incoming.dtype).tiny)
        memory["utility"].copy_(self._followed(memory["utility"], value))

    def _due(self, layers: list[Units], memory: Mapping[str, Memory]) -> dict[str, Tensor]:
        """Which units are to be reset now, by layer; the accounts pay for them."""
        if not layers or not self.rho:
            return {}
        mature = {units.name: memory[units.name]["age"] > self.maturity for units in layers}
        known = [torch.stack((memory[name]["account"], which.sum())) for name, which in mature.items()]
        found = {}
        for (name, which), (account, number) in zip(mature.items(), torch.stack(known).tolist(), strict=True):
            account += self.rho * number
            due = min(int(account), int(number))
            memory[name]["account"].fill_(account - due)
            if due:
                useful = self._usual(memory[name]["utility"], memory[name]["age"])
                order = useful.masked_fill(~which, torch.inf).sort(stable=True).indices
                found[name] = torch.zeros_like(which).index_fill_(0, order[:due], True)
        return found
