"""Selective weight reinitialization: of every layer, the single weights of least use begin again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, integer, real
from dashtheory.rules.matrices import LayerWeight, layer_weights
from dashtheory.rules.reset_layers import MOMENTA
from dashtheory.rules.rule import (
    AfterStep,
    Context,
    Learner,
    RuleState,
    WhileTraining,
    ablation,
    flag,
    remembered,
)
from dashtheory.rules.unit_rule import counted, no_steps
from dashtheory.rules.unit_weights import clear_entries_
from dashtheory.seeds import torch_stream

USES = ("gradient", "magnitude")
NEW = ("model", "kaiming", "torch", "zero")


@dataclass(frozen=True, kw_only=True)
class SelectiveReset(WhileTraining):
    """Give the least useful weights of every hidden layer new initial values, every so many steps.

    Formula:

        use of weight w = |w dL/dw|  ("gradient": what the loss would change by without it, to first order), or |w|

    It asks nothing of the network but layers with weights (`dashtheory.rules.layers`); biases and norms stay.
    Better than resets of units in small networks and with layer norm, its authors say. Not to be confused with
    soft weight rescaling (`swr`), of the same initials. The gradient is that of the step's batch, with all that
    is added to the loss; the weight is that after the step.

    Published: single weights, those of low utility, the gradient's utility, a new draw. Left open, and chosen
    here: a share of every layer (not one threshold for all), utilities of a single step (an average is an
    option), the default numbers.

    Cost: a sort of all weights every so many steps; with `momentum` a product a step; `new=model` builds a
    network each time.

    Source: Hernandez-Garcia et al. (CoLLAs 2025, PMLR 330; arXiv:2508.00212), of which a summary alone was read.

    Attributes:
        share: of the weights of each layer, rounded down, in [0, 1]; this package's choice, not tuned.
        every: steps between two resets, counted through all stages; this package's choice.
        utility: "gradient" or "magnitude".
        momentum: of a running average of the utility, in [0, 1); 0: that of the step.
        new: "model" (a new initialization), "kaiming" or "torch" (uniform on +- sqrt(6 / inputs) or
            +- sqrt(1 / inputs)), or "zero" (the mean of an initialization).
        last: whether the last layer is taken too.
        moments: whether the optimizer's averages for these weights are "cleared" or "kept".
    """

    share: float = ablation(0.001)
    every: int = ablation(1000)
    utility: str = ablation("gradient")
    momentum: float = ablation(0.0)
    new: str = ablation("model")
    last: bool = ablation(False)
    moments: str = ablation("cleared")
    name: ClassVar[str] = "swr_weights"
    acts: ClassVar[tuple[str, ...]] = ("steps",)
    inert: ClassVar[Mapping[str, Any]] = {"share": 0, "every": 1}

    def __post_init__(self) -> None:
        real("share", self.share, low=0, high=1, fix="It is a share of the weights of a layer.")
        integer("every", self.every, minimum=1, fix="It counts optimizer steps.")
        choice("utility", self.utility, USES)
        real("momentum", self.momentum, low=0, high=1 - 1e-9, fix="It is the share of the past that stays.")
        choice("new", self.new, NEW)
        flag("last", self.last)
        choice("moments", self.moments, MOMENTA)

    def start(self, learner: Learner) -> RuleState:
        """How many weights were reset, and the average of the utility."""
        layers = layer_weights(learner.model, last=self.last)
        if not layers:
            kind = type(learner.model).__name__
            fix = "last=True takes that one too."
            fail("model", "must have a trainable layer before its last", f"{kind}, with one in all", fix)
        found = {f"resets {one.name}": torch.zeros((), dtype=torch.int64) for one in layers}
        if self.momentum:
            found |= {f"utility {one.name}": torch.zeros_like(one.parameter.detach()) for one in layers}
        return {name: value.to(layers[0].parameter.device) for name, value in (found | no_steps()).items()}

    def after_step(self, learner: Learner, context: Context) -> AfterStep | None:
        """Follow the utility, and reset."""
        if not self.share:
            return None
        layers = layer_weights(learner.model, last=self.last)
        root, total = int(torch.randint(2**62, (), generator=context.generator)), counted(context)

        @torch.no_grad()
        def call(step: int) -> None:
            step = total(step)
            if step % self.every and not self.momentum:
                return
            uses = {one.name: use for one in layers if (use := self._use(one, context.state)) is not None}
            if step % self.every == 0:
                self._reset_(learner, [one for one in layers if one.name in uses], uses, context, root, step)

        return AfterStep(call=call, recordable=False)

    def _use(self, layer: LayerWeight, state: RuleState) -> Tensor | None:
        """The utility of all weights of a layer, in average; None without a gradient."""
        parameter = layer.parameter
        if self.utility == "gradient" and parameter.grad is None:
            return None
        value = parameter.detach().abs()
        if parameter.grad is not None and self.utility == "gradient":
            value = value * parameter.grad.detach().abs()
        if not self.momentum:
            return value
        average = remembered(state, f"utility {layer.name}", parameter)
        return average.mul_(self.momentum).add_(value, alpha=1 - self.momentum)

    def _reset_(
        self,
        learner: Learner,
        layers: list[LayerWeight],
        uses: Mapping[str, Tensor],
        context: Context,
        root: int,
        step: int,
    ) -> None:
        generator = torch_stream(root, "weights", step)
        model = context.draw(generator) if self.new == "model" else None
        entries: list[tuple[nn.Parameter, Tensor]] = []
        for one in layers:
            use, parameter = uses[one.name], one.parameter
            number = int(self.share * use.numel())
            flat = use.reshape(-1)
            mask = torch.zeros_like(flat, dtype=torch.bool)
            mask[flat.sort(stable=True).indices[:number]] = True
            mask = mask.reshape(use.shape)
            new = self._new(one, model, generator)
            parameter.copy_(torch.where(mask, new.to(parameter), parameter))
            entries.append((parameter, mask))
            context.state[f"resets {one.name}"].add_(number)
            if self.momentum:
                use.copy_(torch.where(mask, use.mean(), use))  # or they would be the least useful again
        if self.moments == "cleared":
            clear_entries_(learner.optimizer, entries, counters=False)

    def _new(self, layer: LayerWeight, model: nn.Module | None, generator: torch.Generator) -> Tensor:
        """New values for all weights of a layer."""
        parameter = layer.parameter
        if model is not None:
            return model.get_parameter(layer.name).detach()
        if self.new == "zero":
            return torch.zeros_like(parameter)
        bound = math.sqrt((6 if self.new == "kaiming" else 1) / layer.matrix().shape[1])
        wide = torch.promote_types(parameter.dtype, torch.float32)
        return torch.rand(parameter.shape, generator=generator, dtype=wide) * (2 * bound) - bound
