"""Loss and accuracy of a model on examples, each target weighing the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashtheory.stream import Examples

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Mean loss and accuracy, each target weighing the same.

    Attributes:
        loss: nats per target.
        accuracy: right predictions over targets.
    """

    loss: float
    accuracy: float


class Sums:
    """Loss and right predictions of an epoch, summed on the device.

    Args:
        device: of the tensors that are summed.
    """

    def __init__(self, device: torch.device) -> None:
        kind = torch.float32 if device.type == "mps" else torch.float64
        self.loss = torch.zeros((), dtype=kind, device=device)
        self.right = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            loss: its mean.
            logits: (..., classes).
            targets: (...).
        """
        self.loss += loss * targets.numel()
        self.right += num_right(logits, targets)

    def clear(self) -> None:
        """Begin an epoch."""
        self.loss.zero_()
        self.right.zero_()

    def read(self, count: int) -> Scores:
        """Means over `count` targets: the one place where the host waits for the device."""
        loss, right = torch.stack([self.loss, self.right.to(self.loss.dtype)]).tolist()
        return Scores(loss=loss / count, accuracy=right / count)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats over all targets.

    Args:
        logits: (..., classes).
        targets: int64 (...), the same leading axes.
    """
    return torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def num_right(logits: Tensor, targets: Tensor) -> Tensor:
    """Number of targets whose logit is the largest; a scalar tensor, so that no device waits."""
    return (logits.argmax(dim=-1) == targets).sum()


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
        model: any model of logits (..., classes).
        examples: on its device.
        loss_fn: mean loss of (logits, targets).
        batch_size: of the evaluation.
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
