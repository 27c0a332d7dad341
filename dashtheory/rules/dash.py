"""DASH: shrink every group of weights by how well it points down the loss (Shin et al., NeurIPS 2024).

Formula: before stage j, on a copy of the model, one batch per chunk seen so far, oldest first:

    G <- (1 - alpha) G + alpha (-grad of the mean loss),      G = 0 at first                          (1)
    scale = clip(cos(G, w), lam, 1),    w <- scale w          for every group w of weights            (2)

A group is one kernel of a convolution, one output row of a linear layer, or one whole bias vector
(`dashtheory.rules.groups`). Weights that still help to lower the loss (features) keep their length; weights
that no longer do (memorised noise) shrink by up to `lam`. Scaling cannot change what is inside a group.

Source: Shin, Oh, Cho & Yun (NeurIPS 2024), Algorithm 1 of arXiv:2410.23495, read together with the authors' code,
which takes the gradient in evaluation mode and without augmentation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, real
from dashtheory._door import door
from dashtheory.rules.alignment import (
    Alignment,
    Directions,
    checked_alpha,
    checked_lam,
    is_scale_free,
    smoothed_descent,
)
from dashtheory.rules.chunk_gradient import Batches
from dashtheory.rules.effective import to_look_at
from dashtheory.rules.groups import GRANULARITIES, Target, scale_groups_, targets
from dashtheory.rules.layers import Layers, known_layers
from dashtheory.rules.left import left_alone, tell_if_partly
from dashtheory.rules.passes import Count, Forward, passing
from dashtheory.rules.report import LayerReport, ShrinkReport
from dashtheory.rules.rule import Context, InPlace, LossFunction, ablation, flag, seeded_layers
from dashtheory.rules.wrappers import group_of, unwrapped


@door()
def dash_(
    model: nn.Module,
    batches: Batches,
    loss_fn: LossFunction,
    *,
    alpha: float = 0.3,
    lam: float = 0.3,
    training: bool = False,
    granularity: str = "authors",
    layers: Layers | None = None,
    part_size: int | None = None,
    forward: Forward | None = None,
    count: Count | None = None,
    group: Any = None,
) -> ShrinkReport:
    """Shrink the weights of `model` in place by their alignment with descent, equations (1) and (2).

    Normalisation, embedding and recurrent layers (RNN, LSTM, GRU), bare parameters and classes of layers that
    are not known are left alone; the report says which share of the weights that is, and why, and a warning is
    given (`dashtheory.rules.PartlyShrunk`) if it is more than one half. Works on any `nn.Module`, device and
    memory format. Tensors of a batch are moved to the device of the model's first parameter. Optimizer state is
    not touched: call this between stages and train on. An optimizer or an average that keeps a copy of the
    weights (float32 masters, Lookahead, schedule-free, EMA, SWA) would undo it: shrink inside
    `anchored(optimizer, average)`, and ask `check_after_step(report, model)` after the first step. Forward hooks
    run on the copy. Of a `torch.compile`d or data-parallel wrapper the model inside is changed, which the wrapper
    goes on to use. Under DistributedDataParallel, or with `group`, each process gives its share of every chunk (as
    many chunks in each, in one order), and all end with the same bits. A kernel of one entry (1x1 convolution) has
    cosine -1, 0 or 1, so it keeps its value or shrinks by
    `lam`, as in the authors' code.

    Right after shrinking, the running statistics of batch normalisation no longer fit the weights: accuracy
    reads as chance until they are re-estimated by a forward pass over the data in training mode.

    Args:
        model: changed in place, and only its convolution and linear parameters: buffers, train/eval mode, `.grad`
            and the random streams stay as they are.
        batches: (input, target) pairs, one per chunk seen so far, oldest first, each the whole chunk, without
            augmentation. They are consumed once, before any weight moves. A `DataLoader` is one chunk, whether it
            is given for `batches` or is one of them: its batches weigh by the targets that count.
        loss_fn: `loss_fn(model(input), target)`, the mean loss, a scalar. Only what it takes from the output of
            the copy counts: a penalty on the weights of `model` itself adds nothing to G.
        alpha: weight of each newer chunk in G, in (0, 1]; 1 keeps the newest chunk alone.
        lam: smallest factor, in [0, 1]; 1 leaves the model unchanged.
        training: take the gradient in training mode (batch statistics, dropout) instead of evaluation mode.
        granularity: how the entries of weights share factors: "authors", or as `dashtheory.rules.groups` says.
        layers: {class: how its weight groups}, for layers that are not known (`dashtheory.rules.layers`).
        part_size: examples whose gradient is taken at once; parts add up to the gradient of the chunk, in less
            memory. By itself a chunk is cut above 2,000 examples where the loss is known to be a plain mean.
        forward: `forward(model, inputs)`, for models that are not called as `model(inputs)`.
        count: `count(output, target)`, how much a part of a chunk weighs, if not by its targets that count.
        group: processes of `torch.distributed` that each hold a share of every chunk.

    Returns:
        a `ShrinkReport` with cosines, factors and the share clamped, per parameter.

    Raises:
        ValueError: before any weight is touched, if an argument is out of range, there is no batch, no layer to
            shrink, a weight, loss or gradient is not finite (`dashtheory.errors.Diverged`), or no gradient reaches
            the copy. A group whose weights or G are all zero has cosine 0, so factor `lam`; so has a layer that
            the loss does not use.
    """
    if isinstance(model, nn.Module):
        group, model = group or group_of(model), unwrapped(model)
    with known_layers(layers), passing(forward=forward, count=count, group=group):
        if isinstance(model, nn.Module):
            targets(model)  # refuses weights that are computed
        report = dash_factors(
            model,
            batches,
            loss_fn,
            alpha=alpha,
            lam=lam,
            training=training,
            granularity=granularity,
            part_size=part_size,
        )
        tell_if_partly(targets(model), report.left)
        apply_factors_(model, report)
    return report


@door()
def dash_factors(
    model: nn.Module,
    batches: Batches,
    loss_fn: LossFunction,
    *,
    alpha: float = 0.3,
    lam: float = 0.3,
    training: bool = False,
    granularity: str = "authors",
    layers: Layers | None = None,
    part_size: int | None = None,
    forward: Forward | None = None,
    count: Count | None = None,
    group: Any = None,
) -> ShrinkReport:
    """The report of `dash_`, with no weight changed; arguments and errors are the same.

    Weights that are computed (weight_norm, pruning) are looked at as they are, here where nothing is changed.
    """
    lam = checked_lam(lam)
    granularity = choice("granularity", granularity, GRANULARITIES)
    if isinstance(model, nn.Module):
        group, model = group or group_of(model), unwrapped(model)
    with known_layers(layers), passing(forward=forward, count=count, group=group):
        model = to_look_at(model) if isinstance(model, nn.Module) else model
        descent, num_batches = smoothed_descent(
            model, batches, loss_fn, alpha=alpha, training=training, part_size=part_size
        )
        shrinkable = targets(model, granularity)
        with torch.inference_mode(False):
            found = tuple(
                Alignment.of(target, Directions.of(target), descent[target.name]).report(lam)
                for target in shrinkable
            )
            free = tuple(one.name for one in shrinkable if is_scale_free(one, descent[one.name]))
        report = make_report(model, shrinkable, found, num_batches=num_batches, granularity=granularity)
        return replace(report, scale_free=free)


def make_report(
    model: nn.Module,
    shrinkable: Sequence[Target],
    layers: Sequence[LayerReport],
    *,
    num_batches: int,
    granularity: str,
) -> ShrinkReport:
    """The report of these layers, with what is left alone of the model."""
    left = left_alone(model, shrinkable)
    return ShrinkReport(
        layers=tuple(layers),
        untouched=tuple(one.name for one in left),
        num_batches=num_batches,
        granularity=granularity,
        left=left,
        shared={name: target.name for target in shrinkable for name in target.shared},
    )


@door()
def apply_factors_(model: nn.Module, report: ShrinkReport) -> None:
    """Multiply every group of weights of `model`, in place, by its factor in `report`.

    Args:
        model: the model that the report is about, or another one of its architecture.
        report: of `dash_factors`, say.

    Raises:
        ValueError: before any weight is touched, if the report is about other parameters.
    """
    shrinkable = targets(unwrapped(model), report.granularity)
    ours = {target.name: target.group_shape for target in shrinkable}
    theirs = {layer.name: layer.scales.shape for layer in report}
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            fail(
                "report",
                f"must be about the parameters of this model ({name}: {_shape(ours.get(name))})",
                _shape(theirs.get(name)),
                "Use it with a model of the architecture that it came from.",
            )
    for target in shrinkable:
        scale_groups_(target, report[target.name].scales.to(target.parameter.device))


def _shape(shape: torch.Size | None) -> str:
    return "none" if shape is None else f"groups {tuple(shape)}"


@dataclass(frozen=True, kw_only=True)
class Dash(InPlace):
    """DASH: each group of weights shrinks by how well it aligns with the smoothed negative gradient.

    Published: alpha=0.3 with lam=0.3 or 0.05, the optimizer kept.

    Cost: one pass over all data a stage, forward and backward with a whole chunk as a batch, and a copy of the
    network. `share` takes a share of it.

    Elsewhere: FIRE's code smooths over mini-batches of 256 in place of chunks, so that G is that of about the last
    three of them, and leaves kernels in channels-last memory as they are. The package DASH-pytorch smooths over
    the steps of training, inside of an AdamW. `DASH` of pytorch_optimizer is another thing, a Shampoo
    (arXiv:2602.02016).

    Attributes:
        alpha: weight of each newer chunk, in (0, 1]; published 0.3.
        lam: smallest factor, in [0, 1]; published 0.3 and 0.05.
        granularity: which entries share a factor: "authors" (kernel, row, whole bias), "row", "filter", "tensor"
            (see `dashtheory.rules.groups`).
        training: take the gradient in training mode; layers that draw do so from the stage's perturbation stream.
        newest_only: take the newest chunk's gradient alone. It is alpha = 1 at the price of one chunk.
        share: of each chunk's examples that the gradient is taken over, in (0, 1], drawn without replacement from
            the stage's perturbation stream: the pass then costs this share of its time and memory. Chunks must be
            pairs of tensors.
        optimizer: as `InPlace`.
    """

    alpha: float = 0.3
    lam: float = 0.3
    granularity: str = ablation("authors")
    training: bool = ablation(False)
    newest_only: bool = ablation(False)
    share: float = ablation(1.0)
    name: ClassVar[str] = "dash"
    inert: ClassVar[Mapping[str, Any]] = {"lam": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_alpha(self.alpha)
        checked_lam(self.lam)
        choice("granularity", self.granularity, GRANULARITIES)
        flag("training", self.training)
        flag("newest_only", self.newest_only)
        real("share", self.share, low=0, high=1, open_low=True, fix="It is a share of every chunk; 1 takes all.")

    def change_(self, model: nn.Module, context: Context) -> ShrinkReport:
        """Shrink after one pass over the chunks."""
        chunks = deque(context.chunks(), maxlen=1) if self.newest_only else context.chunks()
        if self.share < 1:
            chunks = (_part(chunk, self.share, context.generator) for chunk in chunks)
        with seeded_layers(model, context.generator) if self.training else nullcontext():
            return dash_(
                model,
                chunks,
                context.loss_fn,
                alpha=1 if self.newest_only else self.alpha,
                lam=self.lam,
                training=self.training,
                granularity=self.granularity,
            )


def _part(chunk: tuple[object, object], share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A share of the examples of a chunk, at least one, in the order of the chunk."""
    inputs, targets = chunk if isinstance(chunk, tuple | list) and len(chunk) == 2 else (chunk, None)
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor) or len(inputs) != len(targets):
        got = f"{type(inputs).__name__} and {type(targets).__name__}"
        fail("share", "must be 1 unless chunks are pairs of tensors, of one length", got, "Leave it out.")
    number = max(1, round(share * len(inputs)))
    order = torch.randperm(len(inputs), generator=generator, device=generator.device)[:number].sort().values
    return inputs[order.to(inputs.device)], targets[order.to(targets.device)]
