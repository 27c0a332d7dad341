"""Measures of any network: norms of weights and gradients, what a rule has left, where weights point."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dashtheory.batchnorm import BATCH_SIZE, has_statistics, reestimated, same_streams
from dashtheory.copies import copied, refuse_bypass
from dashtheory.evaluate import LossFunction, Scores, cross_entropy, evaluate, evaluating
from dashtheory.rules import dash_factors
from dashtheory.rules import targets as shrinkable
from dashtheory.rules.effective import to_look_at
from dashtheory.scoring import ScoreChoice, target_shares
from dashtheory.stream import Examples


def retention(
    model: nn.Module,
    old: Examples,
    inputs: Tensor,
    *,
    loss_fn: LossFunction = cross_entropy,
    score: ScoreChoice = None,
    suffix: str = "",
) -> dict[str, float]:
    """Training accuracy on old chunks: what a rule has left of them.

    Args:
        model: unchanged.
        old: examples of earlier chunks.
        inputs: for re-estimating statistics.
        loss_fn: mean loss.
        score: what is right and what counts, as in `evaluate`.
        suffix: of the names.

    Returns:
        old_accuracy, and old_accuracy_reestimated if the model has batch-norm statistics.
    """
    found = {f"old_accuracy{suffix}": evaluate(model, old, loss_fn=loss_fn, score=score).accuracy}
    if has_statistics(model):
        again: Scores = evaluate(reestimated(model, inputs), old, loss_fn=loss_fn, score=score)
        found[f"old_accuracy_reestimated{suffix}"] = again.accuracy
    return found


def gradient_norm(
    model: nn.Module,
    examples: Examples,
    *,
    loss_fn: LossFunction = cross_entropy,
    score: ScoreChoice = None,
    batch_size: int = BATCH_SIZE,
) -> float:
    """Norm of the gradient of the mean loss over the targets of `examples` that count, over all parameters.

    In evaluation mode; the gradient of a batch weighs by the targets of it that count.

    Args:
        model: a copy is used.
        examples: on its device.
        loss_fn: mean loss.
        score: what counts, as in `evaluate`; one batch needs none.
        batch_size: examples per pass.
    """
    again = copied(model)
    for parameter in again.parameters():
        parameter.grad = None
    with evaluating(again), torch.enable_grad():
        parts = list(zip(examples.inputs.split(batch_size), examples.targets.split(batch_size), strict=True))
        for share, (inputs, targets) in zip(target_shares(score, loss_fn, again, parts), parts, strict=True):
            if share:
                output = again(inputs)
                refuse_bypass(model, output)
                (loss_fn(output, targets) * share).backward()
    return math.sqrt(sum(_square(p.grad) for p in again.parameters() if p.grad is not None))


def weight_norm(model: nn.Module) -> float:
    """Norm over all parameters that the rules shrink: convolution and linear weights and biases."""
    return math.sqrt(sum(_square(target.parameter.detach()) for target in shrinkable(to_look_at(model))))


def _square(values: Tensor) -> float:
    """Squared norm; that of a complex tensor is of its real and imaginary parts."""
    values = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    return float(values.double().square().sum())


def alignment(model: nn.Module, examples: Examples, *, loss_fn: LossFunction = cross_entropy) -> float:
    """Mean over groups of weights of their cosine with the negative gradient of the mean loss.

    Groups as in `dashtheory.rules.dash_`, each group weighing by its entries; evaluation mode, one batch.
    """
    with same_streams(model):
        report = dash_factors(model, [(examples.inputs, examples.targets)], loss_fn, alpha=1.0, lam=0.0)
    entries = sum(layer.num_entries for layer in report)
    return sum(float(layer.cosines.double().mean()) * layer.num_entries for layer in report) / entries


BINS = 20
"""Bins of the histograms of cosines, equally wide from -1 to 1."""


def cosine_histogram(
    model: nn.Module, examples: Examples, when: str, *, loss_fn: LossFunction = cross_entropy
) -> dict[str, float]:
    """Share of weights by the cosine of their group with the negative gradient of the mean loss.

    A group without a gradient (behind units that never fire) has cosine 0. In evaluation mode, so that right after
    a rule running statistics are those of the weights before it.

    Args:
        model: unchanged; evaluation mode.
        examples: on its device.
        when: "before" or "after".
        loss_fn: mean loss.

    Returns:
        cosine_WHEN_00 to _19, shares that sum to 1; each group counts by its entries.
    """
    report = dash_factors(model, [(examples.inputs, examples.targets)], loss_fn, alpha=1.0, lam=0.0)
    counts = torch.zeros(BINS, dtype=torch.float64)
    for layer in report:
        cosines = layer.cosines.flatten().double().cpu()
        places = ((cosines + 1) / 2 * BINS).long().clamp(0, BINS - 1)
        weight = layer.num_entries / max(cosines.numel(), 1)
        counts += torch.bincount(places, minlength=BINS).double() * weight
    shares = counts / counts.sum()
    return {f"cosine_{when}_{place:02d}": float(share) for place, share in enumerate(shares)}
