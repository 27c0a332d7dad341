"""DASH: shrink every group of weights by how well it points down the loss (Shin et al., NeurIPS 2024).

Before stage j, on a copy of the model, one batch per chunk seen so far, oldest first:

    G <- (1 - alpha) G + alpha (-grad of the mean loss),      G = 0 at first                          (1)
    scale = clip(cos(G, w), lam, 1),    w <- scale w          for every group w of weights            (2)

A group is one kernel of a convolution, one output row of a linear layer, or one whole bias vector
(`dashtheory.shrink.groups`). Weights that still help to lower the loss (features) keep their length; weights
that no longer do (memorised noise) shrink by up to `lam`. Scaling cannot change what is *inside* a group.
Source: Algorithm 1 of arXiv:2410.23495, read together with the authors' code, which takes the gradient in
evaluation mode and without augmentation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashtheory._check import fail, real
from dashtheory.shrink.groups import Kind, Target, by_group, scale_groups_, targets, untouched

_MEND = "Look for an empty chunk or NaN in the data, or train with a lower learning rate."

LossFunction = Callable[..., Tensor]
"""`loss_fn(model(input), target)`: a scalar tensor, the mean loss of the batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerReport:
    """What happened to one parameter.

    Attributes:
        name: its full name in the model, such as "layer1.0.conv1.weight".
        kind: "kernel", "row" or "vector".
        cosines: cos(G, w) of each group; (out, in), (out,) or ().
        scales: factor of each group, same shape.
        num_entries: entries of the parameter.
        lam: the smallest factor allowed.
    """

    name: str
    kind: Kind
    cosines: Tensor
    scales: Tensor
    num_entries: int
    lam: float

    @property
    def share_clamped(self) -> float:
        """Groups whose cosine is at most `lam`, over all groups of the parameter."""
        return float((self.cosines <= self.lam).double().mean())

    @property
    def mean_scale(self) -> float:
        """Mean factor over groups (all groups of a parameter have the same size)."""
        return float(self.scales.double().mean())


@dataclass(frozen=True, kw_only=True, eq=False)
class ShrinkReport:
    """What DASH did to a model.

    Attributes:
        layers: one `LayerReport` per shrunk parameter, in model order.
        untouched: names of the parameters left alone.
        num_batches: batches in the gradient pass.
    """

    layers: tuple[LayerReport, ...]
    untouched: tuple[str, ...]
    num_batches: int

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    def __contains__(self, name: object) -> bool:
        return any(layer.name == name for layer in self.layers)

    def __getitem__(self, name: str) -> LayerReport:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    @property
    def mean_scale(self) -> float:
        """Mean factor over all shrunk entries."""
        return self._mean([layer.mean_scale for layer in self.layers])

    @property
    def share_clamped(self) -> float:
        """Entries in groups whose cosine is at most `lam`, over all shrunk entries."""
        return self._mean([layer.share_clamped for layer in self.layers])

    def _mean(self, values: list[float]) -> float:
        """Mean over entries of a number per layer; layers without entries do not count."""
        pairs = [(v, layer.num_entries) for v, layer in zip(values, self.layers, strict=True) if layer.num_entries]
        return sum(value * entries for value, entries in pairs) / sum(entries for _, entries in pairs)


def dash_(
    model: nn.Module,
    batches: Iterable[tuple[object, object]],
    loss_fn: LossFunction,
    *,
    alpha: float = 0.3,
    lam: float = 0.3,
    training: bool = False,
) -> ShrinkReport:
    """Shrink the weights of `model` in place by their alignment with descent, equations (1) and (2).

    Normalisation, embedding and recurrent layers (RNN, LSTM, GRU) and bare parameters are left alone, as in the
    authors' code; the report lists them. Works on any `nn.Module`, device and memory format. Tensors of a batch
    are moved to the device of the model's first parameter. Optimizer state is not touched: call this between
    stages and train on. Forward hooks run on the copy. A `torch.compile`d or data-parallel wrapper has another
    model inside: pass the module that it wraps. A kernel of one entry (1x1 convolution) has cosine -1, 0 or 1, so
    it keeps its value or shrinks by `lam`, as in the authors' code.

    Right after shrinking, the running statistics of batch normalisation no longer fit the weights: accuracy
    reads as chance until they are re-estimated by a forward pass over the data in training mode.

    Args:
        model: changed in place, and only its convolution and linear parameters: buffers, train/eval mode,
            `.grad` and the random streams stay as they are.
        batches: (input, target) pairs, one per chunk seen so far, oldest first, each the whole chunk, without
            augmentation. They are consumed once, before any weight moves.
        loss_fn: `loss_fn(model(input), target)`, the mean loss, a scalar. Only what it takes from the output of
            the copy counts: a penalty on the weights of `model` itself adds nothing to G.
        alpha: weight of each newer chunk in G, in (0, 1]; 1 keeps the newest chunk alone.
        lam: smallest factor, in [0, 1]; 1 leaves the model unchanged.
        training: take the gradient in training mode (batch statistics, dropout) instead of evaluation mode.
    Returns: a `ShrinkReport` with cosines, factors and the share clamped, per parameter.
    Raises: ValueError, before any weight is touched, if an argument is out of range, there is no batch, no layer
        to shrink, a weight, loss or gradient is not finite, or no gradient reaches the copy. A group whose
        weights or G are all zero has cosine 0, so factor `lam`; so has a layer that the loss does not use.
    """
    lam = real("lam", lam, low=0, high=1, fix="It is the smallest factor kept; the paper uses 0.3 or 0.05.")
    with torch.inference_mode(False):
        descent, num_batches = smoothed_descent(model, batches, loss_fn, alpha=alpha, training=training)
        shrinkable = targets(model)
        layers = tuple(_align(target, descent[target.name], lam) for target in shrinkable)
    for target, layer in zip(shrinkable, layers, strict=True):
        scale_groups_(target, layer.scales)
    return ShrinkReport(layers=layers, untouched=untouched(model), num_batches=num_batches)


def _align(target: Target, descent: Tensor, lam: float) -> LayerReport:
    """Equation (2) for one parameter, without changing it."""
    cosines = group_cosines(target.parameter.detach(), descent, target.kind)
    return LayerReport(
        name=target.name,
        kind=target.kind,
        cosines=cosines.reshape(target.group_shape),
        scales=cosines.clamp(lam, 1).reshape(target.group_shape),
        num_entries=target.parameter.numel(),
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

    Args: as `dash_`.
    Returns: {name of the parameter: G, its shape, float32 or wider}, and the number of batches.
    Raises: ValueError as `dash_`. Random draws of the model (dropout in training mode) start from the current
        state of the global stream, which is put back.
    """
    if not isinstance(model, nn.Module):
        fail("model", "must be a torch.nn.Module", type(model).__name__, "Pass the network itself.")
    if not isinstance(batches, Iterable):
        fail("batches", "must yield (input, target) pairs", type(batches).__name__, "Pass a list of chunks.")
    alpha = real("alpha", alpha, low=0, high=1, open_low=True, fix="The paper uses 0.3; 1 means newest only.")
    for target in targets(model):  # before the copy: a model that cannot be copied may be refused with a reason
        if not bool(target.parameter.isfinite().all()):
            fail("model", "must have finite weights", f"NaN or infinity in {target.name}", "Restore a checkpoint.")
    num_batches, reached = 0, False
    with torch.inference_mode(False), torch.enable_grad():
        replica = copy.deepcopy(model).train(training)
        shrinkable = targets(replica)
        descent = {
            target.name: torch.zeros_like(
                target.parameter, dtype=_wide(target.parameter.dtype), requires_grad=False
            )
            for target in shrinkable
        }
        cuda = sorted({p.device.index for p in replica.parameters() if p.device.type == "cuda"})
        with torch.random.fork_rng(devices=cuda), _recurrent_backward(replica):
            for batch in batches:
                gradients = _loss_gradients(replica, shrinkable, batch, loss_fn, num_batches)
                reached |= _smooth_(descent, shrinkable, gradients, alpha)
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
    return descent, num_batches


def _smooth_(
    descent: Mapping[str, Tensor], shrinkable: list[Target], gradients: tuple[Tensor | None, ...], alpha: float
) -> bool:
    """Equation (1) for one batch, in place; True if the loss uses any of the parameters."""
    for target, gradient in zip(shrinkable, gradients, strict=True):
        smoothed = descent[target.name].mul_(1 - alpha)
        if gradient is not None:
            smoothed.sub_(gradient.to(smoothed.dtype), alpha=alpha)
    return any(gradient is not None for gradient in gradients)


def group_cosines(weight: Tensor, descent: Tensor, kind: Kind) -> Tensor:
    """Cosine between `weight` and `descent` in each group, flat, float32 or wider.

    Each group is first divided by its largest entry, so that no square under- or overflows and the result
    does not depend on the scale of either tensor. A group that is zero in either has cosine 0.

    Args:
        weight, descent: tensors of one shape. kind: how entries group.
    Returns: (groups,) tensor in [-1, 1].
    """
    dtype = _wide(weight.dtype)
    left = _largest_entry_one(by_group(weight.to(dtype), kind))
    right = _largest_entry_one(by_group(descent.to(dtype), kind))
    lengths = left.norm(dim=1) * right.norm(dim=1)
    cosines: Tensor = ((left * right).sum(dim=1) / lengths.clamp_min(0.5)).clamp(-1, 1)
    return cosines


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
            )
    if not bool(loss.isfinite()):
        fail("loss", "must be finite", f"{loss.item():g} at batch {index}", "No weight was changed. " + _MEND)
    return gradients
