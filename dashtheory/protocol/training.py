"""One stage: train a learner on its examples until an epoch's mean reaches a threshold, and evaluate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory._door import door
from dashtheory.errors import Diverged
from dashtheory.evaluate import Scores, cross_entropy
from dashtheory.protocol.engine import Augmentation, Engine, Epoch, MakeEngine, PlainEngine, Work
from dashtheory.protocol.settings import Schedule, TrainConfig
from dashtheory.rules import AfterStep, BatchPenalty, Learner
from dashtheory.scoring import ScoreChoice
from dashtheory.stream import Examples

Criterion = Literal["loss", "accuracy", "epochs"]
Status = Literal["converged", "epoch_cap", "all_epochs"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a stage took.

    Attributes:
        status: "converged"; "epoch_cap" if the cap came first; "all_epochs" if their number was the criterion.
        steps: optimizer steps.
        epochs: passes over the examples.
        last_epoch: means over the last epoch, each batch scored before its step.
    """

    status: Status
    steps: int
    epochs: int
    last_epoch: Scores


@door()
def train(
    learner: Learner,
    examples: Examples,
    config: TrainConfig,
    generator: torch.Generator,
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    score: ScoreChoice = None,
    on_epoch: Callable[[int, Scores], None] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    make_engine: MakeEngine = PlainEngine,
    schedule: Schedule | None = None,
    augmentation: Augmentation | None = None,
    draws: torch.Generator | None = None,
    batch_penalty: BatchPenalty | None = None,
    after_step: AfterStep | None = None,
    begun: tuple[int, Scores] | None = None,
) -> Training:
    """Train until the mean over an epoch reaches the threshold, or the epoch cap; at least one epoch.

    The mean is over the targets that count, each scored in training mode on the weights before the step that uses
    it. The model is left in training mode.

    Args:
        learner: trained in place.
        examples: all data of the stage, on the model's device.
        config: batch size and criterion.
        generator: CPU stream of the order of examples, one permutation an epoch.
        loss_fn: mean loss of (logits (..., classes), targets (...)).
        score: what is right and what counts (`dashtheory.scoring`); None where loss and shapes leave one way.
        on_epoch: told the number of epochs done and their last scores; must not touch the learner.
        penalty: added to the loss of every step, such as `Rule.penalty` gives. Scores are of the loss alone.
        make_engine: how epochs are trained.
        schedule: of the step size, from the optimizer's own at the start of its first stage; None leaves it alone.
        augmentation: of the inputs.
        draws: its CPU stream.
        batch_penalty: of (inputs, targets, logits), added to the loss of every step; as `penalty`.
        after_step: what follows every so many steps; closed at the end, whatever that is.
        begun: epochs that are done and the scores of the last, where learner and streams are those after them.

    Returns:
        `Training`.

    Raises:
        dashtheory.errors.Diverged: if the loss becomes NaN or infinite.
        ValueError: if an augmentation has no stream, if it is not certain how targets are scored, if accuracy is
            the criterion of a regression, or if the optimizer does not keep torch's contract:
            `step(closure)` calls the closure, which does the forward and backward pass, at least once. An
            optimizer that calls it again at other weights (SAM) meets the penalty there too; scores are of the
            first call.
    """
    if augmentation is not None and draws is None:
        fail("draws", "must be a generator with an augmentation", "None", "Give its stream.")
    learner.model.train()
    work = Work(
        learner=learner,
        examples=examples,
        batch_size=config.batch_size,
        loss_fn=loss_fn,
        score=score,
        penalty=penalty,
        augmentation=augmentation,
        batch_penalty=batch_penalty,
        after_step=after_step,
    )
    try:
        return _trained(work, config, generator, make_engine(work), on_epoch, schedule, draws, begun)
    finally:
        if after_step is not None:
            after_step.close()


def _trained(
    work: Work,
    config: TrainConfig,
    generator: torch.Generator,
    engine: Engine,
    on_epoch: Callable[[int, Scores], None] | None,
    schedule: Schedule | None,
    draws: torch.Generator | None,
    begun: tuple[int, Scores] | None,
) -> Training:
    """Epoch after epoch until the criterion or the cap."""
    epoch, scores = begun or (0, Scores(loss=math.nan, accuracy=math.nan))
    while epoch < config.max_epochs and not (epoch and _reached(scores, config)):
        epoch += 1
        scores = engine.run(_prepared(work, epoch, generator, draws, schedule))
        if not math.isfinite(scores.loss):
            fail(
                "loss",
                "must stay finite in training",
                f"{scores.loss} in epoch {epoch}",
                "Lower the learning rate.",
                error=Diverged,
            )
        if config.criterion == "accuracy" and math.isnan(scores.accuracy):
            fail(
                "criterion",
                "must be loss or epochs where nothing is right or wrong",
                "accuracy",
                "Say criterion='loss' or criterion='epochs'.",
            )
        if on_epoch is not None:
            on_epoch(epoch, scores)
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


def _reached(scores: Scores, config: TrainConfig) -> bool:
    if config.criterion == "epochs":
        return False
    if config.criterion == "loss":
        return scores.loss <= config.threshold
    return scores.accuracy >= config.threshold
