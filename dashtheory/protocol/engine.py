"""How an epoch is trained: what an engine is given, and the readable one.

An engine takes the optimizer steps of an epoch. `PlainEngine` is the definition: take a batch, look at it, go
back, step. `dashtheory.protocol` has one that does the same on an accelerator without the host in its way. Both
see the same order, the same draws and the same step sizes, which are made outside, so that they can be compared to
the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory.batchnorm import frozen_running_statistics
from dashtheory.evaluate import LossFunction, Scores, Sums
from dashtheory.rules import AfterStep, BatchPenalty, Learner
from dashtheory.scoring import ScoreChoice, make_score
from dashtheory.stream import Examples


class Augmentation(Protocol):
    """A random change of inputs, its draws made apart from its arithmetic, so that any device gets the same."""

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Random numbers for `number` examples: a CPU tensor (number, ...)."""
        ...

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """`inputs` (n, ...) changed as `draws` (n, ...) says, both on one device; a new tensor."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What an engine trains in a stage.

    Attributes:
        learner: trained in place.
        examples: of the stage, on the model's device.
        batch_size: examples per step; a smaller last batch is kept.
        loss_fn: mean loss of (logits, targets).
        score: what is right and what counts (`dashtheory.scoring`); None where loss and shapes leave one way.
        penalty: added to the loss of every step, or None.
        augmentation: of the inputs of every batch, or None.
        batch_penalty: of (inputs, targets, logits), added to the loss of every step too, or None.
        after_step: what follows every so many steps, or None.
    """

    learner: Learner
    examples: Examples
    batch_size: int
    loss_fn: LossFunction
    score: ScoreChoice = None
    penalty: Callable[[], Tensor] | None = None
    augmentation: Augmentation | None = None
    batch_penalty: BatchPenalty | None = None
    after_step: AfterStep | None = None

    @property
    def num_steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.examples) // self.batch_size)

    def sums(self) -> Sums:
        """Of an epoch, not yet begun."""
        score = make_score(self.score, self.loss_fn, self.examples.targets)
        return Sums(self.examples.inputs.device, score, count=self.examples.targets.numel())


@dataclass(frozen=True, kw_only=True, eq=False)
class Epoch:
    """What differs from epoch to epoch.

    Attributes:
        order: int64 (n,), on the CPU: a permutation of the examples.
        draws: of the augmentation, (n, ...), in the order of visits, or None.
        rates: step size of each step and group of parameters; None leaves them be.
    """

    order: Tensor
    draws: Tensor | None = None
    rates: Sequence[Sequence[float]] | None = None


class Engine(Protocol):
    """Trains epochs of one stage."""

    def run(self, epoch: Epoch) -> Scores:
        """Take the steps of an epoch; means over it, each batch scored before its step, in training mode."""
        ...


MakeEngine = Callable[[Work], Engine]
"""Makes the engine of a stage."""


class PlainEngine:
    """One batch after another, in the plainest way; scores are summed on the device and read once an epoch.

    Args:
        work: of the stage.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.steps = 0

    def run(self, epoch: Epoch) -> Scores:
        """As `Engine.run`."""
        work, examples = self.work, self.work.examples
        device = examples.inputs.device
        sums = work.sums()
        for step, index in enumerate(epoch.order.to(device).split(work.batch_size)):
            batch = examples.take(index)
            if work.augmentation is not None and epoch.draws is not None:
                start = step * work.batch_size
                draws = epoch.draws[start : start + len(batch)].to(device)
                batch = Examples(work.augmentation(batch.inputs, draws), batch.targets)
            set_rates(work.learner.optimizer, None if epoch.rates is None else epoch.rates[step])
            loss, logits = take_step(work, batch)
            sums.add(loss, logits, batch.targets)
            self.steps += 1
            follow_step(work, self.steps)
        return sums.read()


def set_rates(optimizer: torch.optim.Optimizer, rates: Sequence[float] | None) -> None:
    """Set the step size of each group of parameters; None leaves them as they are."""
    if rates is not None:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def follow_step(work: Work, steps: int) -> None:
    """What a rule does after a step, if it is due after `steps` steps of the stage."""
    if work.after_step is not None and steps % work.after_step.every == 0:
        work.after_step.call(steps)


def take_step(work: Work, batch: Examples) -> tuple[Tensor, Tensor]:
    """One step of the optimizer; loss and logits of the weights before it.

    Raises:
        ValueError: if the optimizer does not call the closure of its step.
    """
    first: list[tuple[Tensor, Tensor]] = []
    learner = work.learner

    def closure() -> Tensor:
        # A batch counts once in the running statistics, however often the optimizer looks at it.
        with frozen_running_statistics(learner.model) if first else nullcontext():
            logits = learner.model(batch.inputs)
        loss = work.loss_fn(logits, batch.targets)
        learner.optimizer.zero_grad(set_to_none=True)
        total = loss if work.penalty is None else loss + work.penalty()
        if work.batch_penalty is not None:
            total = total + work.batch_penalty(batch.inputs, batch.targets, logits)
        total.backward()
        if not first:
            first.append((loss.detach(), logits.detach()))
        return total

    learner.optimizer.step(closure)  # type: ignore[arg-type]
    if not first:
        fail(
            "optimizer", "must call the closure of its step", type(learner.optimizer).__name__, "See torch.optim."
        )
    return first[0]
