"""Plasticity injection: a new head learns beside a frozen one, without a change of what the network says.

For a head that is one linear layer this trains as warm does, up to what an optimizer remembers of the head, and a
weight decay that pulls to h_old - h_anchor in place of zero: plasticity can come back where the head has layers.

Formula:

    h(x) -> h_old(x) + h_new(x) - h_anchor(x)        h_anchor = h_new at that moment; h_old and h_anchor frozen

Source: Nikishin et al., "Deep reinforcement learning with plasticity injection" (NeurIPS 2023, arXiv:2305.15555).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, integer
from dashtheory.rules.reset import Reset
from dashtheory.rules.rule import Context, Learner, Rule, RuleState, ablation


class Injected(nn.Module):
    """old(x) + new(x) - anchor(x).

    Args:
        old: the head so far; frozen here.
        new: of the same shape; trained.
    """

    def __init__(self, old: nn.Module, new: nn.Module) -> None:
        super().__init__()
        self.old = old.requires_grad_(False)
        self.new = new
        self.anchor = copy.deepcopy(new).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """As the head."""
        said: Tensor = self.old(inputs) + (self.new(inputs) - self.anchor(inputs))
        return said


@dataclass(frozen=True, kw_only=True)
class Inject(Rule):
    """Plasticity injection: once, a new head begins to learn beside the old one; all else is as in warm.

    The head is the last `nn.Linear`, or the module that `layer` names: the longer it is, the more is new. The
    optimizer takes up the new head and lets go of the old one; what it knows of the rest stays.

    Published: once in a run.

    Cost: three heads in place of one, from then on.

    Elsewhere: the library Plasticine makes a new head that its optimizer does not hold, so that it is never
    trained.

    Attributes:
        layer: full name of the head; empty for the last linear layer.
        stage: before which stage, >= 2.
    """

    layer: str = ablation("")
    stage: int = ablation(2)
    name: ClassVar[str] = "inject"

    def __post_init__(self) -> None:
        Reset(layer=self.layer)
        integer("stage", self.stage, minimum=2, fix="The rule acts between stages.")

    def start(self, learner: Learner) -> RuleState:
        """Stages that have begun."""
        return {"begun": torch.ones((), dtype=torch.int64)}

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Inject, if it is the time."""
        context.state["begun"].add_(1)
        if int(context.state["begun"]) == self.stage:
            name = self._head(learner.model)
            inject_(learner, name, context.fresh().model.get_submodule(name))
        return learner, None

    def rebuild(self, learner: Learner, state: RuleState) -> Learner:
        """Give a new learner the heads of the run's; their weights are loaded after that."""
        if int(state["begun"]) >= self.stage:
            name = self._head(learner.model)
            inject_(learner, name, copy.deepcopy(learner.model.get_submodule(name)))
        return learner

    def _head(self, model: nn.Module) -> str:
        return Reset(layer=self.layer).classifier(model)


def inject_(learner: Learner, name: str, new: nn.Module) -> None:
    """Put a new head beside the one called `name`, in the model and in the optimizer, in place.

    Args:
        learner: whose head is trained.
        name: full name of the head.
        new: of the same shapes.

    Raises:
        ValueError: before anything changes, if the head is the whole model, has frozen or shared weights, or the
            optimizer does not hold it.
    """
    model, optimizer = learner.model, learner.optimizer
    old = dict(model.get_submodule(name).named_parameters())
    _check_head(learner, name, old)
    parent, _, local = name.rpartition(".")
    reference = next(iter(old.values()))
    new = new.to(reference.device, reference.dtype).train(model.training)
    after = dict(new.named_parameters())
    swap = {id(value): after[key] for key, value in old.items()}
    for group in optimizer.param_groups:
        group["params"] = [swap.get(id(value), value) for value in group["params"]]
    for value in old.values():
        optimizer.state.pop(value, None)
        value.grad = None
    setattr(model.get_submodule(parent), local, Injected(model.get_submodule(name), new))


def _check_head(learner: Learner, name: str, old: dict[str, Any]) -> None:
    mine = {id(value) for value in old.values()}
    elsewhere = {
        id(value)
        for key, value in learner.model.named_parameters(remove_duplicate=False)
        if not key.startswith(f"{name}.")
    }
    held = {id(value) for group in learner.optimizer.param_groups for value in group["params"]}
    choice("layer", name or "(the model)", [key for key, _ in learner.model.named_modules() if key])
    if mine & elsewhere or not mine <= held or not all(value.requires_grad for value in old.values()):
        got = f"{name}, of which some are frozen, tied or not trained"
        fail("layer", "must be a head with weights of its own, all trained", got, "Name another module.")
