"""A training step of ResNet-18 on one core of a CPU, as it is and through `torch.compile`.

    python -m benchmarks.compiled [--quick] [--out benchmarks/results]

Run from the root of the repository; a C++ compiler must be there. The network is that of the paper's setting on
32 x 32 pictures, in bfloat16 with the channels last; a step is the forward and the backward pass of a batch of
128. Times are CPU seconds of this process on one thread, so that other work on the machine counts little;
contenders take turns, and the shortest turn of each counts. Compiling is not among them: the wall seconds of the
first step, which compiles, stand in the record, and are few where torch has kept what it compiled before.

    convolutions   PyTorch's alone
    products       a product per pixel onto maps of at most four pixels, as the fast engine takes them

Before anything is timed all must give the same loss and norm of the gradient, up to rounding. Writes
OUT/compiled.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cpu_step import cpu_seconds
from benchmarks.discrete import circumstances
from benchmarks.images import MEAN, STD, Size, network, pictures
from benchmarks.script import write_record
from dashtheory.deep.models import PictureNetwork
from dashtheory.deep.models.small_maps import take_products_
from dashtheory.evaluate import cross_entropy
from dashtheory.stream import Examples

QUICK = Size(batch_size=4, steps=1, turns=1, width=2, product=64, copied=2**10)
FULL = Size(batch_size=128, steps=2, turns=5, width=64, product=2048, copied=2**28)
KINDS = ("convolutions", "products")


def trained(kind: str, size: Size) -> nn.Module:
    """A contender, in training mode."""
    inner = network(size)
    if kind == "products":
        take_products_(inner)
    return PictureNetwork(inner, MEAN, STD, precision="bfloat16", channels_last=True).train()


def passes(call: Callable[[Tensor], Tensor], model: nn.Module, batch: Examples) -> Tensor:
    """Forward and backward pass of a model that is called in some way; the loss."""
    model.zero_grad()
    loss = cross_entropy(call(batch.inputs), batch.targets)
    loss.backward()
    return loss.detach()


def compare(size: Size) -> list[dict[str, Any]]:
    """CPU seconds of a step of every contender, turn by turn, and wall seconds of the first, which compiles."""
    all_examples = pictures(size)
    batch = Examples(all_examples.inputs[: size.batch_size], all_examples.targets[: size.batch_size])
    works, rows, found = {}, {}, {}
    for kind in KINDS:
        for compiled in (False, True):
            model = trained(kind, size)
            ready: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model
            begin = time.perf_counter()
            loss = passes(ready, model, batch)  # compiles both
            rows[kind, compiled] = {"kind": kind, "compiled": compiled, "first": time.perf_counter() - begin}
            found[kind, compiled] = float(loss), float(gradient_of(model).norm())
            works[kind, compiled] = partial(passes, ready, model, batch)
    for what, values in zip(("losses", "norms of gradients"), zip(*found.values(), strict=True), strict=True):
        if max(values) - min(values) > 0.02 * min(values):  # bfloat16 rounds to about that, layer after layer
            raise RuntimeError(f"{what} {values} differ; times would mean nothing")
    seconds: dict[tuple[str, bool], list[float]] = {place: [] for place in works}
    for _ in range(size.turns):
        for place, work in works.items():
            seconds[place].append(cpu_seconds(work))
    return [
        {**row, "loss": found[place][0], "gradient_norm": found[place][1], "seconds": seconds[place]}
        for place, row in rows.items()
    ]


def gradient_of(model: nn.Module) -> Tensor:
    """Of all parameters, in one row."""
    return torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None])


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them."""
    torch.set_num_threads(1)
    size = QUICK if quick else FULL
    record: dict[str, Any] = {"quick": quick, **circumstances(), "batch_size": size.batch_size}
    record["versions"]["torch"] = torch.__version__
    record["steps"] = compare(size)
    for row in record["steps"]:
        words = f"{row['kind']}, {'compiled' if row['compiled'] else 'as they are'}"
        print(f"{words}: {1000 * min(row['seconds']):.0f} ms, first {row['first']:.1f} s", flush=True)
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/compiled.json."""
    write_record("compiled", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
