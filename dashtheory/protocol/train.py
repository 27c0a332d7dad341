"""One stage: train a learner on its examples until an epoch's mean reaches a threshold, and evaluate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory._check import choice, fail, integer, real
from dashtheory.protocol.statistics import frozen_running_statistics
from dashtheory.protocol.stream import Examples
from dashtheory.shrink import Learner

Criterion = Literal["loss", "accuracy"]
Status = Literal["converged", "epoch_cap"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a stage is trained, and when it ends.

    Raises: ValueError if a value is out of range.
    """

    batch_size: int = field(default=128, metadata={"help": "examples per step; a smaller last batch is kept"})
    criterion: str = field(default="accuracy", metadata={"help": "what must reach the threshold: loss, accuracy"})
    threshold: float = field(
        default=0.999, metadata={"help": "of the epoch's mean (loss in nats; accuracy 0 to 1)"}
    )
    max_epochs: int = field(default=1000, metadata={"help": "epochs after which a stage ends unconverged"})

    def __post_init__(self) -> None:
        integer("batch_size", self.batch_size, minimum=1, fix="It counts examples.")
        integer("max_epochs", self.max_epochs, minimum=1, fix="It counts epochs.")
        choice("criterion", self.criterion, ("loss", "accuracy"))
        real(
            "threshold",
            self.threshold,
            low=0,
            high=1 if self.criterion == "accuracy" else float("inf"),
            fix="Accuracies are fractions; losses are in nats.",
        )


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Mean loss and accuracy, each target weighing the same.

    Attributes:
        loss: nats per target. accuracy: right predictions over targets.
    """

    loss: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a stage took.

    Attributes:
        status: "converged", or "epoch_cap" if the cap came first.
        steps: optimizer steps. epochs: passes over the examples.
        last_epoch: means over the last epoch, each batch scored before its step.
    """

    status: Status
    steps: int
    epochs: int
    last_epoch: Scores


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats over all targets.

    Args:
        logits: (..., classes). targets: int64 (...), the same leading axes.
    """
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def num_right(logits: Tensor, targets: Tensor) -> Tensor:
    """Number of targets whose logit is the largest; a scalar tensor, so that no device waits."""
    return (logits.argmax(dim=-1) == targets).sum()


def train(
    learner: Learner,
    examples: Examples,
    config: TrainConfig,
    generator: torch.Generator,
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    on_epoch: Callable[[int, Scores], None] | None = None,
    penalty: Callable[[], Tensor] | None = None,
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
    Returns: `Training`.
    Raises: ValueError if the loss becomes NaN or infinite, or if the optimizer does not keep torch's contract:
        `step(closure)` calls the closure, which does the forward and backward pass, at least once. An optimizer
        that calls it again at other weights (SAM) meets the penalty there too; scores are of the first call.
    """
    learner.model.train()
    steps = 0
    for epoch in range(1, config.max_epochs + 1):
        order = torch.randperm(len(examples), generator=generator).to(examples.inputs.device)
        scores = _train_epoch(learner, examples, order.split(config.batch_size), loss_fn, penalty)
        steps += -(-len(examples) // config.batch_size)
        if not math.isfinite(scores.loss):
            fail(
                "loss",
                "must stay finite in training",
                f"{scores.loss} in epoch {epoch}",
                "Lower the learning rate.",
            )
        if on_epoch is not None:
            on_epoch(epoch, scores)
        if _reached(scores, config):
            return Training(status="converged", steps=steps, epochs=epoch, last_epoch=scores)
    return Training(status="epoch_cap", steps=steps, epochs=config.max_epochs, last_epoch=scores)


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
        loss, right, targets = 0.0, 0, 0
        for start in range(0, len(examples), batch_size):
            labels = examples.targets[start : start + batch_size]
            logits = model(examples.inputs[start : start + batch_size])
            loss += float(loss_fn(logits, labels)) * labels.numel()
            right += int(num_right(logits, labels))
            targets += labels.numel()
    return Scores(loss=loss / targets, accuracy=right / targets)


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


def _train_epoch(
    learner: Learner,
    examples: Examples,
    batches: tuple[Tensor, ...],
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    penalty: Callable[[], Tensor] | None,
) -> Scores:
    """One pass; scores are summed on the device and read once."""
    loss_sum = torch.zeros((), dtype=torch.float64 if examples.inputs.device.type != "mps" else torch.float32)
    loss_sum = loss_sum.to(examples.inputs.device)
    right = torch.zeros((), dtype=torch.int64, device=examples.inputs.device)
    for index in batches:
        batch = examples.take(index)
        loss, logits = _step(learner, batch, loss_fn, penalty)
        loss_sum += loss * batch.targets.numel()
        right += num_right(logits, batch.targets)
    count = examples.targets.numel()
    return Scores(loss=float(loss_sum) / count, accuracy=int(right) / count)


def _step(
    learner: Learner,
    batch: Examples,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    penalty: Callable[[], Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """One step of the optimizer; loss and logits of the weights before it."""
    first: list[tuple[Tensor, Tensor]] = []

    def closure() -> Tensor:
        # A batch counts once in the running statistics, however often the optimizer looks at it.
        with frozen_running_statistics(learner.model) if first else nullcontext():
            logits = learner.model(batch.inputs)
        loss = loss_fn(logits, batch.targets)
        learner.optimizer.zero_grad(set_to_none=True)
        total = loss if penalty is None else loss + penalty()
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


def _reached(scores: Scores, config: TrainConfig) -> bool:
    if config.criterion == "loss":
        return scores.loss <= config.threshold
    return scores.accuracy >= config.threshold
