"""Memorised noise in a deep network, stage by stage: wrong labels that were fitted, and where weights point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory.protocol import Examples, Measures, cross_entropy, evaluate, join
from dashtheory.protocol.measures import LossFunction, has_statistics, reestimated
from dashtheory.shrink import dash_factors

BINS = 20
"""Bins of the histograms of cosines, equally wide from -1 to 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureMeasures(Measures):
    """Further measures for pictures whose wrong labels are known.

    Names in the table, besides those of `Measures`:

        canary_accuracy             pictures with a wrong label, of all chunks, that get that label, at the end of
                                    a stage: memorised, for little else leads to a label drawn at random (a
                                    guess at random among C classes does in 1/C of the cases)
        canary_accuracy_at_start    the same for those of the old chunks, right after the rule: what is left
        ..._reestimated             the same with batch-norm statistics re-estimated on the stage's data
        cosine_before_00, ... _19   share of weights in groups whose cosine with descent on all data lies in the
                                    bin, at the end of a stage
        cosine_after_00, ... _19    the same on the same data right after the rule; in the rows of the next stage

    Attributes:
        noisy: per chunk a bool tensor (n,), True where the label is wrong; empty: no such measure.
        histograms: cosines are counted after every so many stages; 0: never.
    """

    noisy: tuple[Tensor, ...] = ()
    histograms: int = 0

    def at_start(
        self, model: nn.Module, chunks: Sequence[Examples], loss_fn: LossFunction = cross_entropy
    ) -> dict[str, float]:
        """As `Measures.at_start`, and what is left of canaries, and cosines after the rule."""
        found = super().at_start(model, chunks, loss_fn)
        if len(chunks) == 1:
            return found
        old = chunks[:-1]
        found |= self._canaries(model, old, join(chunks).inputs, loss_fn, "_at_start")
        if self._counted(len(old)):
            found |= cosine_histogram(model, join(old), "after", loss_fn=loss_fn)
        return found

    def at_end(
        self, model: nn.Module, chunks: Sequence[Examples], test: Examples, loss_fn: LossFunction = cross_entropy
    ) -> dict[str, float]:
        """As `Measures.at_end`, and canaries, and cosines before the next rule."""
        found = super().at_end(model, chunks, test, loss_fn)
        found |= self._canaries(model, chunks, join(chunks).inputs, loss_fn, "")
        if self._counted(len(chunks)):
            found |= cosine_histogram(model, join(chunks), "before", loss_fn=loss_fn)
        return found

    def _counted(self, stage: int) -> bool:
        return bool(self.histograms) and stage % self.histograms == 0

    def _canaries(
        self, model: nn.Module, chunks: Sequence[Examples], inputs: Tensor, loss_fn: LossFunction, when: str
    ) -> dict[str, float]:
        if not self.noisy:
            return {}
        masks = [mask.to(inputs.device) for mask in self.noisy[: len(chunks)]]
        if [len(mask) for mask in masks] != [len(chunk) for chunk in chunks]:
            fail("noisy", "must have one entry per example of every chunk", "others", "Take those of the stream.")
        canaries = [
            chunk.take(mask.nonzero()[:, 0]) for chunk, mask in zip(chunks, masks, strict=True) if mask.any()
        ]
        if not canaries:
            return {}
        wrong, found = join(canaries), {}
        found[f"canary_accuracy{when}"] = evaluate(model, wrong, loss_fn=loss_fn).accuracy
        if has_statistics(model):
            again = reestimated(model, inputs)
            found[f"canary_accuracy{when}_reestimated"] = evaluate(again, wrong, loss_fn=loss_fn).accuracy
        return found


def cosine_histogram(
    model: nn.Module, examples: Examples, when: str, *, loss_fn: LossFunction = cross_entropy
) -> dict[str, float]:
    """Share of weights by the cosine of their group with the negative gradient of the mean loss.

    A group without a gradient (behind units that never fire) has cosine 0. In evaluation mode, so that right after
    a rule running statistics are those of the weights before it.

    Args: model: unchanged; evaluation mode. examples: on its device. when: "before" or "after".
    Returns: cosine_WHEN_00 to _19, shares that sum to 1; each group counts by its entries.
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
