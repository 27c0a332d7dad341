"""What a rule between stages is, and what it may use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail
from dashtheory.rules.anchors import anchored
from dashtheory.rules.effective import computed_weights, plain_weights
from dashtheory.rules.report import ShrinkReport

LossFunction = Callable[..., Tensor]
"""`loss_fn(model(input), target)`: a scalar tensor, the mean loss of the batch."""

OPTIMIZER_FATES = ("kept", "renewed")
"""What can happen to the optimizer when a rule changes the weights: its state stays, or it starts anew."""

RuleState = Mapping[str, Tensor]
"""What a rule remembers through a run: named tensors, so that a checkpoint can hold it."""


@dataclass(frozen=True, eq=False)
class Learner:
    """A model and the optimizer that trains it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer


def _no_renewal(model: nn.Module) -> torch.optim.Optimizer:
    fail(
        "renew",
        "must be given to Context when the rule renews the optimizer",
        "none",
        "Pass renew=lambda model: make_optimizer(model.parameters()).",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """What a rule may use before a stage.

    Attributes:
        chunks: one (input, target) batch per chunk seen so far, oldest first; made anew at each call.
        loss_fn: `loss_fn(model(input), target)`, the mean loss.
        fresh: makes a new learner from the stage's own initialisation stream.
        generator: the stage's perturbation stream.
        renew: makes a new optimizer for a model; needed by rules that renew it.
        state: what `Rule.start` of this run gave.
    """

    chunks: Callable[[], Iterable[tuple[object, object]]]
    loss_fn: LossFunction
    fresh: Callable[[], Learner]
    generator: torch.Generator
    renew: Callable[[nn.Module], torch.optim.Optimizer] = _no_renewal
    state: RuleState = field(default_factory=dict)


class Rule(ABC):
    """What happens to the learner between two stages, and for a few rules while it trains.

    Attributes:
        name: by which the package knows it; a rule of your own needs none.
        anew: whether every stage begins with a new learner, whatever the stages before: they need not be run then.
    """

    name: ClassVar[str] = ""
    anew: ClassVar[bool] = False

    def start(self, learner: Learner) -> RuleState:
        """What the rule has to remember of the learner before its first stage; nothing for most."""
        return {}

    @abstractmethod
    def apply(self, learner: Learner, context: Context) -> tuple[Learner, ShrinkReport | None]:
        """Return the learner that starts the next stage (changed in place or new), and a report if any."""

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """What is added to the loss of every training step of `model`: a function to call, or None.

        Asked for once per stage, the first included. `state` is what `start` gave.
        """
        return None


def ablation(default: Any) -> Any:
    """A rule's option that experiments do not set unless they ask for it by name (`rule_options`)."""
    return field(default=default, metadata={"ablation": True})


def flag(argument: str, value: object) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool):
        fail(argument, "must be True or False", repr(value), "It switches something on.")


@dataclass(frozen=True, kw_only=True)
class InPlace(Rule):
    """A rule that changes the weights of the model that it is given.

    Attributes:
        optimizer: "kept" (its state stays, as in the authors' code) or "renewed" (a new one for the same model).
    """

    optimizer: str = ablation("kept")

    def __post_init__(self) -> None:
        choice("optimizer", self.optimizer, OPTIMIZER_FATES)

    @abstractmethod
    def change_(self, model: nn.Module, context: Context) -> ShrinkReport | None:
        """Change the model in place; return a report if there is one."""

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, ShrinkReport | None]:
        """Change the model in place, then keep or renew the optimizer.

        Copies of the weights that a kept optimizer has start anew from the changed ones
        (`dashtheory.rules.anchors`); weights that are computed get what they are computed from
        (`dashtheory.rules.effective`).
        """
        model, kept = learner.model, self.optimizer == "kept"
        plain = plain_weights(model) if computed_weights(model) else nullcontext(model)
        with anchored(learner.optimizer, model=model) if kept else nullcontext(), plain as changed:
            report = self.change_(changed, context)
        return (learner if kept else Learner(model, context.renew(model))), report


@contextmanager
def seeded_layers(model: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Seed torch's global streams, from which dropout draws, by `generator` inside, and put them back after."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    cuda = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(seed)
        yield
