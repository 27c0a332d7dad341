"""The configuration of deep experiments: data, network, optimizer, criterion, measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dashtheory._check import choice, fail, integer, real
from dashtheory.deep.models import MODELS
from dashtheory.deep.source import (
    PYTHON,
    TEXT,
    TRANSFORMER,
    Source,
    make_network,
    model_options,
    pictures,
    text,
    users,
)
from dashtheory.protocol import Measures, Task, TrainConfig
from dashtheory.protocol.optimizers import OPTIMIZERS, make_optimizer
from dashtheory.protocol.tuning import HELD_OUT
from dashtheory.rules import RULES, read_options
from dashtheory.rules.spec import parse_spec
from dashtheory.seeds import numpy_stream


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Data, network, optimizer and criterion; the default is small enough for a minute on a CPU.

    Raises: ValueError if a value is out of range.
    """

    data: str = field(
        default="digits",
        metadata={
            "help": "digits, text, cifar10, folder:PATH, cifar10:, cifar100:, svhn:, fashion_mnist:, "
            "tiny_imagenet:ROOT, python:FILE.py:FUNCTION"
        },
    )
    model: str = field(
        default="narrow_resnet",
        metadata={"help": f"one of {', '.join(MODELS)}, transformer (text), python:FILE.py:FUNCTION"},
    )
    model_options: tuple[str, ...] = field(default=(), metadata={"help": "of the model, as width=8,blocks=1"})
    rules: tuple[str, ...] = field(
        default=("cold", "warm", "sp", "dash"),
        metadata={
            "help": "rules between stages, with options as dash:lam=0.05 or cold:weight_decay=tuned; "
            "python:FILE.py:Name: yours"
        },
    )
    num_chunks: int = field(default=5, metadata={"help": "J, chunks and stages"})
    chunk_size: int = field(default=200, metadata={"help": "pictures, or windows of text, per chunk"})
    test_size: int = field(default=0, metadata={"help": "test pictures or windows; 0: all (text: 400)"})
    size: int = field(
        default=0,
        metadata={"help": "height and width to shrink to (0: as they are), or characters per window (0: 64)"},
    )
    balanced: bool = field(default=False, metadata={"help": "every class equally often in every chunk: yes or no"})
    label_noise: float = field(default=0.0, metadata={"help": "share of wrong training labels"})
    optimizer: str = field(default="sgd", metadata={"help": f"one of {', '.join(OPTIMIZERS)}"})
    learning_rate: float = field(default=0.01, metadata={"help": "step size"})
    momentum: float = field(default=0.9, metadata={"help": "of sgd and sam"})
    weight_decay: float = field(default=0.0, metadata={"help": "on all parameters"})
    decays: tuple[float, ...] = field(
        default=(0.0, 0.001, 0.003, 0.01, 0.03), metadata={"help": "that weight_decay=tuned chooses from"}
    )
    rates: tuple[float, ...] = field(
        default=(0.003, 0.01, 0.03, 0.1), metadata={"help": "that learning_rate=tuned chooses from"}
    )
    rho: float = field(default=0.1, metadata={"help": "radius of sam"})
    batch_size: int = field(default=64, metadata={"help": "examples per step; a smaller last batch is kept"})
    criterion: str = field(default="accuracy", metadata={"help": "what ends a stage: loss, accuracy, epochs"})
    threshold: float = field(default=0.999, metadata={"help": "of the epoch's mean"})
    max_epochs: int = field(default=200, metadata={"help": "epochs after which a stage ends unconverged"})
    retention: int = field(default=0, metadata={"help": "epochs over which old accuracy is followed; -1: not"})
    alignment: int = field(default=-1, metadata={"help": "epochs over which weight-descent cosines are followed"})
    gradients: bool = field(default=False, metadata={"help": "gradient norms on old, new and all data: yes or no"})
    seconds: bool = field(
        default=False,
        metadata={"help": "wall time of each stage (the table then differs in every run): yes or no"},
    )

    def __post_init__(self) -> None:
        choice("optimizer", self.optimizer, OPTIMIZERS)
        for name, least in (("num_chunks", 1), ("chunk_size", 1), ("test_size", 0), ("size", 0)):
            integer(name, getattr(self, name), minimum=least, fix="It counts things.")
        real("label_noise", self.label_noise, low=0, high=1, fix="It is a share of the labels.")
        if not self.rules or len(set(self.rules)) < len(self.rules):
            fail("rules", "must name at least one, each once", str(self.rules), f"Choose from {', '.join(RULES)}.")
        self._check_candidates()
        self.options()
        self._check_kind()
        self.training()
        self.measures()
        self._check_last_batch()

    def options(self) -> dict[str, Any]:
        """Options of the model, by name."""
        known = model_options(self.model)
        values = read_options(f"model {self.model}", self.model_options)
        for name in values:
            if known is not None and name not in known:
                rule = f"of model {self.model} must be among {sorted(known) or 'none'}"
                fail("model_options", rule, repr(name), "Drop it.")
            if known is not None and isinstance(known[name], tuple) and not isinstance(values[name], tuple):
                values[name] = (values[name],)
        return values

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
        return Measures(
            retention=self.retention, alignment=self.alignment, gradients=self.gradients, seconds=self.seconds
        )

    def optimizer_options(self, **training: float) -> dict[str, Any]:
        """Options of the optimizer. Args: training: in place of the configuration's."""
        names = ("learning_rate", "momentum", "weight_decay", "rho")
        return {**{name: getattr(self, name) for name in names}, **training}

    def task(self, source: Source, **training: float) -> Task:
        """What is trained. Args: training: optimizer options in place of the configuration's."""
        options = self.options()
        optimizer = self.optimizer_options(**training)
        return Task(
            make_model=lambda generator: make_network(self.model, source, generator, options),
            make_optimizer=lambda parameters: make_optimizer(self.optimizer, parameters, **optimizer),
        )

    def source(self, seed: int, *, label_noise: float | None = None) -> Source:
        """The seed's stream, drawn from its stream "data".

        Args: seed: root seed. label_noise: in place of the configuration's; all else stays as it is.
        """
        generator = numpy_stream(seed, "data")
        if self.data.startswith(PYTHON):
            return users(self.data, generator)
        sizes: dict[str, Any] = {
            "num_chunks": self.num_chunks,
            "chunk_size": self.chunk_size,
            "test_size": self.test_size or None,
            "size": self.size or None,
        }
        if self.data == TEXT:
            return text(**sizes, generator=generator)
        noise = self.label_noise if label_noise is None else label_noise
        return pictures(self.data, **sizes, balanced=self.balanced, label_noise=noise, generator=generator)

    def _check_candidates(self) -> None:
        for decay in self.decays:
            real("decays", decay, low=0, fix="Each is a weight decay.")
        for rate in self.rates:
            real("rates", rate, low=0, open_low=True, fix="Each is a step size.")
        grids = {"weight_decay": self.decays, "learning_rate": self.rates}
        for spec in self.rules:
            made = parse_spec(spec)
            made.make()  # values of its options are checked there
            tuned = made.tuned
            if tuned and not grids[tuned]:
                fail("decays and rates", f"must offer a {tuned}", "none", "List some.")

    def _check_kind(self) -> None:
        if (self.data == TEXT) != (self.model == TRANSFORMER) and not self.model.startswith(PYTHON):
            got = f"{self.model} for {self.data}"
            fail("model", "must fit the data", got, "The transformer reads text, and text needs it.")
        if self.data == TEXT and (self.label_noise or self.balanced):
            fail("label_noise and balanced", "must be off for text", "on", "They are for pictures.")

    def _check_last_batch(self) -> None:
        sizes = [stage * self.chunk_size for stage in range(1, self.num_chunks + 1)]
        if any(parse_spec(spec).tuned for spec in self.rules):
            sizes.append(self.num_chunks * (self.chunk_size - max(self.chunk_size // HELD_OUT, 1)))
        ones = any(size > 1 and size % self.batch_size == 1 for size in sizes) and self.batch_size > 1
        if ones and self.data != TEXT and not self.data.startswith(PYTHON):
            got = f"{self.batch_size} with chunks of {self.chunk_size}"
            fail("batch_size", "must leave no last batch of one picture (batch norm)", got, "Change either.")
