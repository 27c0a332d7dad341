"""What a rule between stages is, and what it may use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, integer
from dashtheory.rules.anchors import anchored
from dashtheory.rules.effective import computed_weights, plain_weights
from dashtheory.rules.report import ShrinkReport

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
"""Makes an optimizer of parameters, such as the run's."""

LossFunction = Callable[..., Tensor]
"""`loss_fn(model(input), target)`: a scalar tensor, the mean loss of the batch."""

OPTIMIZER_FATES = ("kept", "renewed")
"""What can happen to the optimizer when a rule changes the weights: its state stays, or it starts anew."""

RuleState = Mapping[str, Tensor]
"""What a rule remembers through a run: named tensors, so that a checkpoint can hold it.

A stage that was interrupted starts again from the state at its beginning, so that tensors may change in place.
"""

BatchPenalty = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`penalty(inputs, targets, logits)` of the batch of a step: a scalar tensor, added to its loss."""

MOMENTS = ("between", "optimizer", "loss", "steps", "evaluation", "network")
"""Where a rule can act: on weights between stages, on the optimizer (between stages, or another in its place), in
the loss, after steps of the optimizer, on the network that is scored, and on the one that is trained (another)."""


def _nothing() -> None:
    """Done at the end of a stage by a hook that holds nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AfterStep:
    """What a rule does after every so many optimizer steps of a stage (`Rule.after_step`).

    Attributes:
        call: told how many steps of the stage are done, a multiple of `every`. It may change weights, buffers and
            the optimizer's state in place (never replace their tensors), and the tensors of the rule's state; all
            that must outlive the stage goes into that state. It runs between two steps, never inside of a recorded
            one, and not under `torch.no_grad`.
        every: steps between two calls, >= 1.
        recordable: False if `call` reads what a step leaves behind in Python's hands (gradients, activations kept
            by forward hooks): a recorded step (CUDA graph) keeps those to itself, and is then not recorded.
        close: called once after the last step of the stage, or when training fails: removes forward hooks and the
            like.
    """

    call: Callable[[int], None]
    every: int = 1
    recordable: bool = True
    close: Callable[[], None] = _nothing

    def __post_init__(self) -> None:
        integer("every", self.every, minimum=1, fix="It counts optimizer steps.")


@dataclass(frozen=True, eq=False)
class Learner:
    """A model and the optimizer that trains it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer


def _no_draw(generator: torch.Generator) -> nn.Module:
    fail("draw", "must be given to Context when the rule draws initial weights", "none", "Say draw=, a function.")


def _no_renewal(model: nn.Module) -> torch.optim.Optimizer:
    fail(
        "renew",
        "must be given to Context when the rule renews the optimizer",
        "none",
        "Pass renew=lambda model: make_optimizer(model.parameters()).",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """What a rule may use in a stage.

    Attributes:
        chunks: one (input, target) batch per chunk seen so far, oldest first; made anew at each call.
        loss_fn: `loss_fn(model(input), target)`, the mean loss.
        fresh: makes a new learner from the stage's own initialisation stream.
        generator: a CPU stream of the stage and the moment: `apply` has one, `after_step` another, and so on.
        renew: makes a new optimizer for a model; needed by rules that renew it.
        state: what `Rule.start` of this run gave, or `Rule.finish` of the stage before.
        steps_per_epoch: optimizer steps in an epoch of the stage.
        draw: makes a model, its initial weights drawn from a CPU stream that the rule chooses, such as
            `generator`; for rules that draw more than once in a stage.
    """

    chunks: Callable[[], Iterable[tuple[object, object]]]
    loss_fn: LossFunction
    fresh: Callable[[], Learner]
    generator: torch.Generator
    renew: Callable[[nn.Module], torch.optim.Optimizer] = _no_renewal
    state: RuleState = field(default_factory=dict)
    steps_per_epoch: int = 1
    draw: Callable[[torch.Generator], nn.Module] = _no_draw


class Rule(ABC):
    """What happens to the learner between two stages, and for some rules while it trains.

    In a run these are called, in this order:

        adapted         whenever a network is made: gives the one that is trained in its place
        optimizer_for   whenever an optimizer is made: gives the one that steps in its place
        start           once, on the first initialisation
        apply           before every stage but the first
        penalty         once a stage; what it returns is added to the loss of every step
        batch_penalty   the same, of the batch: its inputs, targets and logits
        after_step      once a stage; what it returns is called after every so many steps
        finish          after every stage; gives the state that the next one gets
        evaluated       after every stage; gives the network that is scored

    All but `apply` do nothing unless a rule says otherwise, and cost nothing then.

    Attributes:
        name: by which the package knows it; a rule of your own needs none.
        anew: whether every stage begins with a new learner, whatever the stages before: they need not be run then.
        acts: where it acts, of `MOMENTS`.
        inert: options with which it is warm to the bit; empty if there are none such.
    """

    name: ClassVar[str] = ""
    anew: ClassVar[bool] = False
    acts: ClassVar[tuple[str, ...]] = ("between",)
    inert: ClassVar[Mapping[str, Any]] = {}

    def adapted(self, model: nn.Module, generator: torch.Generator) -> nn.Module:
        """The network that is trained in place of a new one: itself for most, else changed in place or another.

        Asked for whenever a network is made: before the first stage, for `Context.fresh` and `Context.draw`, when
        learning rates are tuned, and when an interrupted run is rebuilt; weights of the moment are then loaded.

        Args:
            model: new, its weights drawn; on the device where the run's factory makes it.
            generator: from which they were drawn; what else is drawn must come from it alone.

        Raises:
            ValueError: in one line if the model has nothing to change, or not what it takes.
        """
        return model

    def optimizer_for(self, model: nn.Module, make: MakeOptimizer) -> torch.optim.Optimizer | None:
        """The optimizer that steps in place of the run's, or None: the run's own.

        Asked for wherever one is made or renewed. Its whole state must be in its `state` and `param_groups`, and a
        rule that has one must decide in `apply` whether it is kept.

        Args:
            model: `adapted` already.
            make: the run's, with learning rate, weight decay and momentum of the run or of the rule's text
                (`dashtheory.rules.optimizing.settings_of` reads them).
        """
        return None

    def start(self, learner: Learner) -> RuleState:
        """What the rule has to remember of the learner before its first stage; nothing for most."""
        return {}

    @abstractmethod
    def apply(self, learner: Learner, context: Context) -> tuple[Learner, ShrinkReport | None]:
        """Return the learner that starts the next stage (changed in place or new), and a report if any."""

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """What is added to the loss of every training step of `model`: a function to call, or None.

        Asked for once per stage, the first included. `state` is what `start` gave, or `finish` of the stage
        before.
        """
        return None

    def batch_penalty(self, model: nn.Module, context: Context) -> BatchPenalty | None:
        """As `penalty`, for what depends on the batch of a step; scores and criterion are of the loss without it.

        The logits are those of the step, with their graph. Asked for once per stage, the first included.
        """
        return None

    def after_step(self, learner: Learner, context: Context) -> AfterStep | None:
        """What is done after every so many optimizer steps of a stage, or None.

        Asked for once per stage, the first included, after `apply`; an optimizer that calls its closure several
        times in a step has taken one step.
        """
        return None

    def finish(self, learner: Learner, context: Context) -> RuleState:
        """What the rule remembers from the end of a stage on; the learner must stay as it is.

        Asked for after every stage, the last included. The same as before for most.
        """
        return context.state

    def rebuild(self, learner: Learner, state: RuleState) -> Learner:
        """A learner made anew, in the form that the rule has given to the run's; for rules that add modules.

        Asked for when an interrupted run goes on, before weights and the optimizer's state are loaded. `state` is
        that of the last finished stage.
        """
        return learner

    def evaluated(self, model: nn.Module, state: RuleState) -> nn.Module:
        """The network that is scored after a stage: the trained one for most, else a copy with other weights."""
        return model


class WhileTraining(Rule):
    """A rule that leaves weights and optimizer alone between stages: it acts in the loss or after steps."""

    acts: ClassVar[tuple[str, ...]] = ("loss",)

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, ShrinkReport | None]:
        """Return the learner as it is."""
        return learner, None


_METHODS: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("optimizer_for",),
    "loss": ("penalty", "batch_penalty"),
    "steps": ("after_step",),
    "evaluation": ("evaluated",),
    "network": ("adapted",),
}


def overrides(rule: Rule, method: str) -> bool:
    """Whether a rule has a method of its own, of a name that every rule has."""
    return getattr(type(rule), method) is not getattr(Rule, method)


def moments_of(rule: Rule) -> tuple[str, ...]:
    """Where a rule acts, of `MOMENTS`: what it says (`acts`), and what its methods say, whatever `acts` does.

    A rule of one's own may leave `acts` as it is.
    """
    found = {moment for moment, methods in _METHODS.items() if any(overrides(rule, name) for name in methods)}
    return tuple(moment for moment in MOMENTS if moment in found or moment in rule.acts)


def from_the_start(rule: Rule) -> bool:
    """Whether a rule has another network or optimizer than the run, and so another first stage than others."""
    return overrides(rule, "adapted") or overrides(rule, "optimizer_for")


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


def device_generator(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """A stream on a device, seeded by a CPU stream; on the CPU that stream itself.

    For draws at every step: numbers differ from device to device, but the host draws none of them.
    """
    if device.type == "cpu":
        return generator
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """All parameters that are trained, by name, each once; norm layers and embeddings too."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def remembered(state: RuleState, name: str, like: Tensor) -> Tensor:
    """The tensor `name` of a rule's state, on the device of `like`.

    Raises:
        ValueError: if it is not there, or has another shape.
    """
    found = state.get(name)
    if found is None or found.shape != like.shape:
        fail(
            "state",
            f"must hold {name}, {tuple(like.shape)}",
            "none" if found is None else str(tuple(found.shape)),
            "Give what this rule's start() returned for this model; it remembers no weights that are computed "
            "(weight_norm).",
        )
    return found.to(like.device)
