"""The arithmetic of DASH: descent smoothed over the chunks, and its cosine with every group of weights.

    G <- (1 - alpha) G + alpha (-grad of the mean loss),      G = 0 at first                          (1)
    scale = clip(cos(G, w), lam, 1)                           for every group w of weights            (2)

`dashtheory.rules.dash` shrinks by these factors; here no weight changes. Source: Algorithm 1 of arXiv:2410.23495,
read together with the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dashtheory._check import fail, real
from dashtheory._door import door
from dashtheory.copies import copied
from dashtheory.errors import Diverged
from dashtheory.rules.chunk_gradient import Batches, ChunkGradient
from dashtheory.rules.groups import Kind, Target, by_group, targets
from dashtheory.rules.passes import Parts
from dashtheory.rules.report import LayerReport
from dashtheory.rules.rule import LossFunction


def checked_lam(lam: object) -> float:
    """Return `lam` if it is a smallest factor."""
    return real("lam", lam, low=0, high=1, fix="It is the smallest factor kept; the paper uses 0.3 or 0.05.")


def checked_alpha(alpha: object) -> float:
    """Return `alpha` if it is a weight of the newer chunk."""
    return real("alpha", alpha, low=0, high=1, open_low=True, fix="The paper uses 0.3; 1 means newest only.")


@dataclass(frozen=True, eq=False)
class Directions:
    """Groups of one tensor, each divided by its largest entry, and their lengths after that.

    Attributes:
        rows: (groups, entries per group), float32 or wider.
        lengths: (groups,), 0 or >= 1.
    """

    rows: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, target: Target, values: Tensor | None = None) -> Directions:
        """Of the parameter of `target`, or of `values` grouped like it."""
        weight = target.parameter.detach()
        return cls.among(weight if values is None else values, _wide(weight.dtype), target.kind, target.groups)

    @classmethod
    def among(cls, values: Tensor, dtype: torch.dtype, kind: Kind, groups: int) -> Directions:
        """Of the groups of `values`."""
        rows = by_group(values.to(dtype), kind, groups)
        if rows.is_complex():
            rows = torch.view_as_real(rows.resolve_conj()).flatten(1)
        rows = _largest_entry_one(rows)
        return cls(rows, rows.norm(dim=1))

    def cosines(self, other: Directions) -> Tensor:
        """Cosine of each group with that of `other`; a group that is zero in either has cosine 0."""
        lengths = self.lengths * other.lengths
        found: Tensor = ((self.rows * other.rows).sum(dim=1) / lengths.clamp_min(0.5)).clamp(-1, 1)
        return found


@dataclass(frozen=True, eq=False)
class Alignment:
    """Cosines of the groups of one parameter; a smallest factor makes a `LayerReport` of it."""

    name: str
    kind: Kind
    cosines: Tensor
    num_entries: int
    group_norms: Tensor

    @classmethod
    def of(cls, target: Target, weight: Directions, descent: Tensor) -> Alignment:
        """Between the parameter of `target`, whose directions are `weight`, and `descent`."""
        cosines = weight.cosines(Directions.of(target, descent)).reshape(target.group_shape)
        values = target.parameter.detach()
        norms = by_group(values.to(_wide(values.dtype)), target.kind, target.groups).norm(dim=1)
        return cls(target.name, target.kind, cosines, values.numel(), norms.reshape(target.group_shape))

    def report(self, lam: float) -> LayerReport:
        """Equation (2), without changing the parameter."""
        return LayerReport(
            name=self.name,
            kind=self.kind,
            cosines=self.cosines,
            scales=self.cosines.clamp(lam, 1),
            num_entries=self.num_entries,
            lam=lam,
            group_norms=self.group_norms,
        )


def is_scale_free(target: Target, descent: Tensor) -> bool:
    """Whether the loss stays the same when all that leads to one output of a layer is multiplied by a number.

    Then the weights of every output are orthogonal to their descent: the layer uses them through an effective
    weight (standardised, divided by its norm) or is followed by a normalization without running statistics.

    Args:
        target: a weight; of a bias it is False.
        descent: its G.
    """
    kinds: dict[Kind, Kind] = {"kernel": "filter", "filter": "filter", "row": "row", "column": "column"}
    kind = kinds.get(target.kind)
    if kind is None or not target.parameter.numel() or not bool(descent.any()):
        return False
    weight = target.parameter.detach()
    cosines = group_cosines(weight, descent, kind, target.groups)
    return bool((cosines.abs() < 1e-5).all())


@door()
def smoothed_descent(
    model: nn.Module,
    batches: Batches,
    loss_fn: LossFunction,
    *,
    alpha: float,
    training: bool = False,
    part_size: int | None = None,
) -> tuple[Mapping[str, Tensor], int]:
    """G of equation (1) for every parameter that rules shrink, taken on a copy of the model.

    Args:
        model: changed in place, and only its convolution and linear parameters: buffers, train/eval mode, `.grad`
            and the random streams stay as they are.
        batches: (input, target) pairs, one per chunk seen so far, oldest first, each the whole chunk, without
            augmentation. They are consumed once, before any weight moves. A `DataLoader` is one chunk, whether it
            is given for `batches` or is one of them.
        loss_fn: `loss_fn(model(input), target)`, the mean loss, a scalar. Only what it takes from the output of
            the copy counts: a penalty on the weights of `model` itself adds nothing to G.
        alpha: weight of each newer chunk in G, in (0, 1]; 1 keeps the newest chunk alone.
        training: take the gradient in training mode (batch statistics, dropout) instead of evaluation mode.
        part_size: examples whose gradient is taken at once (`dashtheory.rules.chunk_gradient`).

    Returns:
        tuple[Mapping[str, Tensor], int]: {name of the parameter: G, its shape, float32 or wider}, and the number
        of batches.

    Raises:
        ValueError: as `dash_`. Random draws of the model (dropout in training mode) start from the current state
            of the global stream, which is put back.
    """
    (descent,), num_batches = smoothed_descents(
        model, batches, loss_fn, alphas=[alpha], training=training, part_size=part_size
    )
    return descent, num_batches


def smoothed_descents(
    model: nn.Module,
    batches: Batches,
    loss_fn: LossFunction,
    *,
    alphas: Sequence[float],
    training: bool = False,
    part_size: int | None = None,
) -> tuple[list[Mapping[str, Tensor]], int]:
    """What `smoothed_descent` gives for each of `alphas`, from one pass over the batches.

    Each batch's gradient goes into a running G per alpha, so that memory grows with the alphas, not the batches.
    """
    if not isinstance(model, nn.Module):
        fail("model", "must be a torch.nn.Module", type(model).__name__, "Pass the network itself.")
    if not isinstance(batches, Iterable):
        fail("batches", "must yield (input, target) pairs", type(batches).__name__, "Pass a list of chunks.")
    alphas = [checked_alpha(alpha) for alpha in alphas]
    for target in targets(model):  # before the copy: a model that cannot be copied may be refused with a reason
        if not bool(target.parameter.isfinite().all()):
            got = f"NaN or infinity in {target.name}"
            fail("model", "must have finite weights", got, "Restore a checkpoint.", error=Diverged)
    chunks: Iterable[object] = [batches] if isinstance(batches, DataLoader | Parts) else batches
    num_batches = 0
    with torch.inference_mode(False), torch.enable_grad():
        replica = copied(model).train(training)
        gradient_of = ChunkGradient(model, replica, loss_fn, part_size=part_size)
        descents = [_zeros(gradient_of.shrinkable) for _ in alphas]
        cuda = sorted({p.device.index for p in replica.parameters() if p.device.type == "cuda"})
        with torch.random.fork_rng(devices=cuda), _recurrent_backward(replica):
            for chunk in chunks:
                gradients = gradient_of(chunk, num_batches)
                for descent, alpha in zip(descents, alphas, strict=True):
                    _smooth_(descent, gradient_of.shrinkable, gradients, alpha)
                del gradients  # before the next chunk, so that its memory serves again
                num_batches += 1
    if not num_batches:
        fail("batches", "must yield one (input, target) per chunk", "none", "Give the chunks seen so far.")
    gradient_of.check_reached()
    return [*descents], num_batches


def _zeros(shrinkable: list[Target]) -> dict[str, Tensor]:
    return {
        target.name: torch.zeros_like(target.parameter, dtype=_wide(target.parameter.dtype), requires_grad=False)
        for target in shrinkable
    }


def _smooth_(
    descent: Mapping[str, Tensor], shrinkable: list[Target], gradients: Sequence[Tensor | None], alpha: float
) -> None:
    """Equation (1) for one batch, in place."""
    for target, gradient in zip(shrinkable, gradients, strict=True):
        smoothed = descent[target.name].mul_(1 - alpha)
        if gradient is not None:
            smoothed.sub_(gradient.to(smoothed.dtype), alpha=alpha)


@door()
def group_cosines(weight: Tensor, descent: Tensor, kind: Kind, groups: int = 1) -> Tensor:
    """Cosine between `weight` and `descent` in each group, flat, float32 or wider.

    Each group is first divided by its largest entry, so that no square under- or overflows and the result
    does not depend on the scale of either tensor. A group that is zero in either has cosine 0.

    Args:
        weight: tensors of one shape.
        descent: tensors of one shape.
        kind: how entries group.
        groups: of a transposed convolution.

    Returns:
        (groups,) tensor in [-1, 1].
    """
    left, right = (Directions.among(values, _wide(weight.dtype), kind, groups) for values in (weight, descent))
    return left.cosines(right)


def _largest_entry_one(groups: Tensor) -> Tensor:
    """Divide each row by its largest absolute entry; a zero row stays zero, any other has length >= 1."""
    if not groups.numel():
        return groups
    largest = groups.abs().amax(dim=1, keepdim=True)
    return groups / torch.where(largest == 0, torch.ones_like(largest), largest)


def _recurrent_backward(model: nn.Module) -> AbstractContextManager[None]:
    """Let recurrent layers go backward in evaluation mode on a GPU, where cuDNN refuses to."""
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        return torch.backends.cudnn.flags(enabled=False)
    return nullcontext()


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
