"""Measures of a learner between and within stages, taken on copies: none of them changes a run.

Right after a rule has scaled weights, the running statistics of batch normalisation no longer fit them, and
accuracy reads as chance; `reestimated` gives the network with statistics taken anew over given data, and every
accuracy here comes in both forms where the network has such statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from dashtheory._check import fail, integer
from dashtheory.batchnorm import has_statistics, reestimated
from dashtheory.evaluate import LossFunction, cross_entropy, evaluate
from dashtheory.measure.network import alignment, cosine_histogram, gradient_norm, retention, weight_norm
from dashtheory.stream import Examples, join


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
