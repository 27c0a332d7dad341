"""Rules of `dashtheory.rules` between tasks, network by network: numbers, module, rule, numbers.

A rule sees an ordinary module and the data of the tasks that are finished, a chunk each (`StreamTraining.replay`
of them, the newest last): what is to come is not known at a boundary. DASH's gradient is therefore that of
finished tasks here, while on a stream of one distribution the newest chunk is among its data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory.rules import Inject, L2Init, WarmRenewed, parse_spec
from dashtheory.rules.rule import Context, Learner, Rule, RuleState, from_the_start, overrides
from dashtheory.rules.spec import WARMUP
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples
from dashtheory.streams.stack import NetworkStack
from dashtheory.streams.steps import OptimizerState


@dataclass(frozen=True)
class Member:
    """A rule as written, and what it does to training.

    Attributes:
        text: such as "dash", "l2_init:l2=0.001", "warm:weight_decay=0.001".

    Raises:
        ValueError: if there is no such rule, it has a network or an optimizer of its own or is scored by another
            network, or an option is to be tuned.
    """

    text: str

    def __post_init__(self) -> None:
        spec, kind = parse_spec(self.text), type(self.rule)
        if spec.tuned:
            fail("rules", "must have numbers here", repr(self.text), "Tune them in runs of their own.")
        if WARMUP in spec.training:
            fail("rules", "must leave the step size as it is within a task", repr(self.text), f"Drop {WARMUP}.")
        own = from_the_start(self.rule) or overrides(self.rule, "evaluated")
        if (own or not set(kind.acts) <= {"between", "loss", "steps"}) and not isinstance(self.rule, WarmRenewed):
            rule = "must train and score the stream's network by its optimizer"
            fail("rules", rule, repr(self.text), "The stacked trainer has no other.")
        if isinstance(self.rule, Inject):
            fail(
                "rules",
                "must keep the layers that there are",
                repr(self.text),
                "Its network has other parameters.",
            )
        if getattr(self.rule, "counters", False):
            fail("counters", "must be no", repr(self.text), "The stacked trainer counts steps of whole networks.")

    @cached_property
    def rule(self) -> Rule:
        """The rule."""
        return parse_spec(self.text).rule

    @property
    def acts_while_training(self) -> bool:
        """Whether it is asked at every step; the pull of `l2_init` is in the stacked trainer."""
        return bool({"loss", "steps"} & set(self.rule.acts)) and not self._pulls

    @property
    def _pulls(self) -> bool:
        return isinstance(self.rule, L2Init) and self.rule.to == "own"

    def training(self, learning_rate: float) -> Training:
        """How it trains, given the stream's step size."""
        given = parse_spec(self.text).training
        pulls = self._pulls and isinstance(self.rule, L2Init) and self.rule.l2 > 0
        return Training(
            learning_rate=given.get("learning_rate", learning_rate),
            weight_decay=given.get("weight_decay", 0.0),
            form=self.rule.form if pulls and isinstance(self.rule, L2Init) else "",
            strength=self.rule.l2 if pulls and isinstance(self.rule, L2Init) else 0.0,
        )


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a replica trains with; rules that share it share their fresh twin.

    Attributes:
        learning_rate: of its steps.
        weight_decay: of its steps.
        form: of the pull to its start, as `L2Init`; "" for none.
        strength: of the pull.
    """

    learning_rate: float
    weight_decay: float = 0.0
    form: str = ""
    strength: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Boundary:
    """What rules may use between two tasks of a seed, or in one.

    Attributes:
        stack: the kind of network.
        seed: root seed.
        task: number of the task that begins, or trains.
        chunks: data of finished tasks, the newest last; while a task trains its own are the last.
        learning_rate: of the stream.
    """

    stack: NetworkStack
    seed: int
    task: int
    chunks: Sequence[Examples]
    learning_rate: float

    def context(self, state: RuleState, *, moment: str = "perturbation") -> Context:
        """For one rule; draws of a stream begin anew, so that the rules of a seed share them.

        Args:
            state: what the rule remembers.
            moment: name of the stream: "perturbation" between tasks; "loss", "steps" and "finish" in one.
        """

        def batches() -> list[tuple[object, object]]:
            return [(chunk.inputs, chunk.targets) for chunk in self.chunks]

        def draw(generator: torch.Generator) -> nn.Module:
            return self.stack.as_module(self.stack.draw(generator))

        return Context(
            chunks=batches,
            loss_fn=self.stack.loss,
            fresh=lambda: self.learner(draw(torch_stream(self.seed, "init", self.task))),
            generator=torch_stream(self.seed, moment, self.task),
            renew=self._optimizer,
            state=state,
            draw=draw,
        )

    def learner(self, module: nn.Module) -> Learner:
        """A module with an optimizer, which stands for the stacked one: whether it is kept is what counts."""
        return Learner(module, self._optimizer(module))

    def _optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(module.parameters(), lr=self.learning_rate)


def remembered_at_start(members: Sequence[Member], stack: NetworkStack, first: Tensor) -> list[RuleState]:
    """What each rule remembers of a seed's first network.

    Args:
        members: the rules.
        stack: the kind of network.
        first: its numbers, (D,).
    """
    found: list[RuleState] = []
    for member in members:
        module = stack.as_module(first)
        learner = Learner(module, torch.optim.SGD(module.parameters(), lr=1.0))
        found.append({name: value.clone() for name, value in member.rule.start(learner).items()})
    return found


def apply_rules_(
    members: Sequence[Member],
    flat: Tensor,
    optimizer: OptimizerState,
    boundaries: Sequence[Boundary],
    states: Sequence[Sequence[Mapping[str, Any]]],
) -> None:
    """Apply each rule to its network of every seed, in place.

    Args:
        members: a rule per replica.
        flat: (S, P, D).
        optimizer: begins anew where a rule gives another optimizer.
        boundaries: one per seed.
        states: what rules remember, by seed and replica.
    """
    for seed, boundary in enumerate(boundaries):
        for replica, member in enumerate(members):
            if not member.rule.acts or isinstance(member.rule, L2Init):
                continue  # nothing happens between tasks
            before = boundary.learner(boundary.stack.as_module(flat[seed, replica]))
            after, _ = member.rule.apply(before, boundary.context(states[seed][replica]))
            flat[seed, replica] = boundary.stack.from_module(after.model)
            if after.optimizer is not before.optimizer:
                optimizer.renew_(seed, replica)
