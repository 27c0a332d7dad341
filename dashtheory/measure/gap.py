"""Memorised, not learned: accuracy that goes when the noise is another, and random labels that were fitted.

Where the parts of a sample are known, its noise can be swapped for fresh noise: what a network gets right only
with the noise that it was trained on, it has memorised. Where they are not (images), a few training samples get
random labels: such a *canary* can be fitted by memorising alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashtheory._check import fail, integer, real
from dashtheory.evaluate import Scores, cross_entropy, evaluate, evaluating
from dashtheory.scoring import ScoreChoice
from dashtheory.stream import Examples


@dataclass(frozen=True, kw_only=True)
class SwapGap:
    """Accuracies on training samples with their own noise and with fresh noise.

    Attributes:
        training: right predictions over training samples.
        swapped: the same with fresh noise, over samples and draws.
    """

    training: float
    swapped: float

    @property
    def gap(self) -> float:
        """Memorisation gap: training - swapped; see `memorization_gap`."""
        return self.training - self.swapped


def memorization_gap(predicted: Tensor, swapped: Tensor, targets: Tensor) -> SwapGap:
    """Training accuracy minus the accuracy on the same samples with fresh noise.

    gap = mean_i [h(x_i) = y_i] - mean over draws and i of [h(x_i with fresh noise) = y_i]

    Range: [-1, 1], a difference of fractions; 0: nothing hangs on the noise. Source: derived here.
    What would fool it: the swapped accuracy is nearly a test accuracy, so that it goes with test accuracy is no
    discovery; accuracy does not see that a network was shrunk (a sign is scale-invariant): read the loss on old
    data beside it; fresh noise of another distribution than the training noise.

    Args:
        predicted: predictions on the training samples, (n,), as class labels or signs, like the targets.
        swapped: predictions on them with fresh noise, (draws, n) or (n,); three draws are plenty.
        targets: (n,).

    Raises:
        ValueError: if the shapes do not fit, or predictions are not of the kind of the targets (logits, say).
    """
    fits = predicted.shape == targets.shape and targets.ndim == 1 and swapped.shape[-1:] == targets.shape
    if not fits or not targets.numel() or not swapped.numel():
        got = f"{tuple(predicted.shape)}, {tuple(swapped.shape)} and {tuple(targets.shape)}"
        fail(
            "predicted, swapped and targets",
            "must be (n,), (draws, n) and (n,)",
            got,
            "Predict labels, not logits.",
        )
    return SwapGap(
        training=float((predicted == targets).double().mean()), swapped=float((swapped == targets).double().mean())
    )


def random_labels(
    targets: Tensor, *, share: float, num_classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make canaries: give a share of the samples labels drawn uniformly from all classes, their own included.

    Args:
        targets: int64 (n,); not modified.
        share: of the samples, in [0, 1]; round(share n) of them.
        num_classes: C.
        generator: CPU stream of which samples and which labels.

    Returns:
        new targets (n,), and a mask (n,), True for the canaries. Train on the new targets.
    """
    share = real("share", share, low=0, high=1, fix="A few percent are enough.")
    num_classes = integer("num_classes", num_classes, minimum=2, fix="It counts classes.")
    chosen = torch.randperm(len(targets), generator=generator)[: round(share * len(targets))]
    labels = torch.randint(num_classes, (len(chosen),), generator=generator)
    chosen = chosen.to(targets.device)
    mask = torch.zeros(len(targets), dtype=torch.bool, device=targets.device)
    mask[chosen] = True
    new = targets.clone()
    new[chosen] = labels.to(targets.device, targets.dtype)
    return new, mask


@dataclass(frozen=True, kw_only=True)
class CanaryGap:
    """How well given labels are fitted, on canaries and on the other samples.

    Attributes:
        clean: scores on samples with their own label.
        canary: scores on samples with a random label.
        num_classes: C.
    """

    clean: Scores
    canary: Scores
    num_classes: int

    @property
    def gap(self) -> float:
        """Clean accuracy minus canary accuracy; see `canary_gap`."""
        return self.clean.accuracy - self.canary.accuracy

    @property
    def memorized_share(self) -> float:
        """Share of the canaries that is memorised, (canary accuracy - 1/C) / (1 - 1/C); see `canary_gap`."""
        chance = 1 / self.num_classes
        return (self.canary.accuracy - chance) / (1 - chance)


def canary_gap(
    model: nn.Module,
    examples: Examples,
    canary: Tensor,
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    score: ScoreChoice = None,
    batch_size: int = 1000,
) -> CanaryGap:
    """Memorisation in networks where features and noise are unknown, told by samples with random labels.

    gap = accuracy on clean samples - accuracy on canaries,        each on the labels that were trained on
    memorized_share = (accuracy on canaries - 1/C) / (1 - 1/C)

    A canary's label says nothing that could be learned: a network that memorised a share q of them and guesses the
    others has accuracy q + (1 - q)/C, hence `memorized_share` = q. Right after training to the end the gap is 0
    and q is 1; after a rule, the gap opens if memorised samples are forgotten and learned ones are kept.
    Range: gap in [-1, 1]; memorized_share in [-1/(C-1), 1]. Source: canaries as in Carlini et al.
    (arXiv:1802.08232); the correction for chance derived here.
    What would fool it: accuracy that a uniform shrink cannot change (compare losses, which are here too); running
    statistics that no longer fit the weights (measure on `reestimated` networks as well); labels that are not
    uniform; canaries so many that they change what is learned; rare clean samples are memorised too.

    Args:
        model: unchanged, modes, gradients and random streams too; logits (n, C).
        examples: training samples with the labels trained on, on the model's device.
        canary: bool (n,), as `random_labels` gives.
        loss_fn: mean loss.
        score: what is right and what counts, as in `evaluate`.
        batch_size: of the evaluation.

    Raises:
        ValueError: if the mask does not fit, or leaves no canary or no clean sample.
    """
    canary = canary_mask(canary, examples)
    with evaluating(model), torch.no_grad():
        num_classes = _num_classes(model(examples.inputs[:2]), examples.targets[:2])
    clean, fitted = (
        evaluate(
            model, examples.take(mask.nonzero().squeeze(1)), loss_fn=loss_fn, score=score, batch_size=batch_size
        )
        for mask in (~canary, canary)
    )
    return CanaryGap(clean=clean, canary=fitted, num_classes=num_classes)


def _num_classes(output: Tensor, target: Tensor) -> int:
    """Classes that a label may be; two where there is one logit."""
    if output.shape == target.shape or output.shape[-1] == 1:
        return 2
    dense = output.ndim > 2 and target.shape == output.shape[:1] + output.shape[2:]
    return int(output.shape[1 if dense and target.shape != output.shape[:-1] else -1])


def canary_mask(canary: Tensor, examples: Examples) -> Tensor:
    """Return the mask on the device of the examples, if it marks some of them and not all."""
    if canary.dtype != torch.bool or canary.shape != (len(examples),):
        got = f"{canary.dtype} {tuple(canary.shape)}"
        fail("canary", f"must be a bool tensor ({len(examples)},)", got, "One truth value per sample, in order.")
    if bool(canary.all()) or not bool(canary.any()):
        fail(
            "canary", "must mark some samples and not all", f"{int(canary.sum())} of {len(canary)}", "Compare two."
        )
    return canary.to(examples.inputs.device)
