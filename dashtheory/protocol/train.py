"""One stage: train a learner on its examples until an epoch's mean reaches a threshold, and evaluate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, integer, real
from dashtheory.errors import Diverged
from dashtheory.protocol.engine import (
    Augmentation,
    Epoch,
    MakeEngine,
    PlainEngine,
    Schedule,
    Scores,
    Sums,
    Work,
    cross_entropy,
    num_right,
)
from dashtheory.protocol.stream import Examples
from dashtheory.shrink import Learner

__all__ = ["Scores", "TrainConfig", "Training", "cross_entropy", "evaluate", "evaluating", "num_right", "train"]

Criterion = Literal["loss", "accuracy", "epochs"]
Status = Literal["converged", "epoch_cap", "all_epochs"]
CRITERIA = ("loss", "accuracy", "epochs")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a stage is trained, and when it ends.

    Raises: ValueError if a value is out of range.
    """

    batch_size: int = field(default=128, metadata={"help": "examples per step; a smaller last batch is kept"})
    criterion: str = field(
        default="accuracy",
        metadata={
            "help": "what must reach the threshold: loss, accuracy; epochs: nothing, all max_epochs are run"
        },
    )
    threshold: float = field(
        default=0.999, metadata={"help": "of the epoch's mean (loss in nats; accuracy 0 to 1)"}
    )
    max_epochs: int = field(default=1000, metadata={"help": "epochs after which a stage ends unconverged"})

    def __post_init__(self) -> None:
        integer("batch_size", self.batch_size, minimum=1, fix="It counts examples.")
        integer("max_epochs", self.max_epochs, minimum=1, fix="It counts epochs.")
        choice("criterion", self.criterion, CRITERIA)
        real(
            "threshold",
            self.threshold,
            low=0,
            high=float("inf") if self.criterion == "loss" else 1,
            fix="Accuracies are fractions; losses are in nats.",
        )


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a stage took.

    Attributes:
        status: "converged"; "epoch_cap" if the cap came first; "all_epochs" if their number was the criterion.
        steps: optimizer steps. epochs: passes over the examples.
        last_epoch: means over the last epoch, each batch scored before its step.
    """

    status: Status
    steps: int
    epochs: int
    last_epoch: Scores


def train(
    learner: Learner,
    examples: Examples,
    config: TrainConfig,
    generator: torch.Generator,
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    on_epoch: Callable[[int, Scores], None] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    make_engine: MakeEngine = PlainEngine,
    schedule: Schedule | None = None,
    augmentation: Augmentation | None = None,
    draws: torch.Generator | None = None,
) -> Training:
    """Train until the mean over an epoch reaches the threshold, or the epoch cap; at least one epoch.

    The mean is over targets, each scored in training mode on the weights before the step that uses it. The
    model is left in training mode.

    Args:
        learner: trained in place. examples: all data of the stage, on the model's device.
        config: batch size and criterion. generator: CPU stream of the order of examples, one permutation an epoch.
        loss_fn: mean loss of (logits (..., classes), targets (...)).
        on_epoch: told the number of epochs done and their last scores; must not touch the learner.
        penalty: added to the loss of every step, such as `Rule.penalty` gives. Scores are of the loss alone.
        make_engine: how epochs are trained. schedule: of the step size, from the optimizer's own at the start of
            its first stage; None leaves it alone. augmentation: of the inputs; draws: its CPU stream.
    Returns: `Training`.
    Raises: `dashtheory.errors.Diverged` if the loss becomes NaN or infinite; ValueError if an augmentation has no
        stream, or if the optimizer does not keep torch's contract:
        `step(closure)` calls the closure, which does the forward and backward pass, at least once. An optimizer
        that calls it again at other weights (SAM) meets the penalty there too; scores are of the first call.
    """
    if augmentation is not None and draws is None:
        fail("draws", "must be a generator with an augmentation", "None", "Give its stream.")
    learner.model.train()
    work = Work(
        learner=learner,
        examples=examples,
        batch_size=config.batch_size,
        loss_fn=loss_fn,
        penalty=penalty,
        augmentation=augmentation,
    )
    engine = make_engine(work)
    for epoch in range(1, config.max_epochs + 1):
        scores = engine.run(_prepared(work, epoch, generator, draws, schedule))
        if not math.isfinite(scores.loss):
            fail(
                "loss",
                "must stay finite in training",
                f"{scores.loss} in epoch {epoch}",
                "Lower the learning rate.",
                error=Diverged,
            )
        if on_epoch is not None:
            on_epoch(epoch, scores)
        if _reached(scores, config):
            break
    status: Status = "converged" if _reached(scores, config) else "epoch_cap"
    if config.criterion == "epochs":
        status = "all_epochs"
    return Training(status=status, steps=epoch * work.num_steps, epochs=epoch, last_epoch=scores)


def _prepared(
    work: Work,
    epoch: int,
    generator: torch.Generator,
    draws: torch.Generator | None,
    schedule: Schedule | None,
) -> Epoch:
    """All that is random or scheduled in an epoch (counted from 1)."""
    number = len(work.examples)
    order = torch.randperm(number, generator=generator)
    drawn = None if work.augmentation is None or draws is None else work.augmentation.draw(number, draws)
    if schedule is None:
        return Epoch(order=order, draws=drawn)
    groups = work.learner.optimizer.param_groups
    base = [group.setdefault("initial_lr", group["lr"]) for group in groups]
    factors = schedule.factors(epoch, work.num_steps)
    return Epoch(order=order, draws=drawn, rates=[[factor * rate for rate in base] for factor in factors])


@torch.no_grad()
def evaluate(
    model: nn.Module,
    examples: Examples,
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    batch_size: int = 1000,
) -> Scores:
    """Loss and accuracy in evaluation mode; each target weighs the same, the last short batch's too.

    The model is left as it was: modes, statistics, gradients and random streams.

    Args:
        model: any model of logits (..., classes). examples: on its device. batch_size: of the evaluation.
    """
    with evaluating(model):
        sums = Sums(examples.inputs.device)
        for start in range(0, len(examples), batch_size):
            labels = examples.targets[start : start + batch_size]
            logits = model(examples.inputs[start : start + batch_size])
            sums.add(loss_fn(logits, labels).to(sums.loss.dtype), logits, labels)
    return sums.read(examples.targets.numel())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every submodule in evaluation mode, and each back in the mode it had; keep the random streams."""
    modes = {module: module.training for module in model.modules()}
    cuda = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda):
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def _reached(scores: Scores, config: TrainConfig) -> bool:
    if config.criterion == "epochs":
        return False
    if config.criterion == "loss":
        return scores.loss <= config.threshold
    return scores.accuracy >= config.threshold
