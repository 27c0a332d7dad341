"""The arithmetic of DASH: descent smoothed over the chunks, and its cosine with every group of weights.

    G <- (1 - alpha) G + alpha (-grad of the mean loss),      G = 0 at first                          (1)
    scale = clip(cos(G, w), lam, 1)                           for every group w of weights            (2)

`dashtheory.rules.dash` shrinks by these factors; here no weight changes. Source: Algorithm 1 of arXiv:2410.23495,
read together with the authors' code.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashtheory._check import fail, real
from dashtheory.errors import Diverged
from dashtheory.rules.groups import Kind, Target, by_group, targets
from dashtheory.rules.report import LayerReport
from dashtheory.rules.rule import LossFunction

_MEND = "Look for an empty chunk or NaN in the data, or train with a lower learning rate."


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
        rows = _largest_entry_one(by_group(values.to(dtype), kind, groups))
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

    @classmethod
    def of(cls, target: Target, weight: Directions, descent: Tensor) -> Alignment:
        """Between the parameter of `target`, whose directions are `weight`, and `descent`."""
        cosines = weight.cosines(Directions.of(target, descent)).reshape(target.group_shape)
        return cls(target.name, target.kind, cosines, target.parameter.numel())

    def report(self, lam: float) -> LayerReport:
        """Equation (2), without changing the parameter."""
        return LayerReport(
            name=self.name,
            kind=self.kind,
            cosines=self.cosines,
            scales=self.cosines.clamp(lam, 1),
            num_entries=self.num_entries,
            lam=lam,
        )


def smoothed_descent(
    model: nn.Module,
    batches: Iterable[tuple[object, object]],
    loss_fn: LossFunction,
    *,
    alpha: float,
    training: bool = False,
) -> tuple[Mapping[str, Tensor], int]:
    """G of equation (1) for every parameter that rules shrink, taken on a copy of the model.

    Args:
        model: changed in place, and only its convolution and linear parameters: buffers, train/eval mode, `.grad`
            and the random streams stay as they are.
        batches: (input, target) pairs, one per chunk seen so far, oldest first, each the whole chunk, without
            augmentation. They are consumed once, before any weight moves.
        loss_fn: `loss_fn(model(input), target)`, the mean loss, a scalar. Only what it takes from the output of
            the copy counts: a penalty on the weights of `model` itself adds nothing to G.
        alpha: weight of each newer chunk in G, in (0, 1]; 1 keeps the newest chunk alone.
        training: take the gradient in training mode (batch statistics, dropout) instead of evaluation mode.

    Returns:
        tuple[Mapping[str, Tensor], int]: {name of the parameter: G, its shape, float32 or wider}, and the number
        of batches.

    Raises:
        ValueError: as `dash_`. Random draws of the model (dropout in training mode) start from the current state
            of the global stream, which is put back.
    """
    (descent,), num_batches = smoothed_descents(model, batches, loss_fn, alphas=[alpha], training=training)
    return descent, num_batches


def smoothed_descents(
    model: nn.Module,
    batches: Iterable[tuple[object, object]],
    loss_fn: LossFunction,
    *,
    alphas: Sequence[float],
    training: bool = False,
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
    num_batches, reached = 0, False
    with torch.inference_mode(False), torch.enable_grad():
        replica = copy.deepcopy(model).train(training)
        shrinkable = targets(replica)
        descents = [_zeros(shrinkable) for _ in alphas]
        cuda = sorted({p.device.index for p in replica.parameters() if p.device.type == "cuda"})
        with torch.random.fork_rng(devices=cuda), _recurrent_backward(replica):
            for batch in batches:
                gradients = _loss_gradients(replica, shrinkable, batch, loss_fn, num_batches)
                reached |= any(gradient is not None for gradient in gradients)
                for descent, alpha in zip(descents, alphas, strict=True):
                    _smooth_(descent, shrinkable, gradients, alpha)
                del gradients  # before the next batch, so that its memory serves again
                num_batches += 1
    if not num_batches:
        fail("batches", "must yield one (input, target) per chunk", "none", "Give the chunks seen so far.")
    if not reached:
        fail(
            "model",
            "must compute its output with its own layers",
            "a loss that no copied weight changes",
            "A forward method or a loss that refers to the original model bypasses the copy.",
        )
    return [*descents], num_batches


def _zeros(shrinkable: list[Target]) -> dict[str, Tensor]:
    return {
        target.name: torch.zeros_like(target.parameter, dtype=_wide(target.parameter.dtype), requires_grad=False)
        for target in shrinkable
    }


def _smooth_(
    descent: Mapping[str, Tensor], shrinkable: list[Target], gradients: tuple[Tensor | None, ...], alpha: float
) -> None:
    """Equation (1) for one batch, in place."""
    for target, gradient in zip(shrinkable, gradients, strict=True):
        smoothed = descent[target.name].mul_(1 - alpha)
        if gradient is not None:
            smoothed.sub_(gradient.to(smoothed.dtype), alpha=alpha)


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


def _ready(part: object, device: torch.device) -> object:
    """A tensor on `device` that autograd may use; anything else as it is."""
    if not isinstance(part, Tensor):
        return part
    moved = part.to(device)
    return moved.clone() if moved.is_inference() else moved


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _loss_gradients(
    model: nn.Module,
    shrinkable: list[Target],
    batch: object,
    loss_fn: LossFunction,
    index: int,
) -> tuple[Tensor | None, ...]:
    """Gradients of the batch's loss (None for a parameter that it does not use), checked to be finite."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        fail(
            "batches",
            "must yield (input, target) pairs",
            f"{type(batch).__name__} at batch {index}",
            "Wrap each chunk as a pair.",
        )
    device = next(model.parameters()).device
    inputs, labels = (_ready(part, device) for part in batch)
    loss = loss_fn(model(inputs), labels)
    if not isinstance(loss, Tensor) or loss.ndim != 0 or not loss.requires_grad:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        got = "a detached tensor" if got == "shape ()" else got
        fail("loss_fn", "must return a differentiable scalar", f"{got} at batch {index}", "Take the mean loss.")
    parameters = [target.parameter for target in shrinkable]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for target, gradient in zip(shrinkable, gradients, strict=True):
        if gradient is not None and not bool(gradient.isfinite().all()):
            fail(
                "batches",
                "must give finite gradients",
                f"a non-finite gradient of {target.name} at batch {index} (loss {loss.item():g})",
                "No weight was changed. " + _MEND,
                error=Diverged,
            )
    if not bool(loss.isfinite()):
        fix = "No weight was changed. " + _MEND
        fail("loss", "must be finite", f"{loss.item():g} at batch {index}", fix, error=Diverged)
    return gradients
