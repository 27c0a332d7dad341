"""The gradient of a chunk's mean loss on a copy of a model, whole or in parts that add up to it.

A chunk is a pair (inputs, targets), or a `DataLoader` or `Parts`, whose batches are parts. Parts weigh by the
targets in them that count, so that their gradients add up to that of the whole chunk, if the loss is a mean over
targets and no layer mixes examples (batch norm in evaluation mode does not). A pair is taken in parts where
`part_size` says so, and, by itself, where the loss is known to be such a mean and the chunk has more than `WHOLE`
examples. Where processes share the pass (`dashtheory.rules.passes`), what each has of a chunk is a part too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader

from dashtheory._check import fail, integer
from dashtheory.copies import places, reached, refuse_bypass
from dashtheory.errors import Diverged
from dashtheory.losses import IGNORED, class_weights, refuse_other_than_mean
from dashtheory.rules.groups import Target, targets
from dashtheory.rules.passes import Parts, current_pass, summed_over
from dashtheory.rules.rule import LossFunction
from dashtheory.scoring import guess_score, is_mean_loss

Batches = Iterable[tuple[object, object] | DataLoader[Any] | Parts] | DataLoader[Any] | Parts
"""One (input, target) pair, or one `DataLoader` or `Parts`, per chunk."""

WHOLE = 2000
"""Examples of a chunk that are taken at once."""
_MEND = "Look for an empty chunk or NaN in the data, or train with a lower learning rate."

Gradients = list[Tensor | None]


class ChunkGradient:
    """Gradients of chunks on a copy, checked to be finite and to come from the copy's own layers.

    Args:
        model: the original.
        replica: its copy, in the mode in which gradients are taken.
        loss_fn: mean loss.
        part_size: examples of a part, or None.

    Raises:
        ValueError: if `part_size` is none, or the loss is known not to be a mean.
    """

    def __init__(
        self, model: nn.Module, replica: nn.Module, loss_fn: LossFunction, *, part_size: int | None = None
    ) -> None:
        if part_size is not None:
            integer("part_size", part_size, minimum=1, fix="It counts examples.")
            if replica.training:
                fix = "Take the gradient in evaluation mode, or of whole chunks."
                fail("part_size", "must not be given in training mode", str(part_size), fix)
        refuse_other_than_mean(loss_fn)
        self.model, self.replica, self.loss_fn, self.part_size = model, replica, loss_fn, part_size
        self.shrinkable = [_in(replica, target) for target in targets(model)]
        self.originals = dict(model.named_parameters())
        self.used: set[str] = set()
        self.bypassed: set[str] = set()
        self.device = next(replica.parameters()).device
        self.way = current_pass()

    def __call__(self, chunk: object, index: int) -> Gradients:
        """Gradients of the mean loss of a chunk (None for a parameter that it does not use).

        Args:
            chunk: a pair or a `DataLoader`.
            index: of the chunk, for messages.
        """
        if self.way.group is not None:
            return self._shared(chunk, index)
        if not isinstance(chunk, DataLoader | Parts):
            pair = _pair(chunk, index)
            size = self._size(pair)
            if size is None:
                return self._of_part(pair, index)[0]
            chunk = _cut(pair, size)
        return _mean(*self._sums(chunk, index), index)

    def _sums(self, parts: Iterable[object], index: int) -> tuple[Gradients, float]:
        """Gradients of the parts of a chunk, times their weights, and the sum of these."""
        sums: Gradients = [None] * len(self.shrinkable)
        count = 0.0
        for part in parts:
            gradients, weight = self._of_part(_pair(part, index), index, weigh=True)
            sums = [_add(total, gradient, weight) for total, gradient in zip(sums, gradients, strict=True)]
            count += weight
        return sums, count

    def _shared(self, chunk: object, index: int) -> Gradients:
        """The same over all processes of the group, each of which has some of the chunk; the same bits in each.

        An error in one of them ends the pass in all, so that none waits for ever.
        """
        zeros = [_wide_zeros(target.parameter) for target in self.shrinkable]
        error: Exception | None = None
        found: tuple[Gradients, float] = ([], 0.0)
        try:
            if isinstance(chunk, DataLoader | Parts):
                parts: Iterable[object] = chunk
            else:
                pair = _pair(chunk, index)
                size = self._size(pair)
                parts = [pair] if size is None else _cut(pair, size)
            found = self._sums(parts, index)
        except Exception as one:  # whatever the model or the loss raises
            error = one
        told = torch.tensor([found[1], float(error is not None)], dtype=torch.float64)
        count, failed = summed_over(self.way.group, [told.to(self.device)])[0].tolist()
        if error is not None:
            raise error
        if failed:
            got = f"an error in {failed:.0f} others at batch {index}"
            fail("batches", "must be fit in every process", got, "Look at what these say.", error=Diverged)
        sums = [zero if one is None else one for zero, one in zip(zeros, found[0], strict=True)]
        return _mean([*summed_over(self.way.group, sums)], count, index)

    def check_reached(self) -> None:
        """Refuse, after the last chunk, layers whose original is used in their place.

        Raises:
            ValueError: with the names of the layers.
        """
        if not self.used:
            fail(
                "model",
                "must compute its output with its own layers",
                "a loss that no copied weight changes",
                "A forward method or a loss that refers to the original model bypasses the copy.",
            )
        lost = sorted(self.bypassed - self.used)
        if lost:
            layers = ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in lost))
            fail(
                "loss_fn",
                "must take all from the output of the model",
                f"a loss that runs {layers} of the original, which the copy does not",
                "Run that layer in the model's forward.",
            )

    def _size(self, pair: tuple[object, object]) -> int | None:
        """Examples of a part, if the chunk is to be cut."""
        inputs, labels = pair
        if not (isinstance(inputs, Tensor) and isinstance(labels, Tensor) and inputs.ndim and labels.ndim):
            return None
        number = len(inputs)
        if number != len(labels):
            return None
        if self.part_size is not None:
            return self.part_size if number > self.part_size else None
        certain = not self.replica.training and is_mean_loss(self.loss_fn)
        return WHOLE if certain and number > WHOLE else None

    def _of_part(self, pair: tuple[object, object], index: int, *, weigh: bool = False) -> tuple[Gradients, float]:
        """Gradients of the mean loss of a batch, and how many of its targets count."""
        inputs, labels = (_ready(part, self.device) for part in pair)
        forward = self.way.forward
        output = self.replica(inputs) if forward is None else forward(self.replica, inputs)
        refuse_bypass(self.model, output)
        loss = self.loss_fn(output, labels)
        if not isinstance(loss, Tensor) or loss.ndim != 0 or not loss.requires_grad:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            got = "a detached tensor" if got == "shape ()" else got
            fail(
                "loss_fn", "must return a differentiable scalar", f"{got} at batch {index}", "Take the mean loss."
            )
        counted = self.way.count or partial(_counted, self.loss_fn)
        weight = float(counted(output, labels)) if weigh else 1.0
        if not weight:
            return [None] * len(self.shrinkable), 0.0
        found = _gradients(self.model, self.replica, self.shrinkable, loss)
        for target, gradient in zip(self.shrinkable, found, strict=True):
            if gradient is not None:
                self.used.add(target.name)
        if any(gradient is None for gradient in found):
            self.bypassed |= set(reached(loss, self.originals)) & {target.name for target in self.shrinkable}
        _check_finite(self.shrinkable, found, loss, index)
        return found, weight


def _in(replica: nn.Module, target: Target) -> Target:
    """The same target of a copy."""
    shared = {name: replica.get_parameter(name) for name in target.shared}
    return replace(target, parameter=replica.get_parameter(target.name), shared=shared)


def _gradients(model: nn.Module, replica: nn.Module, shrinkable: Sequence[Target], loss: Tensor) -> Gradients:
    """Gradients by each target, those by other parameters over its memory added."""
    wanted = [one for target in shrinkable for one in (target.parameter, *_trainable(target))]
    if _is_reentrant(loss):
        found = iter(_by_backward(model, replica, wanted, loss))
    else:
        found = iter(torch.autograd.grad(loss, wanted, allow_unused=True))
    found = (one.to_dense() if one is not None and one.is_sparse else one for one in found)
    return [
        _folded(target, next(found), {one: next(found) for one in _trainable(target)}) for target in shrinkable
    ]


def _trainable(target: Target) -> list[Tensor]:
    return [one for one in target.shared.values() if one.requires_grad]


def _folded(target: Target, gradient: Tensor | None, others: Mapping[Tensor, Tensor | None]) -> Tensor | None:
    """The gradient by the entries in memory, in the shape of the target."""
    for value, more in others.items():
        if more is not None:
            whole = torch.zeros(int(places(target.parameter).max()) + 1, dtype=more.dtype, device=more.device)
            inside = places(value) < len(whole)
            whole.index_add_(0, places(value)[inside], more[inside])
            folded = whole[places(target.parameter)]
            gradient = folded if gradient is None else gradient + folded
    return gradient


def _is_reentrant(loss: Tensor) -> bool:
    """Whether the graph has a reentrant checkpoint, through which torch can only go backward as a whole."""
    nodes, seen = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if getattr(type(node), "_forward_cls", None) is torch.utils.checkpoint.CheckpointFunction:
            return True
        seen.add(node)
        nodes.extend(following for following, _ in node.next_functions)
    return False


def _by_backward(
    model: nn.Module, replica: nn.Module, wanted: Sequence[Tensor], loss: Tensor
) -> list[Tensor | None]:
    """Gradients by going backward through everything; what the original has in `.grad` stays."""
    kept = [(value, value.grad) for value in model.parameters()]
    for value in [*model.parameters(), *replica.parameters()]:
        value.grad = None
    try:
        loss.backward()
        lost = [name for name, value in model.named_parameters() if value.grad is not None]
    finally:
        for value, gradient in kept:
            value.grad = gradient
    if lost:
        refuse_bypass(model, dict(model.named_parameters())[lost[0]].sum())
    return [value.grad for value in wanted]


def _check_finite(shrinkable: Sequence[Target], gradients: Gradients, loss: Tensor, index: int) -> None:
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


def _counted(loss_fn: LossFunction, output: object, labels: object) -> float:
    """Targets of a batch that count, by their weights if classes have some.

    Where it is not certain what counts: of integers all that are no padding, else examples.
    """
    if not isinstance(labels, Tensor):
        return 1.0
    weighed = class_weights(loss_fn, labels)
    if weighed is not None:
        return float(weighed)
    try:
        return float(guess_score(loss_fn, output, labels).num_counted(labels))
    except ValueError:
        if not labels.is_floating_point() and not labels.is_complex():
            return float((labels != IGNORED).sum())
        return float(len(labels)) if labels.ndim else 1.0


def _add(total: Tensor | None, gradient: Tensor | None, weight: float) -> Tensor | None:
    if gradient is None:
        return total
    wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32)) * weight
    return wide if total is None else total + wide


def _mean(sums: Gradients, count: float, index: int) -> Gradients:
    if not count > 0:
        fail("batches", "must hold targets that count", f"none at batch {index}", "Leave such a chunk out.")
    return [None if total is None else total / count for total in sums]


def _wide_zeros(value: Tensor) -> Tensor:
    return torch.zeros_like(value, dtype=torch.promote_types(value.dtype, torch.float32), requires_grad=False)


def _cut(pair: tuple[Any, Any], size: int) -> Iterator[tuple[object, object]]:
    inputs, labels = pair
    return zip(inputs.split(size), labels.split(size), strict=True)


def _pair(batch: object, index: int) -> tuple[object, object]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        fail(
            "batches",
            "must yield (input, target) pairs",
            f"{type(batch).__name__} at batch {index}",
            "Wrap each chunk as a pair.",
        )
    return batch[0], batch[1]


def _ready(part: object, device: torch.device) -> object:
    """Tensors on `device` that autograd may use, also those in lists and dictionaries; anything else as it is."""
    if not isinstance(part, Tensor | list | tuple | dict):
        return part.to(device) if isinstance(part, Mapping) and hasattr(part, "to") else part
    return tree_map(lambda leaf: _moved(leaf, device) if isinstance(leaf, Tensor) else leaf, part)


def _moved(part: Tensor, device: torch.device) -> Tensor:
    moved = part.to(device)
    return moved.clone() if moved.is_inference() else moved
