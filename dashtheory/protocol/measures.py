"""Measures of a learner between and within stages, taken on copies: none of them changes a run.

Right after a rule has scaled weights, the running statistics of batch normalisation no longer fit them, and
accuracy reads as chance; `reestimated` gives the network with statistics taken anew over given data, and every
accuracy here comes in both forms where the network has such statistics.

Names in the table, by the choice of `Measures` that asks for them:

    reestimate  test_accuracy_reestimated
    retention   old_accuracy_epoch0, ..., and _reestimated: of the old chunks
    gradients   gradient_norm_new, _old, _all
    weights     weight_norm_at_start, weight_norm
    effective_step
                effective_step_at_start, effective_step: no rows where no layer is scale-invariant
    alignment   alignment_epoch0, ...
    canaries    canary_accuracy             examples with a wrong label, of all chunks, that get that label, at the
                                            end of a stage: memorised, for little else leads to a label drawn at
                                            random (a guess at random among C classes does in 1/C of the cases)
                canary_accuracy_at_start    the same for those of the old chunks, right after the rule
                ..._reestimated             the same with batch-norm statistics re-estimated on the stage's data
    histograms  cosine_before_00, ... _19   share of weights in groups whose cosine with descent on all data lies
                                            in the bin, at the end of a stage
                cosine_after_00, ... _19    the same on the same data right after the rule; in the rows of the next
                                            stage
    memory      rule_bytes, optimizer_bytes: at the end of a stage
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory.batchnorm import has_statistics, reestimated
from dashtheory.evaluate import LossFunction, cross_entropy, evaluate
from dashtheory.measure.network import alignment, cosine_histogram, gradient_norm, retention, weight_norm
from dashtheory.measure.step_size import effective_step, mean_effective_step
from dashtheory.protocol.settings import Measures
from dashtheory.rules import RuleState
from dashtheory.scoring import ScoreChoice
from dashtheory.stream import Examples, join

__all__ = ["Measures", "bytes_kept", "measure_after_epoch", "measure_at_end", "measure_at_start"]

Masks = Sequence[Tensor]
"""Per chunk a bool tensor (n,), True where the label is wrong; empty if that is not known."""


def measure_at_start(
    measures: Measures,
    model: nn.Module,
    chunks: Sequence[Examples],
    loss_fn: LossFunction = cross_entropy,
    noisy: Masks = (),
    optimizer: torch.optim.Optimizer | None = None,
    *,
    score: ScoreChoice = None,
) -> dict[str, float]:
    """Measures after the rule, before the stage's first step.

    Args:
        measures: what is measured.
        model: unchanged by it.
        chunks: of the stage, the newest last.
        loss_fn: mean loss.
        noisy: which labels are wrong, chunk by chunk.
        optimizer: of the model, for its step sizes; without it effective steps are not measured.
        score: what is right and what counts, as in `evaluate`.

    Returns:
        numbers by name.
    """
    old, new = chunks[:-1], chunks[-1]
    found = measure_after_epoch(measures, model, chunks, 0, loss_fn, score=score)
    if measures.weights:
        found["weight_norm_at_start"] = weight_norm(model)
    found |= _effective_step(measures, model, chunks, optimizer, "_at_start")
    if measures.gradients:
        parts = {"new": [new], "all": list(chunks), **({"old": list(old)} if old else {})}
        for name, part in parts.items():
            found[f"gradient_norm_{name}"] = gradient_norm(model, join(part), loss_fn=loss_fn, score=score)
    if old and measures.canaries:
        found |= _canaries(model, old, join(chunks).inputs, loss_fn, score, noisy, "_at_start")
    if old and _counted(measures, len(old)):
        found |= cosine_histogram(model, join(old), "after", loss_fn=loss_fn)
    return found


def measure_after_epoch(
    measures: Measures,
    model: nn.Module,
    chunks: Sequence[Examples],
    epoch: int,
    loss_fn: LossFunction = cross_entropy,
    *,
    score: ScoreChoice = None,
) -> dict[str, float]:
    """Measures that are followed over the first epochs of a stage; {} once they are not.

    Args:
        measures: what is measured.
        model: unchanged by it.
        chunks: of the stage, the newest last.
        epoch: epochs done, from 1; 0: right after the rule.
        loss_fn: mean loss.
        score: what is right and what counts, as in `evaluate`.
    """
    found: dict[str, float] = {}
    old = chunks[:-1]
    if old and epoch <= measures.retention:
        found |= retention(
            model, join(old), join(chunks).inputs, loss_fn=loss_fn, score=score, suffix=f"_epoch{epoch}"
        )
    if epoch <= measures.alignment:
        found[f"alignment_epoch{epoch}"] = alignment(model, join(chunks), loss_fn=loss_fn)
    return found


def measure_at_end(
    measures: Measures,
    model: nn.Module,
    chunks: Sequence[Examples],
    test: Examples,
    loss_fn: LossFunction = cross_entropy,
    noisy: Masks = (),
    optimizer: torch.optim.Optimizer | None = None,
    *,
    score: ScoreChoice = None,
) -> dict[str, float]:
    """Measures after the stage's last step.

    Args:
        measures: what is measured.
        model: unchanged by it.
        chunks: of the stage, the newest last.
        test: held-out examples.
        loss_fn: mean loss.
        noisy: which labels are wrong, chunk by chunk.
        optimizer: as `measure_at_start`.
        score: what is right and what counts, as in `evaluate`.
    """
    found = {"weight_norm": weight_norm(model)} if measures.weights else {}
    found |= _effective_step(measures, model, chunks, optimizer, "")
    if measures.reestimate and has_statistics(model):
        again = reestimated(model, join(chunks).inputs)
        found["test_accuracy_reestimated"] = evaluate(again, test, loss_fn=loss_fn, score=score).accuracy
    if measures.canaries:
        found |= _canaries(model, chunks, join(chunks).inputs, loss_fn, score, noisy, "")
    if _counted(measures, len(chunks)):
        found |= cosine_histogram(model, join(chunks), "before", loss_fn=loss_fn)
    return found


def _effective_step(
    measures: Measures,
    model: nn.Module,
    chunks: Sequence[Examples],
    optimizer: torch.optim.Optimizer | None,
    when: str,
) -> dict[str, float]:
    if not measures.effective_step or optimizer is None:
        return {}
    table = effective_step(model, optimizer, chunks[0].inputs)
    return {f"effective_step{when}": mean_effective_step(table)} if len(table) else {}


def _counted(measures: Measures, stage: int) -> bool:
    return bool(measures.histograms) and stage % measures.histograms == 0


def _canaries(
    model: nn.Module,
    chunks: Sequence[Examples],
    inputs: Tensor,
    loss_fn: LossFunction,
    score: ScoreChoice,
    noisy: Masks,
    when: str,
) -> dict[str, float]:
    if not noisy:
        return {}
    masks = [mask.to(inputs.device) for mask in noisy[: len(chunks)]]
    if [len(mask) for mask in masks] != [len(chunk) for chunk in chunks]:
        fail("noisy", "must have one entry per example of every chunk", "others", "Take those of the stream.")
    canaries = [chunk.take(mask.nonzero()[:, 0]) for chunk, mask in zip(chunks, masks, strict=True) if mask.any()]
    if not canaries:
        return {}
    wrong, found = join(canaries), {}
    found[f"canary_accuracy{when}"] = evaluate(model, wrong, loss_fn=loss_fn, score=score).accuracy
    if has_statistics(model):
        again = reestimated(model, inputs)
        found[f"canary_accuracy{when}_reestimated"] = evaluate(again, wrong, loss_fn=loss_fn, score=score).accuracy
    return found


def bytes_kept(optimizer: torch.optim.Optimizer, state: RuleState) -> dict[str, float]:
    """Bytes that a run keeps from stage to stage beside its weights.

    Args:
        optimizer: whose tensors are counted, those of every parameter and those of its own.
        state: what the rule remembers.
    """
    kept = [value for one in optimizer.state.values() for value in one.values() if isinstance(value, Tensor)]
    return {
        "rule_bytes": float(sum(value.nbytes for value in state.values())),
        "optimizer_bytes": float(sum(value.nbytes for value in kept)),
    }
