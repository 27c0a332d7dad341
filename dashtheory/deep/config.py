"""The configuration of deep experiments: data, model, training, device, measures.

One configuration serves `dashtheory run`, the figures on real data and the paper's presets. It imports neither
torch nor any library of numbers, so that a command line can show its options and refuse a wrong one at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, ClassVar, Self

from dashtheory._check import choice, fail, integer, real
from dashtheory._memory import must_fit, must_fit_together
from dashtheory._nested import build, check_kinds, flat
from dashtheory._spec import OWN, is_own, read_options
from dashtheory.protocol.settings import HELD_OUT, PRECISIONS, Measures, Schedule, TrainConfig
from dashtheory.rules.spec import RULES, WARMUP, parse_spec

TEXT, TRANSFORMER, PYTHON = "text", "transformer", OWN
MODEL_NAMES = ("mlp", "convnet", "narrow_resnet", "resnet18", "vgg16")
OPTIMIZER_NAMES = ("sgd", "adam", "adamw", "sam", "upgd", "trac", "muon")
ENGINES = ("plain", "fast")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A stream of chunks from one distribution.

    Raises:
        ValueError: if a value is out of range.
    """

    name: str = field(
        default="digits",
        metadata={
            "as": "data",
            "help": "digits, text, cifar10, folder:PATH, cifar10:, cifar100:, svhn:, fashion_mnist:, "
            "tiny_imagenet:ROOT, python:FILE.py:FUNCTION",
        },
    )
    title: str = field(
        default="", metadata={"as": "data_name", "help": "in titles of figures (default: as the data are known)"}
    )
    num_chunks: int = field(default=5, metadata={"help": "J, chunks and stages"})
    chunk_size: int = field(default=200, metadata={"help": "pictures, or windows of text, per chunk"})
    num_test: int = field(default=0, metadata={"help": "test pictures or windows; 0: all (text: 400)"})
    size: int = field(
        default=0,
        metadata={"help": "height and width to shrink to (0: as they are), or characters per window (0: 64)"},
    )
    balanced: bool = field(default=False, metadata={"help": "every class equally often in every chunk: yes or no"})
    label_noise: float = field(default=0.0, metadata={"help": "share of wrong training labels"})
    arrivals: tuple[int, ...] = field(
        default=(),
        metadata={"help": "chunks that arrive at each stage, as 1,9 (default: one each)", "neutral": ()},
    )
    mended: bool = field(
        default=False,
        metadata={"help": "labels are wrong in the first stage alone: yes or no", "neutral": False},
    )
    held_out: bool = field(
        default=False,
        metadata={
            "help": "a fifth of every chunk is kept from training and stands in for the test set: yes or no",
            "neutral": False,
        },
    )

    def __post_init__(self) -> None:
        check_kinds(self)
        for name, least in (("num_chunks", 1), ("chunk_size", 1), ("num_test", 0), ("size", 0)):
            integer(name, getattr(self, name), minimum=least, fix="It counts things.")
        real("label_noise", self.label_noise, low=0, high=1, fix="It is a share of the labels.")
        self._check_arrivals()
        self._check_memory()
        if not self.pictures and (self.label_noise or self.balanced):
            what = "text" if self.name == TEXT else "your own stream"
            fail("label_noise and balanced", f"must be off for {what}", "on", "They are for pictures.")

    def _check_arrivals(self) -> None:
        for count in self.arrivals:
            integer("arrivals", count, minimum=1, fix="It counts the chunks of a stage.")
        if self.arrivals and (self.name.startswith(PYTHON) or sum(self.arrivals) != self.num_chunks):
            of = "your own stream" if self.name.startswith(PYTHON) else f"{self.num_chunks} chunks"
            got = f"{','.join(map(str, self.arrivals))} of {of}"
            fail(
                "arrivals", "must add up to the chunks of the stream", got, "Leave it out, or change num_chunks=."
            )
        if self.mended and not (self.pictures and self.label_noise and (self.length or 0) > 1):
            got = f"yes with {self.name} and label_noise {self.label_noise:g}"
            fail("mended", "must go with wrong labels of pictures and two stages or more", got, "Leave it out.")
        if self.held_out and self.chunk_size < 2:
            fail(
                "held_out", "must leave an example to train on", f"chunks of {self.chunk_size}", "Use larger ones."
            )

    def _check_memory(self) -> None:
        """An example has a label and a place in the order, 8 bytes each, and a byte a pixel or character."""
        side = self.size if self.name == TEXT else self.size**2
        each, chunk = 16 + (side or 1), self.chunk_size
        if self.name.startswith(PYTHON):  # which may have any number of chunks of any size
            must_fit("num_chunks", self.num_chunks, 16)
            return
        must_fit_together(
            {
                "num_chunks": (self.num_chunks, 5, chunk * each, 1),
                "chunk_size": (chunk, 200, self.num_chunks * each, 1),
                "size": (self.size, 64, chunk * self.num_chunks * side / max(self.size, 1), 2),
                "num_test": (self.num_test, 1000, each, 1),
            }
        )

    @property
    def length(self) -> int | None:
        """Stages of the stream; None for a user's own, which may have any number."""
        return None if self.name.startswith(PYTHON) else len(self.arrivals) or self.num_chunks

    @property
    def stage_sizes(self) -> list[int]:
        """Examples that each stage trains on, if the stream is not a user's own."""
        each = self.chunk_size - (max(self.chunk_size // HELD_OUT, 1) if self.held_out else 0)
        return [each * count for count in accumulate(self.arrivals or [1] * self.num_chunks)]

    @property
    def pictures(self) -> bool:
        """Whether these are pictures."""
        return self.name != TEXT and not self.name.startswith(PYTHON)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A network by name.

    Raises:
        ValueError: if there is no such network or option.
    """

    name: str = field(
        default="narrow_resnet",
        metadata={
            "as": "model",
            "help": f"one of {', '.join(MODEL_NAMES)}, {TRANSFORMER} (text), python:FILE.py:FUNCTION",
        },
    )
    options: tuple[str, ...] = field(
        default=(), metadata={"as": "model_options", "help": "of the model, as width=8,blocks=1"}
    )

    def __post_init__(self) -> None:
        check_kinds(self)
        if not self.name.startswith(PYTHON):
            choice("model", self.name, (*MODEL_NAMES, TRANSFORMER))
        if self.options:
            self.values()

    def values(self) -> dict[str, Any]:
        """Options by name.

        Raises:
            ValueError: if the network has no such option.
        """
        values = read_options(f"model {self.name}", self.options)
        if not values or self.name.startswith(PYTHON):
            return values
        from dashtheory.deep.source import check_sizes, model_options  # the networks, and torch with them

        known = model_options(self.name) or {}
        for name in values:
            if name not in known:
                rule = f"of model {self.name} must be among {sorted(known) or 'none'}"
                fail("model_options", rule, repr(name), "Drop it.")
            if isinstance(known[name], tuple) and not isinstance(values[name], tuple):
                values[name] = (values[name],)
        check_sizes(self.name, values)
        return values


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(TrainConfig):
    """How a stage is trained: optimizer, step sizes, augmentation, and when it ends.

    Raises:
        ValueError: if a value is out of range.
    """

    optimizer: str = field(default="sgd", metadata={"help": f"one of {', '.join(OPTIMIZER_NAMES)}"})
    learning_rate: float = field(default=0.01, metadata={"help": "step size"})
    momentum: float = field(default=0.9, metadata={"help": "of sgd, sam and trac"})
    weight_decay: float = field(default=0.0, metadata={"help": "on all parameters"})
    decays: tuple[float, ...] = field(
        default=(0.0, 0.001, 0.003, 0.01, 0.03), metadata={"help": "that weight_decay=tuned chooses from"}
    )
    rates: tuple[float, ...] = field(
        default=(0.003, 0.01, 0.03, 0.1), metadata={"help": "that learning_rate=tuned chooses from"}
    )
    rho: float = field(default=0.1, metadata={"help": "radius of sam"})
    batch_size: int = field(default=64, metadata={"help": "examples per step; a smaller last batch is kept"})
    max_epochs: int = field(default=200, metadata={"help": "epochs after which a stage ends unconverged"})
    milestones: tuple[int, ...] = field(default=(), metadata={"help": "epochs after which the step size falls"})
    decay: float = field(default=0.2, metadata={"help": "factor of each fall"})
    warmup_epochs: int = field(default=0, metadata={"help": "epochs over which the step size first rises"})
    anneal: int = field(
        default=0,
        metadata={
            "help": "epochs over which the step size falls to 0 along a cosine, warm-up included; 0: it does not",
            "neutral": 0,
        },
    )
    pad: int = field(default=0, metadata={"help": "pixels of the border that crops are taken from; 0: no crops"})
    flip: bool = field(default=False, metadata={"help": "mirror half of the training pictures: yes or no"})
    rotation: float = field(default=0.0, metadata={"help": "largest angle of rotation, in degrees"})

    def __post_init__(self) -> None:
        check_kinds(self)
        super().__post_init__()
        choice("optimizer", self.optimizer, OPTIMIZER_NAMES)
        real("learning_rate", self.learning_rate, low=0, open_low=True, fix="It is a step size.")
        real("momentum", self.momentum, low=0, high=1, fix="The paper uses 0.9.")
        for name in ("weight_decay", "rho"):
            real(name, getattr(self, name), low=0, fix="The paper uses 0 in its standard setting.")
        for decay in self.decays:
            real("decays", decay, low=0, fix="Each is a weight decay.")
        for rate in self.rates:
            real("rates", rate, low=0, open_low=True, fix="Each is a step size.")
        self.schedule()
        integer("pad", self.pad, minimum=0, fix="It counts pixels; 0 does not crop.")
        real("rotation", self.rotation, low=0, high=180, fix="It is an angle in degrees.")

    def schedule(self, warmup_epochs: float | None = None) -> Schedule | None:
        """Of the step size within a stage; None if it stays.

        Args:
            warmup_epochs: in place of the configuration's.

        Raises:
            ValueError: in one line if they leave nothing of `anneal`.
        """
        epochs = self.warmup_epochs if warmup_epochs is None else int(warmup_epochs)
        found = Schedule(milestones=self.milestones, decay=self.decay, warmup_epochs=epochs, anneal=self.anneal)
        return found if self.milestones or epochs or self.anneal else None

    @property
    def augmented(self) -> bool:
        """Whether training inputs are changed at random."""
        return bool(self.pad or self.flip or self.rotation)

    def optimizer_options(self, **training: float) -> dict[str, Any]:
        """Options of the optimizer.

        Args:
            **training: in place of the configuration's.
        """
        names = ("learning_rate", "momentum", "weight_decay", "rho")
        return {**{name: getattr(self, name) for name in names}, **training}


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """Where and how exactly it is computed.

    Raises:
        ValueError: if a value is out of range.
    """

    name: str = field(
        default="cpu", metadata={"as": "device", "help": "auto (CUDA where there is one), cpu, cuda or cuda:N"}
    )
    precision: str = field(default="float32", metadata={"help": f"one of {', '.join(PRECISIONS)}"})
    channels_last: bool = field(default=False, metadata={"help": "memory layout of pictures: yes or no"})
    engine: str = field(
        default="plain",
        metadata={
            "help": "plain: step by step; fast: one kernel for the optimizer, recorded on CUDA, products for "
            "small maps on a CPU"
        },
    )

    def __post_init__(self) -> None:
        check_kinds(self)
        choice("device", self.name.partition(":")[0], ("auto", "cpu", "cuda"))
        choice("precision", self.precision, PRECISIONS)
        choice("engine", self.engine, ENGINES)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A deep experiment; the default is small enough for a minute on a CPU.

    Raises:
        ValueError: if a value is out of range, or two of them do not fit.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    measures: Measures = field(default_factory=Measures)
    rules: tuple[str, ...] = field(
        default=("cold", "warm", "sp", "dash"),
        metadata={
            "help": "rules between stages, with options as dash:lam=0.05 or cold:weight_decay=tuned; "
            "python:FILE.py:Name: yours"
        },
    )

    defaults: ClassVar[Mapping[str, Any]] = {}
    """Values by name that differ from the defaults of the parts (`of`)."""

    @classmethod
    def of(cls, **values: Any) -> Self:
        """A configuration from values by name, of whatever part: `RunConfig.of(data="digits", chunk_size=100)`.

        Raises:
            ValueError: as the configuration, or if there is no such value.
        """
        return build(cls, {**cls.defaults_for(values), **values})

    @classmethod
    def defaults_for(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """What `of` takes where nothing is said.

        Args:
            values: that were said.
        """
        return cls.defaults

    def with_values(self, **values: Any) -> Self:
        """The same with some values changed, by name.

        Raises:
            ValueError: as `of`.
        """
        return build(type(self), {**flat(self), **values})

    def alone(self, rule: str) -> RunConfig:
        """What a run of one rule depends on: the same setting without the other rules and the title."""
        return RunConfig(
            data=replace(self.data, title=""),
            model=self.model,
            training=self.training,
            device=self.device,
            measures=self.measures,
            rules=(rule,),
        )

    def __post_init__(self) -> None:
        check_kinds(self)
        if not self.rules or len(set(self.rules)) < len(self.rules):
            fail("rules", "must name at least one, each once", str(self.rules), f"Choose from {', '.join(RULES)}.")
        self._check_tuned()
        self._check_kind()
        self._check_last_batch()

    def _check_tuned(self) -> None:
        grids = {"weight_decay": self.training.decays, "learning_rate": self.training.rates}
        for text in self.rules:
            spec = parse_spec(text)
            if spec.options or is_own(text):
                spec.make()  # values of options are checked there, and need the rule's class
            self.training.schedule(spec.training.get(WARMUP))
            tuned = spec.tuned
            if tuned and not grids[tuned]:
                fail("decays and rates", f"must offer a {tuned}", "none", "List some.")

    def _check_kind(self) -> None:
        data, model = self.data.name, self.model.name
        if (data == TEXT) != (model == TRANSFORMER) and not model.startswith(PYTHON):
            fail(
                "model",
                "must fit the data",
                f"{model} for {data}",
                "The transformer reads text, and text needs it.",
            )
        if self.training.augmented and not self.data.pictures:
            fail("pad, flip and rotation", "must be off for anything but pictures", data, "Leave them out.")

    def _check_last_batch(self) -> None:
        data, batch = self.data, self.training.batch_size
        sizes = [] if data.name.startswith(PYTHON) else data.stage_sizes
        if any(parse_spec(spec).tuned for spec in self.rules):
            sizes.append(data.num_chunks * (data.chunk_size - max(data.chunk_size // HELD_OUT, 1)))
        if data.pictures and batch > 1 and any(size > 1 and size % batch == 1 for size in sizes):
            got = f"{batch} with chunks of {data.chunk_size}"
            fail("batch_size", "must leave no last batch of one picture (batch norm)", got, "Change either.")
