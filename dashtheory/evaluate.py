"""Loss and accuracy of a model on examples, each target that counts weighing the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dashtheory._check import fail, integer
from dashtheory._door import door
from dashtheory.losses import class_weights
from dashtheory.scoring import (
    LossFunction,
    Score,
    ScoreChoice,
    Scoring,
    cross_entropy,
    make_score,
    num_right,
)
from dashtheory.stream import Examples

__all__ = ["LossFunction", "Scores", "Sums", "cross_entropy", "evaluate", "evaluating", "num_right"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Mean loss and accuracy, each target that counts weighing the same.

    Attributes:
        loss: nats per target.
        accuracy: right predictions over targets; NaN where nothing is right or wrong (regression).
    """

    loss: float
    accuracy: float


class Sums:
    """Loss, right predictions and counted targets of an epoch, summed on the device.

    Args:
        device: of the tensors that are summed.
        score: of a batch.
        count: targets of an epoch, if all of them count: then they need not be counted.
    """

    def __init__(self, device: torch.device, score: Score | None = None, *, count: int | None = None) -> None:
        kind = torch.float32 if device.type == "mps" else torch.float64
        self.score = Scoring("classes") if score is None else score
        self.count = count if isinstance(self.score, Scoring) and self.score.counts_all else None
        self.loss = torch.zeros((), dtype=kind, device=device)
        self.right = torch.zeros((), dtype=torch.int64, device=device)
        self.counted = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            loss: its mean over the targets that count; what it is counts nothing if none does.
            logits: outputs of the model.
            targets: of the batch.
        """
        if self.count is not None and isinstance(self.score, Scoring):
            self.loss += loss * targets.numel()
            self.right += self.score.num_right(logits, targets)
            return
        right, counted = self.score(logits, targets)
        self.loss += torch.where(counted > 0, loss * counted, 0)
        if right.is_floating_point() and not self.right.is_floating_point():
            self.right = self.right.to(self.loss.dtype)
        if counted.is_floating_point() and not self.counted.is_floating_point():
            self.counted = self.counted.to(self.loss.dtype)
        self.right += right
        self.counted += counted

    def clear(self) -> None:
        """Begin an epoch."""
        for total in (self.loss, self.right, self.counted):
            total.zero_()

    def read(self) -> Scores:
        """Means over the targets that count: the one place where the host waits for the device.

        Raises:
            ValueError: if no target counts.
        """
        totals = (self.loss, self.right.to(self.loss.dtype), self.counted.to(self.loss.dtype))
        loss, right, count = torch.stack(totals).tolist()
        count = count if self.count is None else self.count
        if not count > 0:
            fail("targets", "must hold one that counts", "none", "All are padding: leave such examples out.")
        return Scores(loss=loss / count, accuracy=right / count)


@door()
@torch.no_grad()
def evaluate(
    model: nn.Module,
    examples: Examples,
    *,
    loss_fn: LossFunction = cross_entropy,
    score: ScoreChoice = None,
    batch_size: int = 1000,
) -> Scores:
    """Loss and accuracy in evaluation mode; each target that counts weighs the same, the last short batch's too.

    (In the loss of torch's cross-entropy with class weights, by the weight of its class.)

    The model is left as it was: modes, statistics, gradients and random streams.

    Args:
        model: any model.
        examples: on its device.
        loss_fn: mean loss of (outputs, targets).
        score: what is right and what counts (`dashtheory.scoring`); None where loss and shapes leave one way.
        batch_size: of the evaluation.

    Raises:
        ValueError: if the score must be named, or no target counts.
    """
    integer("batch_size", batch_size, minimum=1, fix="It counts examples.")
    with evaluating(model):
        sums = Sums(
            examples.inputs.device, make_score(score, loss_fn, examples.targets), count=examples.targets.numel()
        )
        weighed: list[Tensor] = []  # of batches whose mean divides by weights of classes: their loss, and weight
        for start in range(0, len(examples), batch_size):
            labels = examples.targets[start : start + batch_size]
            logits = model(examples.inputs[start : start + batch_size])
            loss, weight = loss_fn(logits, labels).to(sums.loss.dtype), class_weights(loss_fn, labels)
            sums.add(loss, logits, labels)
            if weight is not None:
                weighed.append(torch.stack([torch.where(weight > 0, loss * weight, 0), weight.to(loss.dtype)]))
    found = sums.read()
    if len(weighed) < 2:
        return found
    loss, weight = torch.stack(weighed).sum(dim=0)
    return replace(found, loss=float(loss / weight))


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
