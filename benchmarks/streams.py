"""Small networks on a stream of tasks: all replicas in one batched call, or one by one with autograd.

    python -m benchmarks.streams [--quick] [--out benchmarks/results]

Run from the root of the repository. A step is that of `dashtheory.streams` (64-100-100-10, ReLU, batch 16), with
SGD and with Adam; the contenders train the same networks on the same batches. Times are CPU seconds of this
process on one thread per network and step, so that other work on the machine counts little; contenders take
turns. Before anything is timed both must end at the same weights. Writes OUT/streams.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.discrete import circumstances
from benchmarks.script import write_record
from dashtheory.seeds import torch_stream
from dashtheory.streams import NetworkStack
from dashtheory.streams.steps import OptimizerState, Stepper

RATE = 0.001


@dataclass(frozen=True, kw_only=True)
class Work:
    """Sizes: networks of a stack, those that are trained one by one, steps per turn, and turns."""

    sizes: tuple[int, ...] = (64, 100, 100, 10)
    batch_size: int = 16
    stacks: tuple[int, ...] = (1, 8, 32, 100)
    separate: int = 2
    steps: int = 40
    turns: int = 7


FULL = Work()
QUICK = Work(sizes=(6, 8, 3), batch_size=4, stacks=(1, 3), separate=1, steps=3, turns=1)


def start(work: Work, number: int, dtype: torch.dtype = torch.float32) -> tuple[NetworkStack, Tensor]:
    """Networks of one seed, (1, number, D)."""
    stack = NetworkStack(work.sizes)
    drawn = [stack.draw(torch_stream(0, "init", place)) for place in range(number)]
    return stack, torch.stack(drawn)[None].to(dtype)


def batches(work: Work, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    """The batches of all steps, (1, batch, ...)."""
    generator = torch_stream(0, "data")
    shape = (1, work.batch_size, work.sizes[0])
    return [
        (
            torch.randn(shape, generator=generator).to(dtype),
            torch.randint(work.sizes[-1], shape[:2], generator=generator),
        )
        for _ in range(work.steps)
    ]


def stacked(work: Work, optimizer: str, number: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, float]:
    """All networks at once: their numbers, and CPU seconds."""
    stack, flat = start(work, number, dtype)
    data, state, slope = batches(work, dtype), OptimizerState.zero(flat, optimizer), torch.empty_like(flat)
    stepper = Stepper(optimizer=optimizer, learning_rate=[RATE] * number, weight_decay=[0.0] * number)
    begun = time.process_time()
    for inputs, targets in data:
        stack.gradient_(flat, inputs, targets, slope)
        stepper.step_(flat, slope, state, stack)
    return flat[0], time.process_time() - begun


def separate(work: Work, optimizer: str, number: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, float]:
    """One by one, with modules and torch's own optimizer."""
    stack, flat = start(work, number, dtype)
    data, seconds, found = batches(work, dtype), 0.0, []
    for numbers in flat[0]:
        module = stack.as_module(numbers)
        kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
        steps = kind(module.parameters(), lr=RATE)
        begun = time.process_time()
        for inputs, targets in data:
            steps.zero_grad()
            functional.cross_entropy(module(inputs[0]), targets[0]).backward()
            steps.step()
        seconds += time.process_time() - begun
        found.append(stack.from_module(module))
    return torch.stack(found), seconds


def require_equal(work: Work, optimizer: str) -> None:
    """Stop unless both contenders end at the same weights, in float64."""
    ours = stacked(work, optimizer, work.separate, torch.float64)[0]
    theirs = separate(work, optimizer, work.separate, torch.float64)[0]
    if not torch.allclose(ours, theirs, rtol=1e-6, atol=1e-9):
        raise RuntimeError(f"stacked and separate networks differ with {optimizer}; times would mean nothing")


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them as they come."""
    torch.set_num_threads(1)
    work = QUICK if quick else FULL
    record: dict[str, Any] = {"quick": quick, **circumstances(), "measurements": []}
    record["versions"]["torch"] = torch.__version__
    for optimizer in ("sgd", "adam"):
        require_equal(work, optimizer)
        seconds: dict[int, list[float]] = {number: [] for number in (0, *work.stacks)}  # 0: one by one
        for turn in range(work.turns + 1):  # the first is a warm-up
            for number, values in seconds.items():
                count = number or work.separate
                taken = (stacked if number else separate)(work, optimizer, count)[1]
                if turn:
                    values.append(taken / count / work.steps)
        alone = seconds.pop(0)
        for number, values in seconds.items():
            ratios = [one / ours for one, ours in zip(alone, values, strict=True)]
            row: dict[str, Any] = {
                "optimizer": optimizer,
                "networks": number,
                "seconds_median": statistics.median(values),
                "separate_seconds_median": statistics.median(alone),
                "median_ratio": statistics.median(ratios),
                "ratio_of_minima": min(alone) / min(values),
            }
            print(f"{optimizer:<5} {number:>4} networks {1e6 * row['seconds_median']:8.1f} us", end="")
            print(f"  one by one {row['median_ratio']:5.2f} times as long", flush=True)
            record["measurements"].append(row)
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/streams.json."""
    write_record("streams", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
