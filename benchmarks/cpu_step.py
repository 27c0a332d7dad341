"""A training step of ResNet-18 on one core of a CPU: what products on small maps save, and where the rest goes.

    python -m benchmarks.cpu_step [--quick] [--out benchmarks/results]

Run from the root of the repository. The step is that of the paper's setting on 32 x 32 pictures (batch 128, SGD
with momentum, fused). Times are CPU seconds of this process on one thread, so that other work on the machine
counts little; contenders take turns, and the best turn of each counts. The last batch of an epoch is half of
one, so that a mean step has fewer pictures than a batch: `samples_per_second` times its seconds.

    convolutions   the fast engine with PyTorch's convolutions alone, in float32 and bfloat16
    products       the same, and a product per pixel onto maps of at most four pixels
                   (`dashtheory.deep.models.small_maps`)

The roofline goes layer by layer: operations as the definition of a convolution counts them (zeros of the border
among them) over the time of its three directions, against the fastest matrix product seen in the same run. A
layer above the peak has left zeros out. Before anything is timed both contenders must give the same loss. Writes
OUT/cpu_step.json.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.discrete import circumstances
from benchmarks.images import MEAN, ON_CPU, STD, Size, epoch, kind_of, network, pictures
from benchmarks.script import write_record
from dashtheory.deep.models import PictureNetwork
from dashtheory.deep.models.small_maps import MOST_PIXELS, SmallMapConv2d, take_products_
from dashtheory.evaluate import cross_entropy
from dashtheory.protocol import Work, make_fast_engine
from dashtheory.protocol.fast_engine import FastEngine
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules import Learner

QUICK = Size(batch_size=4, steps=2, turns=1, width=2, product=64, copied=2**10)
FULL = Size(batch_size=128, steps=4, turns=5, width=64, product=2048, copied=ON_CPU.copied)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DIRECTIONS = {"forward": None, "by data": [True, False, False], "by weights": [False, True, False]}


def engine(size: Size, precision: str, *, products: bool) -> FastEngine:
    """A contender, ready to train."""
    inner = network(size)
    if products:
        take_products_(inner)
    model = PictureNetwork(inner, MEAN, STD, precision=precision, channels_last=True).train()
    optimizer = make_optimizer("sgd", model.parameters(), learning_rate=0.001, fused=True)
    work = Work(
        learner=Learner(model, optimizer),
        examples=pictures(size),
        batch_size=size.batch_size,
        loss_fn=cross_entropy,
    )
    made = make_fast_engine(work)
    assert isinstance(made, FastEngine)
    return made


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure_steps(size: Size) -> list[dict[str, Any]]:
    """CPU seconds per step of both contenders in both precisions, turn by turn."""
    found = []
    for precision in DTYPES:
        engines = {
            name: engine(size, precision, products=name == "products") for name in ("convolutions", "products")
        }
        first, second = (one.run(epoch(size, 0)).loss for one in engines.values())
        if abs(first - second) > 0.01 * first:  # bfloat16 rounds to a hundredth of that, before some steps
            raise RuntimeError(f"losses {first} and {second} differ; times would mean nothing")
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(1, size.turns + 1):
            for name, one in engines.items():
                seconds[name].append(cpu_seconds(partial(one.run, epoch(size, turn))) / size.steps)
        before, after = seconds["convolutions"], seconds["products"]
        found.append(
            {
                "precision": precision,
                "convolutions_seconds": before,
                "products_seconds": after,
                "ratio_of_minima": min(before) / min(after),
                "median_ratio": statistics.median(a / b for a, b in zip(before, after, strict=True)),
                "samples_per_second": size.number / size.steps / min(after),
            }
        )
    return found


@dataclass(frozen=True)
class Layer:
    """A convolution of the network, and how often it is there.

    Attributes:
        module: it, or the first of several alike.
        shape: of its inputs.
        number: of layers alike.
    """

    module: nn.Conv2d
    shape: torch.Size
    number: int


def layers(size: Size) -> list[Layer]:
    """The different convolutions of the network, in order."""
    net, met = network(size).train(), dict[tuple[Any, ...], list[tuple[nn.Conv2d, torch.Size]]]()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        key = (inputs[0].shape, module.weight.shape, module.stride)
        met.setdefault(key, []).append((module, inputs[0].shape))

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    net(pictures(size).inputs[: size.batch_size].float())
    return [Layer(alike[0][0], alike[0][1], len(alike)) for alike in met.values()]


def layer_seconds(layer: Layer, turns: int) -> dict[str, float]:
    """Shortest CPU time of each direction of a layer in bfloat16; of all three by products, where taken."""
    module, dtype = layer.module, torch.bfloat16
    inputs = torch.randn(layer.shape).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = module.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
    stride, padding = list(module.stride), [int(value) for value in module.padding]

    def forward() -> Tensor:
        return torch.nn.functional.conv2d(inputs, weight, stride=stride, padding=padding)

    gradient = torch.randn_like(forward())

    def backward(mask: list[bool]) -> object:
        arguments = (gradient, inputs, weight, None, stride, padding, [1, 1], False, [0, 0], 1, mask)
        return torch.ops.aten.convolution_backward(*arguments)

    works = {name: forward if mask is None else partial(backward, mask) for name, mask in DIRECTIONS.items()}
    taken = isinstance(take_products_(copy.deepcopy(module)), SmallMapConv2d)
    if taken and gradient.shape[2] * gradient.shape[3] <= MOST_PIXELS:
        works["all by products"] = partial(_by_products, module, inputs, gradient)
    return {name: _shortest(work, turns) for name, work in works.items()}


def _by_products(module: nn.Conv2d, inputs: Tensor, gradient: Tensor) -> object:
    """Forward and backward of a layer that takes products."""
    made = take_products_(module)
    assert isinstance(made, SmallMapConv2d)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        out = made(inputs.requires_grad_())
    return torch.autograd.grad(out, [inputs, made.weight], gradient)


def _shortest(work: Callable[[], object], turns: int) -> float:
    work()
    return min(cpu_seconds(lambda: [work() for _ in range(3)]) / 3 for _ in range(turns))


def roofline(size: Size, peak: float) -> list[dict[str, Any]]:
    """Shares of the measured peak, layer by layer."""
    rows = []
    for layer in layers(size):
        module, seconds = layer.module, layer_seconds(layer, size.turns)
        batch, _, height, width = layer.shape
        pixels = batch * (height // module.stride[0]) * (width // module.stride[1])
        flops = 2 * pixels * module.weight.numel()
        rows.append(
            {
                "layer": f"{module.in_channels} to {module.out_channels}, {module.kernel_size[0]}x"
                f"{module.kernel_size[1]}, {height}x{width} by {module.stride[0]}",
                "number": layer.number,
                "gigaflops": flops / 1e9,
                "seconds": seconds,
                "share_of_peak": {
                    name: flops * (3 if name == "all by products" else 1) / value / peak
                    for name, value in seconds.items()
                },
            }
        )
    return rows


def peaks(size: Size) -> dict[str, float]:
    """Operations per CPU second of the fastest of three square matrix products."""
    found = {}
    for name, dtype in DTYPES.items():
        rates = []
        for rows in (size.product // 4, size.product // 2, size.product):
            left, right = (torch.randn(rows, rows).to(dtype) for _ in range(2))
            rates.append(2 * rows**3 / _shortest(partial(torch.mm, left, right), size.turns))
        found[name] = max(rates)
    return found


def step_by_kind(size: Size) -> dict[str, float]:
    """Seconds of a step in bfloat16 with products, by kind of operation."""
    one = engine(size, "bfloat16", products=True)
    one.run(epoch(size, 0))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        one.run(epoch(size, 1))
    sums: dict[str, float] = {}
    for event in profiler.key_averages():
        kind = "products" if event.key in ("aten::mm", "aten::addmm") else kind_of(event.key)
        sums[kind] = sums.get(kind, 0.0) + event.self_cpu_time_total / 1e6 / size.steps
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them."""
    torch.set_num_threads(1)
    size = QUICK if quick else FULL
    with torch.random.fork_rng():
        torch.manual_seed(0)
        highest = peaks(size)
        record: dict[str, Any] = {
            "quick": quick,
            **circumstances(),
            "batch_size": size.batch_size,
            "steps": measure_steps(size),
            "peaks": highest,
            "layers": roofline(size, highest["bfloat16"]),
            "step_by_kind": step_by_kind(size),
        }
    record["versions"]["torch"] = torch.__version__
    for row in record["steps"]:
        print(
            f"{row['precision']:9} products take 1/{row['ratio_of_minima']:.2f} of the time of convolutions alone"
            f" (median of turns {row['median_ratio']:.2f}); {row['samples_per_second']:.0f} samples per core and s"
        )
    print(f"fastest product: {', '.join(f'{name} {value / 1e9:.0f} GF/s' for name, value in highest.items())}")
    for row in record["layers"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in row["share_of_peak"].items())
        print(f"{row['number']} x {row['layer']:32} {row['gigaflops']:5.2f} GF: {shares}")
    print(
        "ms of a step: " + ", ".join(f"{kind} {1e3 * value:.0f}" for kind, value in record["step_by_kind"].items())
    )
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/cpu_step.json."""
    write_record("cpu_step", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
