"""The fast engine: an epoch is queued whole on the device, and the host waits for it once.

Everything a step needs is on the device beforehand: the pictures, the epoch's order, the draws of the
augmentation, and the place in the order, which every step moves on by itself. A step has therefore no arguments,
and on CUDA it is recorded once as a graph and replayed. A graph is recorded for each size of batch (the odd last
one has its own) and for each step size. The first step of a stage with a size is never recorded: in it the
optimizer makes its state, and convolutions find their fastest algorithm. Nor are the steps of an epoch in which
the step size moves (a warm-up), nor those that a rule wants to look into (`AfterStep.recordable`), nor those of an
optimizer that computes on the host (its class says `recordable = False`: UPGD, TRAC, Muon). What a rule
does after a step comes between two replays, in the same queue.

`dashtheory.protocol.PlainEngine` is the readable twin; on a CPU, where nothing is recorded, both give the same
bits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory.evaluate import Scores
from dashtheory.protocol.engine import Engine, Epoch, Work, follow_step, set_rates, take_step
from dashtheory.stream import Examples

Step = Callable[[], object]


class FastEngine:
    """Trains the epochs of a stage from buffers on the device.

    Args:
        work: of the stage.
        record: makes a step that does the same from a step, such as a replayed CUDA graph, or None, which takes
            every step as it is.
    """

    def __init__(self, work: Work, record: Callable[[Step, torch.optim.Optimizer], Step] | None = None) -> None:
        examples, device = work.examples, work.examples.inputs.device
        self.work, self.record = work, record
        self.order = torch.empty(len(examples), dtype=torch.int64, device=device)
        self.draws: Tensor | None = None
        self.place = torch.zeros((), dtype=torch.int64, device=device)
        self.ranks = torch.arange(work.batch_size, device=device)
        self.sums = work.sums()
        self.recorded: dict[tuple[int, tuple[float, ...]], Step] = {}
        self.taken: set[int] = set()
        self.steps = 0

    def run(self, epoch: Epoch) -> Scores:
        """As `dashtheory.protocol.Engine.run`."""
        self.load(epoch)
        optimizer, num_steps, full = self.work.learner.optimizer, self.work.num_steps, self.work.batch_size
        steady = epoch.rates is None or all(rates == epoch.rates[0] for rates in epoch.rates)
        steady = steady and getattr(optimizer, "recordable", True)
        if self.work.after_step is not None:
            steady = steady and self.work.after_step.recordable
        for step in range(num_steps):
            set_rates(optimizer, None if epoch.rates is None else epoch.rates[step])
            size = full if step < num_steps - 1 else len(self.order) - step * full
            self._step_of(size, recordable=steady)()
            self.steps += 1
            follow_step(self.work, self.steps)
        return self.sums.read()

    def load(self, epoch: Epoch) -> None:
        """Put what an epoch needs into the buffers, whose addresses never change."""
        self.order.copy_(epoch.order)
        if epoch.draws is not None:
            if self.draws is None:
                self.draws = torch.empty(epoch.draws.shape, dtype=epoch.draws.dtype, device=self.order.device)
            self.draws.copy_(epoch.draws)
        self.place.zero_()
        self.sums.clear()

    def _step_of(self, size: int, *, recordable: bool) -> Step:
        """The next step, of `size` examples: recorded if it can be, and recorded now if it was not."""
        plain = partial(self.step, size)
        if self.record is None or not recordable or size not in self.taken:
            self.taken.add(size)
            return plain
        optimizer = self.work.learner.optimizer
        key = size, tuple(float(group["lr"]) for group in optimizer.param_groups)
        if key not in self.recorded:
            self.recorded[key] = self.record(plain, optimizer)
        return self.recorded[key]

    def step(self, size: int) -> None:
        """One step on the next `size` examples of the order; moves on."""
        work, ranks = self.work, self.place + self.ranks[:size]
        index = self.order[ranks]
        batch = work.examples.take(index)
        if work.augmentation is not None and self.draws is not None:
            batch = Examples(work.augmentation(batch.inputs, self.draws[ranks]), batch.targets)
        loss, logits = take_step(work, batch)
        self.sums.add(loss, logits, batch.targets)
        self.place += size


def make_fast_engine(work: Work, *, capture: bool = True) -> Engine:
    """The fast engine for the device of `work`: recorded on CUDA, and step by step elsewhere.

    Args:
        work: of the stage.
        capture: whether to record on CUDA.
    """
    device = work.examples.inputs.device
    if device.type != "cuda" or not capture:
        return FastEngine(work)
    return OnStream(FastEngine(work, CudaGraphs()), device)


class OnStream:
    """An engine whose work is queued on a stream of its own, as recording wants it.

    Args:
        engine: whose epochs are run.
        device: a CUDA device.
    """

    def __init__(self, engine: Engine, device: torch.device) -> None:
        self.engine, self.stream = engine, _stream_of(device)

    def run(self, epoch: Epoch) -> Scores:
        """As the engine; the caller's stream goes on after it."""
        before = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(before)
        with torch.cuda.stream(self.stream):
            scores = self.engine.run(epoch)
        before.wait_stream(self.stream)
        return scores


@cache
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    """One stream per device for all stages: memory that a stream has used is kept for that stream."""
    return torch.cuda.Stream(device)


class CudaGraphs:
    """Records steps as CUDA graphs that share one pool of memory; they run one after another."""

    def __init__(self) -> None:
        self.pool: Any = None

    def __call__(self, step: Step, optimizer: torch.optim.Optimizer) -> Step:
        """Record `step`, which is not taken thereby.

        Returns:
            what replays it.

        Raises:
            ValueError: if the optimizer counts its steps on the host (Adam, unless fused or capturable).
        """
        for group in optimizer.param_groups:
            if "capturable" in group and not (group["capturable"] or group.get("fused")):
                name = type(optimizer).__name__
                fail("optimizer", "must count its steps on the device", name, "Make it with fused=True.")
        graph = torch.cuda.CUDAGraph()
        # Gradients of earlier steps lie outside the graph; the recorded step makes its own.
        optimizer.zero_grad(set_to_none=True)
        with capturable(optimizer), torch.cuda.graph(graph, pool=self.pool, stream=torch.cuda.current_stream()):
            step()
        self.pool = graph.pool()
        replay: Step = graph.replay
        return replay


def capturable(optimizer: torch.optim.Optimizer) -> AbstractContextManager[None]:
    """Let torch record an optimizer that counts its steps on the device (Adam); others need nothing."""
    if not any("capturable" in group for group in optimizer.param_groups):
        return nullcontext()
    return _Capturable(optimizer)


class _Capturable(AbstractContextManager[None]):
    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.groups = optimizer.param_groups
        self.before = [group.get("capturable") for group in self.groups]

    def __enter__(self) -> None:
        for group in self.groups:
            group["capturable"] = True

    def __exit__(self, *exception: object) -> None:
        for group, value in zip(self.groups, self.before, strict=True):
            group["capturable"] = value
