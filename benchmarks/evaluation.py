"""What a look at ResNet-18 costs on one core of a CPU: statistics taken anew, and test accuracy by size of batch.

    python -m benchmarks.evaluation [--quick] [--out benchmarks/results]

Run from the root of the repository. The network is that of the paper's setting on 32 x 32 pictures, in bfloat16.
Times are CPU seconds of this process on one thread, so that other work on the machine counts little; contenders
take turns, and the shortest turn of each counts.

    statistics    `dashtheory.batchnorm.reestimated` in one pass, and in a pass for each layer of batch norm, which
                  needs less memory
    accuracy      `dashtheory.evaluate.evaluate` with batches of several sizes

Before anything is timed, both ways must give the same statistics and all batches the same accuracy, up to
rounding. Writes OUT/evaluation.json.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.cpu_step import cpu_seconds
from benchmarks.discrete import circumstances
from benchmarks.images import MEAN, STD, Size, network, pictures
from benchmarks.script import write_record
from dashtheory import batchnorm
from dashtheory.deep.models import PictureNetwork
from dashtheory.deep.models.small_maps import take_products_
from dashtheory.evaluate import Scores, evaluate

QUICK = Size(batch_size=4, steps=4, turns=1, width=2, product=64, copied=2**10)
FULL = Size(batch_size=100, steps=20, turns=2, width=64, product=2048, copied=2**28)
BATCHES = (50, 125, 250, 500, 1000)
WAYS = {"in one pass": 2**40, "a pass for each layer": 0}
"""How statistics may be taken, and the numbers that may be in memory for it."""


def ready(size: Size) -> nn.Module:
    """The network, whose statistics fit its pictures."""
    inner = network(size)
    take_products_(inner)
    model = PictureNetwork(inner, MEAN, STD, precision="bfloat16", channels_last=True)
    return batchnorm.reestimated(model, pictures(size).inputs)


def way(name: str) -> AbstractContextManager[Any]:
    """Have statistics be taken in one way."""
    return patch.multiple(batchnorm, ONE_PASS=0, most_numbers=lambda device: WAYS[name])


def statistics(size: Size) -> dict[str, Any]:
    """CPU seconds of both ways, turn by turn, and how far what they find is apart."""
    model, inputs = ready(size), pictures(size).inputs
    take = partial(batchnorm.reestimated, model, inputs, batch_size=min(batchnorm.BATCH_SIZE, len(inputs) // 2))
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    found = {}
    for name in WAYS:
        with way(name):
            found[name] = dict(take().named_buffers())
    one, other = found.values()
    apart = max(
        float((value - other[name]).abs().max() / (1e-3 + other[name].abs().mean()))
        for name, value in one.items()
        if name.endswith(("running_mean", "running_var"))
    )
    if apart > 0.05:  # bfloat16 rounds what layers see to 0.004, layer after layer
        raise RuntimeError(f"statistics are {apart} apart; times would mean nothing")
    for _ in range(size.turns):
        for name in WAYS:
            with way(name):
                seconds[name].append(cpu_seconds(take))
    return {"pictures": len(inputs), "apart": apart, "seconds": seconds}


def accuracy(size: Size) -> list[dict[str, Any]]:
    """CPU seconds of each size of a batch, turn by turn, and the accuracy that it finds."""
    model, examples = ready(size), pictures(size)
    sizes = [batch for batch in BATCHES if batch <= len(examples)] or [len(examples)]
    works: dict[int, Callable[[], Scores]] = {
        batch: partial(evaluate, model, examples, batch_size=batch) for batch in sizes
    }
    found = {batch: work().accuracy for batch, work in works.items()}
    if max(found.values()) - min(found.values()) > 0.01:  # some pictures are near a tie
        raise RuntimeError(f"accuracies {found} differ; times would mean nothing")
    seconds = {batch: [cpu_seconds(work)] for batch, work in works.items()}
    for _ in range(size.turns):
        for batch, work in works.items():
            seconds[batch].append(cpu_seconds(work))
    return [
        {"batch_size": batch, "pictures": len(examples), "accuracy": found[batch], "seconds": seconds[batch]}
        for batch in sizes
    ]


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them."""
    torch.set_num_threads(1)
    size = QUICK if quick else FULL
    record: dict[str, Any] = {"quick": quick, **circumstances()}
    record["versions"]["torch"] = torch.__version__
    record["statistics"] = statistics(size)
    for name, turns in record["statistics"]["seconds"].items():
        print(f"statistics {name}: {min(turns):.2f} s", flush=True)
    record["accuracy"] = accuracy(size)
    for one in record["accuracy"]:
        print(f"accuracy in batches of {one['batch_size']}: {min(one['seconds']):.2f} s", flush=True)
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/evaluation.json."""
    write_record("evaluation", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
