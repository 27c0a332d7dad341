"""Speed of training on pictures, beside a plain loop as published code writes it, and where the time goes.

    python -m benchmarks.images [--quick] [--out benchmarks/results]

Run from the root of the repository. ResNet-18 of the standard setting (3x3 stem, max-pool kept), batch 128, SGD
with momentum, on bytes drawn at random. Contenders take turns, on the GPU if there is one, else on all cores of
the CPU:

    loader              DataLoader over single pictures, each converted and normalised by itself; loss.item() and
                        the number of right predictions read after every batch
    plain engine        `dashtheory.protocol.PlainEngine` on bytes, float32
    fast, float32       `dashtheory.protocol`: channels last, fused optimizer, steps recorded on CUDA (there
                        float32 means TF32, for all contenders)
    fast, bfloat16      the same under autocast
    fast, not recorded  the same, every step launched from the host (CUDA alone)

Before anything is timed, one epoch of the loader, the plain and the fast engine in float32 must give the same
loss. The roofline: operations counted by torch, and the fewest bytes that a step must move (see `step_bytes`),
over the time of a whole batch, against the largest matrix product and copy that the device is seen to do in
the same run. Writes OUT/images.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.discrete import circumstances
from benchmarks.script import write_record
from dashtheory.deep.models import PictureNetwork, build_model
from dashtheory.evaluate import Scores, cross_entropy
from dashtheory.protocol import (
    Engine,
    Epoch,
    PlainEngine,
    Work,
    describe_device,
    exact_or_fast,
    find_device,
    make_fast_engine,
)
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules import Learner
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples

MEAN, STD = (125.0, 123.0, 114.0), (63.0, 62.0, 67.0)
STANDARD_SAMPLES = 18_000_000  # that a cold run of 50 stages on CIFAR-10 sees, about


@dataclass(frozen=True, kw_only=True)
class Size:
    """One amount of work."""

    batch_size: int
    steps: int  # of an epoch; the last batch is half a batch
    turns: int
    width: int  # of ResNet-18
    product: int  # rows of the matrix product that measures the peak
    copied: int  # bytes of the copy that measures the bandwidth

    @property
    def number(self) -> int:
        """Pictures."""
        return self.batch_size * self.steps - self.batch_size // 2


ON_CPU = Size(batch_size=128, steps=4, turns=5, width=64, product=2048, copied=2**28)
ON_GPU = Size(batch_size=128, steps=100, turns=7, width=64, product=8192, copied=2**31)
QUICK = Size(batch_size=8, steps=3, turns=1, width=4, product=64, copied=2**20)


class SinglePictures(Dataset[tuple[Tensor, Tensor]]):
    """Pictures one by one, as bytes with the channels last, converted and normalised at each visit."""

    def __init__(self, examples: Examples) -> None:
        self.pictures = examples.inputs.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets = examples.targets
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) / 255 for values in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        picture = torch.from_numpy(self.pictures[index]).permute(2, 0, 1).contiguous().float().div(255)
        return (picture - self.mean) / self.std, self.targets[index]


class LoaderEngine:
    """The loop of published code: single pictures, and two waits for the device in every step."""

    def __init__(self, work: Work, device: str) -> None:
        self.work, self.device = work, device
        self.pictures = SinglePictures(work.examples.to("cpu"))

    def run(self, epoch: Epoch) -> Scores:
        """One epoch."""
        learner, loss_sum, right = self.work.learner, 0.0, 0
        loader = DataLoader(self.pictures, batch_size=self.work.batch_size, sampler=epoch.order.tolist())
        for inputs, targets in loader:
            moved, labels = inputs.to(self.device), targets.to(self.device)
            learner.optimizer.zero_grad()
            logits = learner.model(moved)
            loss = cross_entropy(logits, labels)
            loss.backward()
            learner.optimizer.step()
            loss_sum += loss.item() * len(labels)
            right += (logits.argmax(dim=1) == labels).sum().item()
        number = len(self.work.examples)
        return Scores(loss=loss_sum / number, accuracy=right / number)


def pictures(size: Size) -> Examples:
    """Random bytes and labels."""
    generator = torch_stream(0, "data")
    images = torch.randint(0, 256, (size.number, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Examples(images, torch.randint(0, 10, (size.number,), generator=generator))


def network(size: Size) -> nn.Module:
    """ResNet-18 of the standard setting."""
    return build_model("resnet18", (3, 32, 32), 10, torch_stream(0, "init"), width=size.width)


def engine(name: str, size: Size, device: str) -> Engine:
    """A contender, ready to train."""
    examples = pictures(size).to(device)
    if name == "loader":
        model = network(size)
    else:
        precision = "bfloat16" if "bfloat16" in name or "not recorded" in name else "float32"
        model = PictureNetwork(network(size), MEAN, STD, precision=precision, channels_last=name != "plain engine")
    model.to(device).train()
    fused = name.startswith("fast")
    optimizer = make_optimizer("sgd", model.parameters(), learning_rate=0.001, fused=fused)
    work = Work(
        learner=Learner(model, optimizer),
        examples=examples,
        batch_size=size.batch_size,
        loss_fn=cross_entropy,
    )
    if name == "loader":
        return LoaderEngine(work, device)
    return make_fast_engine(work, capture="not recorded" not in name) if fused else PlainEngine(work)


def epoch(size: Size, number: int) -> Epoch:
    """An order of the pictures."""
    return Epoch(order=torch.randperm(size.number, generator=torch_stream(0, "order", number)))


def contenders(device: str) -> list[str]:
    """Names of what is compared; the first is what the others are measured against."""
    names = ["loader", "plain engine", "fast, float32", "fast, bfloat16"]
    return [*names, "fast, not recorded"] if device.startswith("cuda") else names


def require_equal(size: Size, device: str) -> None:
    """Stop unless all float32 contenders see the same losses; they differ in the order of sums alone."""
    size = replace(size, steps=min(size.steps, 4))
    with exact_or_fast("float32"):
        losses = {
            name: engine(name, size, device).run(epoch(size, 0)).loss
            for name in contenders(device)
            if "bfloat16" not in name and "not recorded" not in name
        }
    first = losses["loader"]
    for name, loss in losses.items():
        if abs(loss - first) > 1e-3 * first:  # a few hundred float32 roundings, amplified by a few steps
            raise RuntimeError(f"{name} has loss {loss}, not {first}; times would mean nothing")


def measure_contenders(size: Size, device: str) -> list[dict[str, Any]]:
    """Wall seconds per step of each contender, turn by turn, and how many times longer the loader takes."""
    engines = {name: engine(name, size, device) for name in contenders(device)}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(size.turns + 2):  # two to warm up: in the second, steps are recorded
        for name, one in engines.items():
            start = time.perf_counter()
            one.run(epoch(size, turn))  # reading the scores waits for the device
            if turn > 1:
                seconds[name].append((time.perf_counter() - start) / size.steps)
    loader = seconds["loader"]
    return [
        {
            "name": name,
            "step_seconds_min": min(values),
            "step_seconds_median": statistics.median(values),
            "step_seconds_max": max(values),
            "samples_per_second": size.number / size.steps / statistics.median(values),
            "median_ratio_of_loader": statistics.median(a / b for a, b in zip(loader, values, strict=True)),
            "ratio_of_minima_of_loader": min(loader) / min(values),
        }
        for name, values in seconds.items()
    ]


def step_flops(size: Size) -> int:
    """Operations of a step on a whole batch, forward and backward, by torch's own count (two per product)."""
    model, examples = network(size).train(), pictures(size)
    inputs, targets = examples.inputs[: size.batch_size].float(), examples.targets[: size.batch_size]
    counter = FlopCounterMode(display=False)
    with counter:
        cross_entropy(model(inputs), targets).backward()
    return int(counter.get_total_flops())


def step_bytes(size: Size, *, width: int) -> int:
    """Fewest bytes that a step moves through memory, layer by layer.

    Each layer's output is written once and read once forward, read once and its gradient written and read once
    backward: five times its size. Weights: read forward and backward, gradient written and read, momentum and
    weight read and written by the optimizer: eight times, in float32.

    Args:
        size: of the work.
        width: bytes of a number of the activations (4, or 2 in bfloat16).
    """
    model, sizes = network(size).train(), []
    hooks = [
        layer.register_forward_hook(lambda _, __, output: sizes.append(output.numel()))
        for layer in model.modules()
        if not list(layer.children())
    ]
    model(pictures(size).inputs[: size.batch_size].float())
    for hook in hooks:
        hook.remove()
    weights = sum(parameter.numel() for parameter in model.parameters())
    return int(5 * width * sum(sizes) + 8 * 4 * weights)


def best_seconds(work: Callable[[], object], device: str, turns: int = 5) -> float:
    """Shortest wall time of `work`, after a warm-up."""
    found = []
    for _ in range(turns + 1):
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found[1:])


def measured_peaks(size: Size, device: str) -> dict[str, float]:
    """Operations per second of a large matrix product in both precisions, bytes per second of a large copy."""
    generator, found = torch_stream(0, "peak"), {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        left, right = (
            torch.randn(size.product, size.product, generator=generator).to(device, dtype) for _ in range(2)
        )
        found[name] = 2 * size.product**3 / best_seconds(partial(torch.mm, left, right), device)
    source = torch.ones(size.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found["bytes"] = 2 * size.copied / best_seconds(lambda: target.copy_(source), device)
    return found


def roofline(size: Size, rows: Sequence[dict[str, Any]], peaks: dict[str, float]) -> dict[str, Any]:
    """Floors of the time of a whole batch, and shares of the measured peaks, for the fast contenders.

    The contenders' own seconds are of a mean step, which is smaller: the last batch of an epoch is half of one.
    """
    flops, found = step_flops(size), {}
    for name, width in (("float32", 4), ("bfloat16", 2)):
        rate = next(row["samples_per_second"] for row in rows if row["name"] == f"fast, {name}")
        seconds = size.batch_size / rate
        moved = step_bytes(size, width=width)
        found[name] = {
            "flops": flops,
            "bytes": moved,
            "flop_floor_seconds": flops / peaks[name],
            "byte_floor_seconds": moved / peaks["bytes"],
            "step_seconds": seconds,
            "share_of_peak_flops": flops / seconds / peaks[name],
            "share_of_peak_bytes": moved / seconds / peaks["bytes"],
        }
    return found


_KINDS = (
    ("convolutions", ("convolution", "mkldnn_conv", "cudnn_conv")),
    ("batch norm", ("batch_norm", "batchnorm")),
    ("optimizer", ("_fused_sgd", "_foreach", "addcdiv")),
    ("pooling", ("max_pool", "mean")),
    ("ReLU and sums", ("relu", "clamp", "threshold", "add")),
    ("casts, copies, gathers", ("copy_", "_to_copy", "index", "contiguous", "clone", "gather", "reorder")),
)


def kind_of(operation: str) -> str:
    """Where an operation of torch belongs."""
    name = operation.lower()
    return next((kind for kind, words in _KINDS if any(word in name for word in words)), "other")


def shares_of_time(size: Size, device: str) -> dict[str, float]:
    """Shares of an unrecorded epoch in bfloat16 by kind of operation; on CUDA of the time of its kernels."""
    cuda = device.startswith("cuda")
    one = engine("fast, not recorded", size, device)
    one.run(epoch(size, 0))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        one.run(epoch(size, 1))
    sums: dict[str, float] = {}
    for event in profiler.key_averages():
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        if event.key.startswith("aten::") or not cuda:
            sums[kind_of(event.key)] = sums.get(kind_of(event.key), 0.0) + spent
    total = sum(sums.values()) or 1.0
    return {kind: spent / total for kind, spent in sorted(sums.items(), key=lambda item: -item[1])}


def report(record: dict[str, Any]) -> None:
    """Print the record as a table."""
    print(f"device: {record['device']}, {record['threads']} threads of the CPU", flush=True)
    for row in record["contenders"]:
        print(
            f"{row['name']:<20}{1e3 * row['step_seconds_median']:10.2f} ms a step"
            f"{row['samples_per_second']:12,.0f} samples/s; the loader takes"
            f" {row['median_ratio_of_loader']:.2f} times ({row['ratio_of_minima_of_loader']:.2f} of minima)"
        )
    for name, found in record["roofline"].items():
        print(
            f"fast, {name}: {found['flops'] / 1e9:.1f} GFLOP and at least {found['bytes'] / 1e6:.0f} MB a step;"
            f" {found['share_of_peak_flops']:.0%} of the measured peak of operations,"
            f" {found['share_of_peak_bytes']:.0%} of that of bytes"
        )
    print("time by operation: " + ", ".join(f"{kind} {share:.0%}" for kind, share in record["time"].items()))
    print(f"18 million samples at this rate: {record['standard_minutes']:.1f} minutes (not run)")


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them."""
    device = find_device("auto")
    size = QUICK if quick else ON_GPU if device.startswith("cuda") else ON_CPU
    require_equal(size, device)
    with exact_or_fast("tf32"):
        before = measured_peaks(size, device)
        rows = measure_contenders(size, device)
        peaks = {name: max(before[name], value) for name, value in measured_peaks(size, device).items()}
        record: dict[str, Any] = {
            "quick": quick,
            **circumstances(),
            "device": describe_device(device),
            "threads": torch.get_num_threads(),
            "batch_size": size.batch_size,
            "contenders": rows,
            "peaks": peaks,
            "roofline": roofline(size, rows, peaks),
            "time": shares_of_time(size, device),
            "standard_minutes": STANDARD_SAMPLES / max(row["samples_per_second"] for row in rows) / 60,
        }
    record["versions"]["torch"] = torch.__version__
    report(record)
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/images.json."""
    write_record("images", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
