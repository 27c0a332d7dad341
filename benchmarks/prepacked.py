"""Convolutions of ResNet-18 on one core of a CPU, with weights as they are stored and packed beforehand.

    python -m benchmarks.prepacked [--quick] [--out benchmarks/results]

Run from the root of the repository. oneDNN brings the weights of a convolution into an order of its own at every
call; a network that is not trained can do so once. In training the weights change at every step, so that what
is saved here is the most that packing once a step could save, and only of the forward pass: PyTorch's backward
pass takes no packed weights. Layers are those of the paper's setting on 32 x 32 pictures (batch 128, bfloat16,
channels last), each in the number that the network has of it. Times are CPU seconds of this process on one
thread; contenders take turns, and the shortest turn of each counts.

Before anything is timed both must give the same numbers, bit for bit. Writes OUT/prepacked.json.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.cpu_step import Layer, cpu_seconds, layers
from benchmarks.discrete import circumstances
from benchmarks.images import Size
from benchmarks.script import write_record

QUICK = Size(batch_size=4, steps=1, turns=1, width=2, product=64, copied=2**10)
FULL = Size(batch_size=128, steps=4, turns=7, width=64, product=2048, copied=2**28)
DTYPE = torch.bfloat16


def contenders(layer: Layer) -> dict[str, Callable[[], Tensor]]:
    """The forward pass of a layer in both ways, without gradients."""
    module = layer.module
    inputs = torch.randn(layer.shape).to(DTYPE).contiguous(memory_format=torch.channels_last)
    weight = module.weight.detach().to(DTYPE).contiguous(memory_format=torch.channels_last)
    stride, padding = list(module.stride), [int(value) for value in module.padding]
    place = (padding, stride, [1, 1], 1)
    packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *place, list(inputs.shape))
    call = torch.ops.mkldnn._convolution_pointwise
    return {
        "as stored": partial(torch.nn.functional.conv2d, inputs, weight, stride=stride, padding=padding),
        "packed": partial(call, inputs, packed, None, *place, "none", [], ""),
    }


def compare(layer: Layer, size: Size) -> dict[str, Any]:
    """CPU seconds of one layer in both ways, turn by turn."""
    works = contenders(layer)
    first, second = (work() for work in works.values())
    if not torch.equal(first, second):
        raise RuntimeError(f"{layer.module} gives {first} and {second}; times would mean nothing")
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(size.turns):
        for name, work in works.items():
            seconds[name].append(cpu_seconds(partial(_often, work, size.steps)) / size.steps)
    module = layer.module
    words = f"{module.in_channels} to {module.out_channels}, {module.kernel_size[0]}x{module.kernel_size[1]}"
    return {"layer": f"{words}, {tuple(layer.shape[2:])}", "number": layer.number, "seconds": seconds}


def _often(work: Callable[[], Tensor], times: int) -> None:
    for _ in range(times):
        work()


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them."""
    torch.set_num_threads(1)
    size = QUICK if quick else FULL
    record: dict[str, Any] = {"quick": quick, **circumstances(), "batch_size": size.batch_size, "layers": []}
    record["versions"]["torch"] = torch.__version__
    for layer in layers(size):
        row = compare(layer, size)
        record["layers"].append(row)
        times = (f"{name} {1000 * min(turns):.2f} ms" for name, turns in row["seconds"].items())
        print(f"{row['number']} x {row['layer']}: {', '.join(times)}", flush=True)
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/prepacked.json."""
    write_record("prepacked", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
