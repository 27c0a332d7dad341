"""Rules that act while a task trains, each on its own network of the stack.

A rule sees its network as an ordinary module whose parameters are views of the stack's numbers, with an optimizer
of torch whose averages are views of the stacked ones: what it changes in place, it changes there. Its penalties
are differentiated by torch and added to the stack's gradient; before a step its network passes over the batch once
more, so that activations can be looked at. That costs about what training this network alone would.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashtheory.rules.rule import AfterStep, BatchPenalty, Learner, Rule, RuleState
from dashtheory.streams.boundary import Boundary, Member
from dashtheory.streams.stack import NetworkStack
from dashtheory.streams.steps import OptimizerState


@dataclass(eq=False, kw_only=True)
class Guest:
    """A rule in one task of one seed.

    Attributes:
        rule: that acts while training.
        seed: place of its seed.
        learner: the network and optimizer that it sees.
        slopes: its network's gradient, views in the order of its parameters.
        boundary: what it may use.
        state: what it remembers.
        penalty: as `Rule.penalty`.
        batch_penalty: as `Rule.batch_penalty`.
        hook: as `Rule.after_step`.
        steps: of the task so far.
    """

    rule: Rule
    seed: int
    learner: Learner
    slopes: list[Tensor]
    boundary: Boundary
    state: RuleState
    penalty: Callable[[], Tensor] | None
    batch_penalty: BatchPenalty | None
    hook: AfterStep | None
    steps: int = 0

    def look(self, inputs: Tensor, targets: Tensor) -> None:
        """Before a step: add the penalties' gradient to that of the loss, and let the network pass over the batch.

        Args:
            inputs: of the batch, of its seed.
            targets: of the batch.
        """
        values = list(self.learner.model.parameters())
        terms = [] if self.penalty is None else [self.penalty()]
        if self.hook is not None or self.batch_penalty is not None:
            outputs = self.learner.model(inputs)
            terms += [] if self.batch_penalty is None else [self.batch_penalty(inputs, targets, outputs)]
        if terms:
            found = torch.autograd.grad(torch.stack(terms).sum(), values, allow_unused=True)
            for slope, more in zip(self.slopes, found, strict=True):
                if more is not None:
                    slope.add_(more)
        if self.hook is not None:
            for value, slope in zip(values, self.slopes, strict=True):
                value.grad = slope.clone()

    def follow(self) -> None:
        """After a step."""
        self.steps += 1
        if self.hook is not None and self.steps % self.hook.every == 0:
            self.hook.call(self.steps)

    def finish(self) -> RuleState:
        """At the end of the task: what the rule remembers from then on."""
        self.close()
        return self.rule.finish(self.learner, self.boundary.context(self.state, moment="finish"))

    def close(self) -> None:
        """Remove hooks."""
        if self.hook is not None:
            self.hook.close()


@dataclass(frozen=True, kw_only=True, eq=False)
class Networks:
    """All networks of a stack and how they are trained.

    Attributes:
        stack: the kind of network.
        flat: their numbers, (S, P, D), rules first.
        slope: gradient, like `flat`.
        optimizer: stacked.
        momentum: of descent.
    """

    stack: NetworkStack
    flat: Tensor
    slope: Tensor
    optimizer: OptimizerState
    momentum: float

    def views(self, whole: Tensor, seed: int, replica: int) -> list[Tensor]:
        """Weights and biases of one network, layer by layer, in a tensor of the shape of all."""
        row = seed * whole.shape[1] + replica
        return [part[row] for layer in self.stack.layers(whole) for part in layer]

    def learner(self, seed: int, replica: int, learning_rate: float) -> Learner:
        """One network with its optimizer: views."""
        values = [nn.Parameter(value) for value in self.views(self.flat, seed, replica)]
        module = self.stack.module()
        for place, layer in enumerate(part for part in module if isinstance(part, nn.Linear)):
            layer.weight, layer.bias = values[2 * place : 2 * place + 2]
        first = self.views(self.optimizer.first, seed, replica)
        shown: torch.optim.Optimizer
        if self.optimizer.second.numel():
            shown = torch.optim.Adam(values, lr=learning_rate)
            second = self.views(self.optimizer.second, seed, replica)
            for value, mean, square in zip(values, first, second, strict=True):
                shown.state[value] = {"exp_avg": mean, "exp_avg_sq": square}
        else:
            shown = torch.optim.SGD(values, lr=learning_rate, momentum=self.momentum)
            for value, mean in zip(values, first, strict=True) if self.momentum else ():
                shown.state[value] = {"momentum_buffer": mean}
        return Learner(module, shown)


def guests_of(
    members: Sequence[Member],
    networks: Networks,
    boundaries: Sequence[Boundary],
    states: Sequence[Sequence[RuleState]],
) -> dict[tuple[int, int], Guest]:
    """The rules that act while training, by places of seed and rule.

    Args:
        members: a rule per replica.
        networks: of all replicas.
        boundaries: one per seed, with the data of the task as the last chunk.
        states: what rules remember, by seed and replica.
    """
    places = itertools.product(range(len(boundaries)), range(len(members)))
    return {
        (seed, replica): _guest(members[replica], networks, boundaries[seed], states[seed][replica], seed, replica)
        for seed, replica in places
        if members[replica].acts_while_training
    }


def _guest(
    member: Member, networks: Networks, boundary: Boundary, state: RuleState, seed: int, replica: int
) -> Guest:
    rule = member.rule
    learner = networks.learner(seed, replica, member.training(boundary.learning_rate).learning_rate)
    return Guest(
        rule=rule,
        seed=seed,
        learner=learner,
        slopes=networks.views(networks.slope, seed, replica),
        boundary=boundary,
        state=state,
        penalty=rule.penalty(learner.model, state),
        batch_penalty=rule.batch_penalty(learner.model, boundary.context(state, moment="loss")),
        hook=rule.after_step(learner, boundary.context(state, moment="steps")),
    )
