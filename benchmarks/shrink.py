"""Price of DASH: a pass against training, a grid of alphas and lams against a pass, and rules against their stage.

    python -m benchmarks.shrink [--quick] [--out benchmarks/results]

Run from the root of the repository. Two settings: the character transformer of the text figure, and a small
convolutional network on images of Gaussian noise around a mean per class. Times are CPU seconds of this process on
one thread, after a warm-up; contenders take turns. A pass of DASH and the plain pass (loss and gradient of all
parameters, evaluation mode) see the same batches, one per chunk. Before grids are timed, their corners are checked
against `dash_` to the bit. Writes OUT/shrink.json.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.discrete import circumstances
from benchmarks.script import write_record
from dashtheory.deep.data import python_topics, text_stream
from dashtheory.deep.models import CharTransformer, TransformerConfig
from dashtheory.evaluate import Scores, cross_entropy
from dashtheory.protocol import Task, TrainConfig, run_stages
from dashtheory.rules import Context, Learner, Rule, RuleState, ShrinkReport, dash_, make_rule, shrink_grid
from dashtheory.seeds import numpy_stream, torch_stream
from dashtheory.stream import Examples, Stream, cut

ALPHAS = (0.1, 0.3, 0.5, 0.7, 1.0)
LAMS = (0.0, 0.05, 0.1, 0.3, 0.5)
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Work:
    """One amount of work."""

    turns: int  # of every contender
    num_chunks: int
    windows: int  # of text in a chunk
    images: int  # in a chunk
    max_epochs: int  # of a stage


FULL = Work(turns=25, num_chunks=4, windows=128, images=400, max_epochs=100)
QUICK = Work(turns=2, num_chunks=2, windows=4, images=20, max_epochs=2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What is trained, on what, and how."""

    stream: Stream
    task: Task
    config: TrainConfig

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """The chunks, one batch each."""
        return [(chunk.inputs, chunk.targets) for chunk in self.stream.chunks]


def text(work: Work) -> Setting:
    """The setting of the text figure (Adam, batches of 16 windows of 64 characters)."""
    corpus = python_topics()
    stream = text_stream(
        corpus,
        context=64,
        chunk_size=work.windows,
        num_chunks=work.num_chunks,
        num_test=40,
        generator=numpy_stream(0, "data"),
    )
    task = Task(
        make_model=lambda generator: CharTransformer(TransformerConfig(), len(corpus.symbols), generator),
        make_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=2e-3, fused=True),
    )
    config = TrainConfig(batch_size=16, criterion="loss", threshold=1.0, max_epochs=work.max_epochs)
    return Setting(stream=stream, task=task, config=config)


def images(work: Work) -> Setting:
    """Three convolutions with batch norm on 16 x 16 pixels (SGD, batches of 64); 15% of labels are random."""
    generator = torch_stream(0, "data")
    number = work.images * (work.num_chunks + 1)
    means = torch.randn(CLASSES, 3, 16, 16, generator=generator)
    labels = torch.randint(CLASSES, (number,), generator=generator)
    pixels = 0.15 * means[labels] + torch.randn(number, 3, 16, 16, generator=generator)
    wrong = torch.rand(number, generator=generator) < 0.15
    labels[wrong] = torch.randint(CLASSES, (int(wrong.sum()),), generator=generator)
    *chunks, test = cut(Examples(pixels, labels), work.num_chunks + 1)
    task = Task(
        make_model=lambda generator: convolutions(),
        make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    )
    config = TrainConfig(batch_size=64, threshold=0.999, max_epochs=work.max_epochs)
    return Setting(stream=Stream(tuple(chunks), test), task=task, config=config)


def convolutions() -> nn.Module:
    """3 x 3 convolutions to 16, 32 and 64 channels, strides 1, 2 and 2; mean over places; linear."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((3, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


def one_pass(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Loss and gradient of all parameters on every batch, no step."""
    for inputs, targets in batches:
        model.zero_grad(set_to_none=True)
        cross_entropy(model(inputs), targets).backward()


def grid_pass(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> list[ShrinkReport]:
    """The reports of all pairs."""
    grid = shrink_grid(model, batches, cross_entropy, ALPHAS, LAMS)
    return [grid.report(alpha, lam) for alpha, lam in grid]


def require_equal(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> None:
    """Stop unless the corners of the grid are what `dash_` does, to the bit."""
    grid = shrink_grid(model, batches, cross_entropy, ALPHAS, LAMS)
    for alpha in (ALPHAS[0], ALPHAS[-1]):
        for lam in (LAMS[0], LAMS[-1]):
            ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
            grid.apply_(ours, alpha, lam)
            dash_(theirs, batches, cross_entropy, alpha=alpha, lam=lam)
            if not all(map(torch.equal, ours.parameters(), theirs.parameters())):
                raise RuntimeError("a grid and dash_ differ on the same data; times would mean nothing")


def take_turns(contenders: dict[str, Callable[[], object]], turns: int) -> list[dict[str, Any]]:
    """CPU seconds of each contender, and its ratios to each contender before it: median over turns, and of minima.

    Other processes and page faults only ever add time, so that on a busy machine the minima say more.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):  # the first is a warm-up
        for name, function in contenders.items():
            start = time.process_time()
            function()
            if turn:
                seconds[name].append(time.process_time() - start)
    names = list(contenders)
    return [
        {
            "name": name,
            "seconds_min": min(seconds[name]),
            "seconds_median": statistics.median(seconds[name]),
            "seconds_max": max(seconds[name]),
            "median_ratio_to": {
                other: statistics.median(a / b for a, b in zip(seconds[name], seconds[other], strict=True))
                for other in names[: names.index(name)]
            },
            "ratio_of_minima_to": {
                other: min(seconds[name]) / min(seconds[other]) for other in names[: names.index(name)]
            },
        }
        for name in names
    ]


def measure_passes(setting: Setting, turns: int) -> list[dict[str, Any]]:
    """A plain pass, a pass of DASH, and the grid."""
    model, batches = setting.task.fresh(torch_stream(0, "init", 1)).model.eval(), setting.batches()
    require_equal(model, batches)
    return take_turns(
        {
            "forward and backward": partial(one_pass, model, batches),
            # lam = 1 leaves the weights as they are; the work is the same.
            "dash_": partial(dash_, model, batches, cross_entropy, lam=1),
            f"shrink_grid, {len(ALPHAS)} x {len(LAMS)}": partial(grid_pass, model, batches),
        },
        turns,
    )


class Timed(Rule):
    """A rule, and the CPU seconds that it took before each stage."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.seconds, self.ended = rule, 0.0, 0.0

    def start(self, learner: Learner) -> RuleState:
        """As the rule."""
        return self.rule.start(learner)

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, ShrinkReport | None]:
        """As the rule, timed."""
        start = time.process_time()
        found = self.rule.apply(learner, context)
        self.ended = time.process_time()
        self.seconds = self.ended - start
        return found


def measure_stages(setting: Setting, name: str) -> list[dict[str, Any]]:
    """Seconds of the rule called `name` and of the training after it, for every stage from the second on."""
    timed, last_epoch = Timed(make_rule(name)), [0.0]

    def on_epoch(stage: int, epoch: int, scores: Scores) -> None:
        last_epoch[0] = time.process_time()

    rows = []
    for result in run_stages(setting.stream, timed, setting.task, setting.config, seed=0, on_epoch=on_epoch):
        if result.stage > 1:
            training = last_epoch[0] - timed.ended
            rows.append(
                {
                    "rule": name,
                    "stage": result.stage,
                    "epochs": result.training.epochs,
                    "status": result.training.status,
                    "seconds_rule": timed.seconds,
                    "seconds_training": training,
                    "share": timed.seconds / training,
                }
            )
    return rows


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them as they come."""
    torch.set_num_threads(1)
    work = QUICK if quick else FULL
    record: dict[str, Any] = {"quick": quick, **circumstances()}
    record["versions"]["torch"] = torch.__version__
    for label, setting in (("text", text(work)), ("images", images(work))):
        passes = measure_passes(setting, work.turns)
        for row in passes:
            ratios = "".join(
                f"{ratio:8.3f} ({row['ratio_of_minima_to'][other]:.3f} of minima) x {other}"
                for other, ratio in row["median_ratio_to"].items()
            )
            print(f"{label:<8}{row['name']:<24}{row['seconds_median']:10.4f} s{ratios}", flush=True)
        stages = []
        for name in ("dash", "sp"):
            stages += (rows := measure_stages(setting, name))
            shares = ", ".join(f"{row['share']:.2%} ({row['epochs']} epochs)" for row in rows)
            print(f"{label:<8}{name} as a share of the training after it, by stage: {shares}", flush=True)
        record[label] = {"passes": passes, "stages": stages}
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/shrink.json."""
    write_record("shrink", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
