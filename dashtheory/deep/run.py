"""One rule on one stream of pictures: the experiment behind `dashtheory run` and the figures on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from dashtheory._check import choice, fail, integer, real
from dashtheory.deep.data import ImageData, ImageStream, find_data, make_stream
from dashtheory.deep.models import MODELS, build_model
from dashtheory.deep.optimizers import OPTIMIZERS, make_optimizer
from dashtheory.parallel import Report
from dashtheory.protocol import Checkpoints, Measures, Scores, Task, TrainConfig, run_resumable
from dashtheory.record import make_table, stage_rows
from dashtheory.seeds import numpy_stream
from dashtheory.shrink import RULES, Rule, make_rule


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Data, network, optimizer and criterion; the default is small enough for a minute on a CPU.

    Raises: ValueError if a value is out of range.
    """

    data: str = field(
        default="digits", metadata={"help": "digits, cifar10, folder:PATH, or cifar10:, cifar100:, svhn:ROOT ..."}
    )
    model: str = field(default="narrow_resnet", metadata={"help": f"one of {', '.join(MODELS)}"})
    model_options: tuple[str, ...] = field(default=(), metadata={"help": "of the model, as width=8,blocks=1"})
    rules: tuple[str, ...] = field(
        default=("cold", "warm", "sp", "dash"),
        metadata={"help": "rules between stages, with options as dash:lam=0.05:alpha=0.3"},
    )
    num_chunks: int = field(default=5, metadata={"help": "J, chunks and stages"})
    chunk_size: int = field(default=200, metadata={"help": "pictures per chunk"})
    test_size: int = field(default=0, metadata={"help": "test pictures; 0: all"})
    size: int = field(default=0, metadata={"help": "height and width to shrink to; 0: as they are"})
    balanced: bool = field(default=False, metadata={"help": "every class equally often in every chunk: yes or no"})
    label_noise: float = field(default=0.0, metadata={"help": "share of wrong training labels"})
    optimizer: str = field(default="sgd", metadata={"help": f"one of {', '.join(OPTIMIZERS)}"})
    learning_rate: float = field(default=0.01, metadata={"help": "step size"})
    momentum: float = field(default=0.9, metadata={"help": "of sgd and sam"})
    weight_decay: float = field(default=0.0, metadata={"help": "on all parameters"})
    rho: float = field(default=0.1, metadata={"help": "radius of sam"})
    batch_size: int = field(default=64, metadata={"help": "pictures per step; a smaller last batch is kept"})
    criterion: str = field(default="accuracy", metadata={"help": "what ends a stage: loss, accuracy"})
    threshold: float = field(default=0.999, metadata={"help": "of the epoch's mean"})
    max_epochs: int = field(default=200, metadata={"help": "epochs after which a stage ends unconverged"})
    retention: int = field(default=0, metadata={"help": "epochs over which old accuracy is followed; -1: not"})
    alignment: int = field(default=-1, metadata={"help": "epochs over which weight-descent cosines are followed"})
    gradients: bool = field(default=False, metadata={"help": "gradient norms on old, new and all data: yes or no"})

    def __post_init__(self) -> None:
        choice("model", self.model, MODELS)
        choice("optimizer", self.optimizer, OPTIMIZERS)
        for name, least in (("num_chunks", 1), ("chunk_size", 1), ("test_size", 0), ("size", 0)):
            integer(name, getattr(self, name), minimum=least, fix="It counts things.")
        real("label_noise", self.label_noise, low=0, high=1, fix="It is a share of the labels.")
        if not self.rules or len(set(self.rules)) < len(self.rules):
            fail("rules", "must name at least one, each once", str(self.rules), f"Choose from {', '.join(RULES)}.")
        for spec in self.rules:
            parse_rule(spec)
        self.options()
        self.training()
        self.measures()
        last = self.chunk_size * self.num_chunks
        if (
            1 in {(stage * self.chunk_size) % self.batch_size for stage in range(1, self.num_chunks + 1)}
            and last > 1
        ):
            got = f"{self.batch_size} with chunks of {self.chunk_size}"
            fail("batch_size", "must leave no last batch of one picture (batch norm)", got, "Change either.")

    def options(self) -> dict[str, object]:
        """Options of the model, by name."""
        return _options(f"model {self.model}", self.model_options, MODELS[self.model].options)

    def training(self) -> TrainConfig:
        """How a stage is trained."""
        return TrainConfig(
            batch_size=self.batch_size,
            criterion=self.criterion,
            threshold=self.threshold,
            max_epochs=self.max_epochs,
        )

    def measures(self) -> Measures:
        """What is measured beside the scores."""
        return Measures(retention=self.retention, alignment=self.alignment, gradients=self.gradients)

    def task(self, stream: ImageStream) -> Task:
        """What is trained."""
        shape = tuple(stream.stream.test.inputs.shape[1:])
        return Task(
            make_model=lambda generator: build_model(
                self.model, shape, len(stream.classes), generator, **self.options()
            ),
            make_optimizer=lambda parameters: make_optimizer(
                self.optimizer,
                parameters,
                learning_rate=self.learning_rate,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                rho=self.rho,
            ),
        )

    def stream(self, seed: int) -> ImageStream:
        """The seed's chunks, from its stream "data"."""
        return make_stream(
            _read(self.data),
            num_chunks=self.num_chunks,
            chunk_size=self.chunk_size,
            test_size=self.test_size or None,
            size=self.size or None,
            balanced=self.balanced,
            label_noise=self.label_noise,
            generator=numpy_stream(seed, "data"),
        )


def run_rule(
    config: RunConfig, rule: str, seed: int, experiment: str, report: Report, folder: Path | None = None
) -> pd.DataFrame:
    """Run one rule on one seed's stream.

    Args:
        config: the setting. rule: as in `RunConfig.rules`. seed: root seed. experiment: name for the table.
        report: told of progress after every epoch. folder: of checkpoints, from which a killed run goes on.
    Returns: tidy table with the metrics of `dashtheory.protocol.StageResult.metrics`, by stage.
    """
    data = config.stream(seed)

    def on_epoch(stage: int, epoch: int, scores: Scores) -> None:
        part = min(epoch / 30, 0.95)  # later stages are longer in proportion to their data
        share = (stage * (stage - 1) + 2 * stage * part) / (config.num_chunks * (config.num_chunks + 1))
        report(share, f"stage {stage}/{config.num_chunks}, epoch {epoch}, accuracy {100 * scores.accuracy:.1f}%")

    finished = run_resumable(
        data.stream,
        parse_rule(rule),
        config.task(data),
        config.training(),
        seed=seed,
        checkpoints=None
        if folder is None
        else Checkpoints(folder, {"config": config, "rule": rule, "seed": seed}),
        measures=config.measures(),
        on_epoch=on_epoch,
        on_problem=lambda problem: report(0.0, problem),
    )
    return make_table(
        row
        for stage, metrics in enumerate(finished, 1)
        for row in stage_rows(
            level="deep", experiment=experiment, rule=rule, seed=seed, stage=stage, metrics=metrics
        )
    )


def parse_rule(spec: str) -> Rule:
    """A rule from its name and options: "dash", "dash:lam=0.05:alpha=0.3", "sp:shrink=0.5".

    Raises: ValueError if there is no such rule or option, or a value does not fit.
    """
    name, *options = spec.split(":")
    choice("rules", name, RULES)
    return make_rule(name, **_values(f"rule {name}", options))


def data_facts(config: RunConfig) -> dict[str, object]:
    """What to record about the data: source, counts, hash, and how the first seed's stream was made."""
    return dict(config.stream(0).facts)


@lru_cache(maxsize=2)
def _read(name: str) -> ImageData:
    return find_data(name)


def _options(owner: str, given: tuple[str, ...], known: Mapping[str, object]) -> dict[str, object]:
    """Options written as name=value, each of the kind of its default."""
    values = _values(owner, given)
    for name in values:
        if name not in known:
            fail("model_options", f"of {owner} must be among {sorted(known) or 'none'}", repr(name), "Drop it.")
    return values


def _values(owner: str, given: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in given:
        name, equals, text = part.partition("=")
        if not equals or not name or not text or name in found:
            fail(f"options of {owner}", "must be name=value, each once", repr(part), "Write lam=0.05, say.")
        found[name] = _value(text)
    return found


def _value(text: str) -> object:
    """A number, yes or no, several of them joined by +, or a word."""
    if "+" in text:
        return tuple(_value(part) for part in text.split("+") if part)
    words: dict[str, object] = {"yes": True, "no": False, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    kinds: tuple[Callable[[str], object], ...] = (int, float)
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    return text
