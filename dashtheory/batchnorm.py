"""Running statistics of normalisation layers, kept out of the way of extra forward passes."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from dashtheory._check import fail
from dashtheory._door import door
from dashtheory._memory import machine_memory
from dashtheory.copies import copied, refuse_bypass


@contextmanager
def frozen_running_statistics(model: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch and instance norm as they are while training-mode passes run inside.

    SAM's second pass sees the batch of the first at other weights; without this it would count twice. Outputs and
    gradients are those of training mode, from the batch's own statistics. Inside, the layers that were in training
    mode on entry have no running statistics (so do not evaluate or save the model there); after, they have the
    tensors that they had.
    """
    names = ("running_mean", "running_var", "num_batches_tracked")
    layers = [layer for layer in model.modules() if isinstance(layer, _NormBase) and layer.training]
    kept = [(layer, name, getattr(layer, name)) for layer in layers for name in names]
    try:
        for layer, name, _ in kept:
            setattr(layer, name, None)
        yield
    finally:
        for layer, name, value in kept:
            setattr(layer, name, value)


BATCH_SIZE = 1000
ONE_PASS = 2**26
"""Numbers that the largest output of a layer may take for all examples to go in one pass as torch takes it.

On a CPU torch sums squares in float32 one after the other: the variance of 4 million values of a channel was 0.4%
off, of 20 million 4% (channels last, one thread).
"""

Norms = dict[_NormBase, str]
"""Layers with running statistics, and their names."""


class StaleStatistics(UserWarning):
    """Running statistics of a layer that is not torch's cannot be taken anew."""


def has_statistics(model: nn.Module) -> bool:
    """Whether the model has batch or instance normalisation with running statistics.

    Warns:
        StaleStatistics: of other layers with `running_mean` and `running_var`, which stay as they are.
    """
    others = {
        type(part).__name__
        for part in model.modules()
        if not isinstance(part, _NormBase) and {"running_mean", "running_var"} <= part._buffers.keys()
    }
    if others:
        warnings.warn(
            f"running statistics of {', '.join(sorted(others))} cannot be taken anew, and accuracy right after a "
            "rule is with those of before. Make the class a subclass of torch's.",
            StaleStatistics,
            stacklevel=2,
        )
    return any(isinstance(part, _NormBase) and part.running_mean is not None for part in model.modules())


@door()
def reestimated(model: nn.Module, inputs: Tensor, *, batch_size: int = BATCH_SIZE) -> nn.Module:
    """A copy whose running statistics are the moments over all of `inputs`, in evaluation mode.

    They are those of one training-mode pass over all examples at once, however these are cut into batches: mean
    and (unbiased) variance over the examples of what each layer sees when the layers before it have theirs; for
    instance normalisation the mean of each example's own. Where not all examples fit into memory together, there
    is a pass for each layer of batch norm, as far as that layer. Dropout stays off; a layer that is not reached
    keeps its statistics.

    Args:
        model: unchanged.
        inputs: (n, ...), on its device.
        batch_size: examples per pass, where they do not fit together.

    Returns:
        the copy.

    Raises:
        ValueError: if the model cannot be copied, or a layer sees one value per channel, which has no variance.
    """
    again = copied(model).eval()
    norms = {
        part: name
        for name, part in again.named_modules()
        if isinstance(part, _NormBase) and part.running_mean is not None
    }
    batched = {part: name for part, name in norms.items() if not isinstance(part, _InstanceNorm)}
    instances = [norm for norm in norms if norm not in batched]
    with same_streams(model), torch.enable_grad(), torch.compiler.set_stance("force_eager"):
        refuse_bypass(model, again(inputs[:2]))
    eager = torch.compiler.set_stance("force_eager")  # compiled layers do not look at new hooks
    with eager, torch.no_grad(), same_streams(model), _instances_watched(instances) as begin:
        largest = 0 if len(inputs) <= batch_size else _largest(again, inputs)
        if largest <= ONE_PASS:
            begin()
            _in_one_pass(again, batched, inputs)
        elif largest <= most_numbers(inputs.device):
            begin()
            _in_one_sweep(again, batched, inputs)
        else:
            _call_by_call(again, batched, inputs.split(batch_size), begin)
    return again.eval()


def _largest(model: nn.Module, inputs: Tensor) -> int:
    """Numbers of four bytes that the largest output of a layer takes for all examples together."""
    probe, largest = inputs[:2], 0

    def look(module: nn.Module, given: object, out: object) -> None:
        nonlocal largest
        if isinstance(out, Tensor):
            largest = max(largest, out.numel() * max(out.element_size(), 4) // 4)

    handles = [part.register_forward_hook(look) for part in model.modules()]
    try:
        model(probe)
    finally:
        for handle in handles:
            handle.remove()
    return math.ceil(largest * len(inputs) / len(probe))


def most_numbers(device: torch.device) -> int:
    """Numbers of four bytes that the largest output of a layer may take for all examples to go together.

    There is room for eight such tensors in what a GPU has free, and in each core's share of a machine's memory: as
    many runs may go on at once. Where the machine does not say, it is `ONE_PASS`. So the machine decides which way
    is gone; all ways find the same up to rounding.
    """
    if device.type == "cuda":
        room, _ = torch.cuda.mem_get_info(device)
    elif device.type == "cpu" and hasattr(os, "sysconf"):
        room = max(machine_memory() // (os.cpu_count() or 1), 32 * ONE_PASS)
    else:
        return ONE_PASS
    return min(2**31 - 1, room // 32)


@contextmanager
def _hooked(norms: Iterable[_NormBase], look: Callable[[_NormBase, tuple[Tensor, ...]], None]) -> Iterator[None]:
    """Let `look` see the input of each layer inside."""
    handles = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _in_one_pass(model: nn.Module, norms: Norms, inputs: Tensor) -> None:
    """Torch's own training-mode statistics of one batch; calls of one layer weigh the same."""
    kept = [(norm, norm.momentum, [buffer.clone() for buffer in norm.buffers(recurse=False)]) for norm in norms]
    reached = set()

    def look(norm: _NormBase, given: tuple[Tensor, ...]) -> None:
        reached.add(norm)
        _check_variance(norms[norm], given[0].numel() // given[0].shape[1])

    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with _hooked(norms, look):
        model(inputs)
    for norm, momentum, before in kept:
        norm.momentum = momentum
        if norm not in reached:
            for buffer, value in zip(norm.buffers(recurse=False), before, strict=True):
                buffer.copy_(value)


def _check_variance(name: str, count: int) -> None:
    if count < 2:
        fail("inputs", f"must have a variance in {name}", "one value per channel", "Give two examples or more.")


@dataclass(frozen=True, eq=False)
class _Moments:
    """Of what a call of a layer sees, over batches.

    Attributes:
        count: values per channel.
        mean: per channel, float64.
        squares: squared deviations from the mean, summed, per channel, float64.
    """

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor) -> _Moments:
        """Of an input (n, C, ...)."""
        rows = values.to(torch.promote_types(values.dtype, torch.float32)).transpose(0, 1).flatten(1)
        variance, mean = torch.var_mean(rows, dim=1, correction=0)
        return cls(rows.shape[1], mean.cpu().double(), variance.cpu().double() * rows.shape[1])

    def __add__(self, other: _Moments) -> _Moments:
        count, step = self.count + other.count, other.mean - self.mean
        between = step.square() * (self.count * other.count / count)
        return _Moments(count, self.mean + step * (other.count / count), self.squares + other.squares + between)


class _Stop(BaseException):
    """A pass goes no further; not an Exception, so that no model catches it."""


def _in_one_sweep(model: nn.Module, norms: Norms, inputs: Tensor) -> None:
    """All examples together; each call of a layer normalises by the moments that it has just seen."""
    known: dict[_NormBase, list[_Moments]] = {norm: [] for norm in norms}

    def look(norm: _NormBase, given: tuple[Tensor, ...]) -> None:
        first, *others = (_Moments.of(part) for part in given[0].split(BATCH_SIZE))
        moments = sum(others, first)
        _check_variance(norms[norm], moments.count)
        known[norm].append(moments)
        _set_statistics(norm, [moments], correction=0)  # as training mode would normalise

    with _hooked(norms, look):
        model(inputs)
    _keep(known, num_batches=1)


def _call_by_call(model: nn.Module, norms: Norms, batches: Sequence[Tensor], begin: Callable[[], None]) -> None:
    """Moments over all batches of the first call that has none, then of the next, until a pass comes through."""
    known: dict[_NormBase, list[_Moments]] = {norm: [] for norm in norms}
    found: dict[_NormBase, _Moments] = {}
    calls: Counter[_NormBase] = Counter()

    def look(norm: _NormBase, given: tuple[Tensor, ...]) -> None:
        calls[norm] += 1
        if calls[norm] > len(known[norm]):
            moments = _Moments.of(given[0])
            found[norm] = found[norm] + moments if norm in found else moments
            raise _Stop
        moments = known[norm][calls[norm] - 1]
        _set_statistics(norm, [moments], correction=0)  # as training mode would normalise

    with _hooked(norms, look):
        while True:
            begin()
            found.clear()
            for batch in batches:
                calls.clear()
                with suppress(_Stop):
                    model(batch)
            if not found:
                break
            for norm, moments in found.items():
                _check_variance(norms[norm], moments.count)
                known[norm].append(moments)
    _keep(known, num_batches=len(batches))


def _keep(known: Mapping[_NormBase, Sequence[_Moments]], *, num_batches: int) -> None:
    """Give layers that were reached the statistics of all their calls."""
    for norm, each in known.items():
        if each:
            _set_statistics(norm, each, correction=1)
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.fill_(num_batches)


def _set_statistics(norm: _NormBase, calls: Sequence[_Moments], *, correction: int) -> None:
    """Mean over calls of their means and variances."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(torch.stack([one.mean for one in calls]).mean(dim=0))
    variances = [one.squares / (one.count - correction) for one in calls]
    norm.running_var.copy_(torch.stack(variances).mean(dim=0))


@contextmanager
def _instances_watched(norms: Sequence[_NormBase]) -> Iterator[Callable[[], None]]:
    """Give instance normalisation the mean of each example's own moments in the pass that was begun last.

    Inside it works as in training, each example by its own moments, so that batches play no part.
    """
    sums: dict[_NormBase, tuple[int, Tensor, Tensor]] = {}

    def look(norm: _NormBase, given: tuple[Tensor, ...]) -> None:
        values = given[0].unsqueeze(0) if given[0].ndim == norm._get_no_batch_dim() else given[0]  # type: ignore[operator]
        variance, mean = torch.var_mean(values.float().flatten(2), dim=2)
        count, means, variances = sums.get(norm, (0, 0, 0))
        sums[norm] = (
            count + len(values),
            means + mean.cpu().double().sum(dim=0),
            variances + variance.cpu().double().sum(dim=0),
        )

    kept = [(norm, [buffer.clone() for buffer in norm.buffers(recurse=False)]) for norm in norms]
    for norm in norms:
        norm.train()
    with _hooked(norms, look):
        yield sums.clear
    for norm, before in kept:
        for buffer, value in zip(norm.buffers(recurse=False), before, strict=True):
            buffer.copy_(value)
        if norm in sums and norm.running_mean is not None and norm.running_var is not None:
            count, means, variances = sums[norm]
            norm.running_mean.copy_(means / count)
            norm.running_var.copy_(variances / count)


def same_streams(model: nn.Module) -> AbstractContextManager[Any]:
    """Put torch's random streams back afterwards."""
    cuda = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    streams: AbstractContextManager[Any] = torch.random.fork_rng(devices=cuda)
    return streams
