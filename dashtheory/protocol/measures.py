"""Measures of a learner between and within stages, taken on copies: none of them changes a run.

Right after a rule has scaled weights, the running statistics of batch normalisation no longer fit them, and
accuracy reads as chance; `reestimated` gives the network with statistics taken anew over given data, and every
accuracy here comes in both forms where the network has such statistics.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dashtheory._check import integer
from dashtheory.protocol.stream import Examples, join
from dashtheory.protocol.train import Scores, cross_entropy, evaluate, evaluating
from dashtheory.shrink import dash_factors, targets

LossFunction = Callable[[Tensor, Tensor], Tensor]
_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What to measure beside training and test scores.

    Attributes:
        reestimate: test accuracy with batch-norm statistics re-estimated on the stage's training data.
        retention: training accuracy on the old chunks right after the rule, and after each of so many epochs of
            the stage (0: only right after the rule; -1: not at all).
        gradients: norm of the loss gradient on old, new and all data at the start of the stage.
        weights: norm of the shrinkable weights at the start and the end of the stage.
        alignment: mean cosine of the groups of weights with the negative gradient on all data, at the start of the
            stage and after each of so many epochs (-1: not at all).
        seconds: wall time of the rule and of the training of each stage, the only measure that differs from run
            to run: off by default, so that tables can be compared to the byte.
    Raises: ValueError if a number is out of range.
    """

    reestimate: bool = field(default=True, metadata={"help": "test accuracy with re-estimated statistics"})
    retention: int = field(default=0, metadata={"help": "epochs over which old training accuracy is followed"})
    gradients: bool = field(default=False, metadata={"help": "gradient norms at the start of a stage"})
    weights: bool = field(default=True, metadata={"help": "norm of the weights"})
    alignment: int = field(default=-1, metadata={"help": "epochs over which the alignment is followed"})
    seconds: bool = field(default=False, metadata={"help": "wall time of rule and training"})

    def __post_init__(self) -> None:
        for name in ("retention", "alignment"):
            integer(name, getattr(self, name), minimum=-1, fix="It counts epochs; -1 leaves the measure out.")

    def at_start(
        self, model: nn.Module, chunks: Sequence[Examples], loss_fn: LossFunction = cross_entropy
    ) -> dict[str, float]:
        """Measures after the rule, before the stage's first step.

        Args: model: unchanged by it. chunks: of the stage, the newest last. loss_fn: mean loss.
        Returns: numbers by name.
        """
        old, new = chunks[:-1], chunks[-1]
        found = self._followed(model, chunks, 0, loss_fn)
        if self.weights:
            found["weight_norm_at_start"] = weight_norm(model)
        if self.gradients:
            parts = {"new": [new], "all": list(chunks), **({"old": list(old)} if old else {})}
            for name, part in parts.items():
                found[f"gradient_norm_{name}"] = gradient_norm(model, join(part), loss_fn=loss_fn)
        return found

    def after_epoch(
        self, model: nn.Module, chunks: Sequence[Examples], epoch: int, loss_fn: LossFunction = cross_entropy
    ) -> dict[str, float]:
        """Measures that are followed over the first epochs of a stage; {} once they are not.

        Args: as `at_start`. epoch: epochs done, from 1.
        """
        return self._followed(model, chunks, epoch, loss_fn)

    def at_end(
        self, model: nn.Module, chunks: Sequence[Examples], test: Examples, loss_fn: LossFunction = cross_entropy
    ) -> dict[str, float]:
        """Measures after the stage's last step. Args: as `at_start`. test: held-out examples."""
        found = {"weight_norm": weight_norm(model)} if self.weights else {}
        if self.reestimate and has_statistics(model):
            again = reestimated(model, join(chunks).inputs)
            found["test_accuracy_reestimated"] = evaluate(again, test, loss_fn=loss_fn).accuracy
        return found

    def _followed(
        self, model: nn.Module, chunks: Sequence[Examples], epoch: int, loss_fn: LossFunction
    ) -> dict[str, float]:
        found: dict[str, float] = {}
        old = chunks[:-1]
        if old and epoch <= self.retention:
            found |= retention(model, join(old), join(chunks).inputs, loss_fn=loss_fn, suffix=f"_epoch{epoch}")
        if epoch <= self.alignment:
            found[f"alignment_epoch{epoch}"] = alignment(model, join(chunks), loss_fn=loss_fn)
        return found


def has_statistics(model: nn.Module) -> bool:
    """Whether the model has batch normalisation with running statistics."""
    return any(isinstance(part, _BatchNorm) and part.track_running_stats for part in model.modules())


def reestimated(model: nn.Module, inputs: Tensor, *, batch_size: int = _BATCH) -> nn.Module:
    """A copy whose batch-norm statistics are the mean over batches of `inputs`, in evaluation mode.

    Only batch normalisation is put into training mode: dropout stays off. Each batch weighs the same, as in
    `torch.nn.BatchNorm` with momentum None; a last batch too small to have a variance is left out.

    Args: model: unchanged. inputs: (n, ...), on its device. batch_size: examples per batch.
    Returns: the copy.
    """
    again = copy.deepcopy(model)
    again.eval()
    norms = [part for part in again.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad(), _same_streams(model):
        for batch in inputs.split(batch_size):
            if len(batch) > 1 or len(inputs) == 1:
                again(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return again


def retention(
    model: nn.Module, old: Examples, inputs: Tensor, *, loss_fn: LossFunction = cross_entropy, suffix: str = ""
) -> dict[str, float]:
    """Training accuracy on old chunks: what a rule has left of them.

    Args: model: unchanged. old: examples of earlier chunks. inputs: for re-estimating statistics. suffix: of the
        names.
    Returns: old_accuracy, and old_accuracy_reestimated if the model has batch-norm statistics.
    """
    found = {f"old_accuracy{suffix}": evaluate(model, old, loss_fn=loss_fn).accuracy}
    if has_statistics(model):
        again: Scores = evaluate(reestimated(model, inputs), old, loss_fn=loss_fn)
        found[f"old_accuracy_reestimated{suffix}"] = again.accuracy
    return found


def gradient_norm(
    model: nn.Module, examples: Examples, *, loss_fn: LossFunction = cross_entropy, batch_size: int = _BATCH
) -> float:
    """Norm of the gradient of the mean loss over `examples`, in evaluation mode, over all parameters.

    Args: model: a copy is used. examples: on its device. loss_fn: mean loss.
    """
    again = copy.deepcopy(model)
    for parameter in again.parameters():
        parameter.grad = None
    count = examples.targets.numel()
    with evaluating(again), torch.enable_grad():
        for start in range(0, len(examples), batch_size):
            labels = examples.targets[start : start + batch_size]
            loss = loss_fn(again(examples.inputs[start : start + batch_size]), labels)
            (loss * (labels.numel() / count)).backward()
    squares = [float(p.grad.double().square().sum()) for p in again.parameters() if p.grad is not None]
    return math.sqrt(sum(squares))


def weight_norm(model: nn.Module) -> float:
    """Norm over all parameters that the rules shrink: convolution and linear weights and biases."""
    return math.sqrt(sum(float(target.parameter.detach().double().square().sum()) for target in targets(model)))


def alignment(model: nn.Module, examples: Examples, *, loss_fn: LossFunction = cross_entropy) -> float:
    """Mean over groups of weights of their cosine with the negative gradient of the mean loss.

    Groups as in `dashtheory.shrink.dash_`, each group weighing by its entries; evaluation mode, one batch.
    """
    with _same_streams(model):
        report = dash_factors(model, [(examples.inputs, examples.targets)], loss_fn, alpha=1.0, lam=0.0)
    entries = sum(layer.num_entries for layer in report)
    return sum(float(layer.cosines.double().mean()) * layer.num_entries for layer in report) / entries


def _same_streams(model: nn.Module) -> AbstractContextManager[Any]:
    """Put torch's random streams back afterwards."""
    cuda = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    streams: AbstractContextManager[Any] = torch.random.fork_rng(devices=cuda)
    return streams
