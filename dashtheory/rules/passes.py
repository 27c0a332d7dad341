"""How rules pass over chunks: what a chunk is made of, how a model is called, and which processes share the pass.

By itself a model is called as `model(inputs)`, a batch weighs by its targets that count, and every process is
alone. `dash_` takes other ways as arguments; `passing` sets them for whatever rule runs inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dashtheory._check import fail

Forward = Callable[[nn.Module, Any], Any]
"""`forward(model, inputs)`: the output that the loss takes."""
Count = Callable[[Any, Any], float]
"""`count(output, target)`: how much a batch weighs in the mean over its chunk."""
Pair = Callable[[Any], tuple[object, object]]
"""`pair(batch)`: (inputs, target) of a batch of any form."""


@dataclass(frozen=True, eq=False)
class Parts:
    """One chunk in parts, which weigh by the targets in them that count.

    Attributes:
        batches: what gives the parts, such as a loader; gone through at each pass.
        pair: makes (inputs, target) of a part that is none.
    """

    batches: Iterable[Any]
    pair: Pair | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches) if self.pair is None else map(self.pair, self.batches)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """How a pass goes; None is the way that holds without it.

    Attributes:
        forward: calls the model.
        count: weighs a batch.
        group: processes whose gradients are averaged (`torch.distributed`).
    """

    forward: Forward | None = None
    count: Count | None = None
    group: Any = None


_NOW: ContextVar[Pass] = ContextVar("pass", default=Pass())  # noqa: B039 - never changed


def current_pass() -> Pass:
    """How a pass goes here."""
    return _NOW.get()


@contextmanager
def passing(*, forward: Forward | None = None, count: Count | None = None, group: Any = None) -> Iterator[None]:
    """Let rules inside pass over their chunks in another way; what is None stays as it is outside.

    Args:
        forward: calls the model: `forward(model, inputs)`.
        count: weighs a batch: `count(output, target)`.
        group: processes that each hold a share of every chunk, and one model: gradients are averaged over them.

    Raises:
        ValueError: if `forward` or `count` cannot be called.
    """
    given = {"forward": forward, "count": count, "group": group}
    for name in ("forward", "count"):
        if given[name] is not None and not callable(given[name]):
            fail(name, "must be a function", repr(given[name]), "Say a function of two arguments, or None.")
    token = _NOW.set(replace(_NOW.get(), **{name: value for name, value in given.items() if value is not None}))
    try:
        yield
    finally:
        _NOW.reset(token)


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first parameter is; a CPU for a model without any."""
    return next((value.device for value in model.parameters()), torch.device("cpu"))


def inputs_of(chunks: Iterable[Any], device: torch.device) -> Iterator[Tensor]:
    """Inputs of all parts of all chunks, in order, for a rule that calls the model itself.

    Args:
        chunks: pairs, or what gives the parts of one.
        device: where the inputs go.

    Raises:
        ValueError: in one line if there are none, one is no tensor, or the model is to be called in another way.
    """
    if current_pass().forward is not None:
        fail(
            "forward",
            "must be left out for a rule that calls the model as model(inputs)",
            "a function",
            "Drop it.",
        )
    empty = True
    for chunk in chunks:
        for inputs, _ in [chunk] if isinstance(chunk, tuple) else chunk:
            if not isinstance(inputs, Tensor):
                got, fix = type(inputs).__name__, "Leave this rule out."
                fail(
                    "chunks",
                    "must have tensors as inputs for a rule that calls the model as model(inputs)",
                    got,
                    fix,
                )
            empty = False
            yield inputs.to(device)
    if empty:
        fail("chunks", "must hold data for this rule", "none", "Give the chunks seen so far.")


def summed_over(group: Any, values: list[Tensor]) -> list[Tensor]:
    """Sums over the processes of a group, with the same bits in each; the values themselves without a group.

    Args:
        group: of `torch.distributed`, or None.
        values: one list a process, of the same shapes.
    """
    if group is None:
        return values
    for value in values:
        dist.all_reduce(value, group=group)
    return values


@torch.no_grad()
def same_on_all_ranks_(model: nn.Module, group: Any) -> None:
    """Give every process of a group the parameters and buffers of its first, in place.

    For what a rule draws or computes in each process by itself. DistributedDataParallel copies parameters only
    when it is made.

    Args:
        model: one in each process, of one architecture.
        group: of `torch.distributed`.
    """
    first = dist.get_global_rank(group, 0)
    for value in [*model.parameters(), *model.buffers()]:
        sent = value.detach().contiguous()
        dist.broadcast(sent, src=first, group=group)
        if sent.data_ptr() != value.data_ptr():
            value.copy_(sent)
