"""The setting of one of the paper's experiments on pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from dashtheory._check import choice, fail, integer
from dashtheory.deep.config import RunConfig
from dashtheory.deep.data import PictureAugmentation, cifar10_available
from dashtheory.deep.data.find import CIFAR10_VARIABLE
from dashtheory.deep.models import PictureNetwork
from dashtheory.deep.source import Source, make_network, pictures
from dashtheory.protocol import PRECISIONS, PlainEngine, Schedule, Task, make_fast_engine
from dashtheory.protocol.measures import PictureMeasures
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.seeds import numpy_stream

ENGINES = ("fast", "plain")
DATA_VARIABLE = "DASHTHEORY_DATA"


@dataclass(frozen=True, kw_only=True)
class PaperConfig(RunConfig):
    """A `RunConfig` for whole data sets on one device; the default is CIFAR-10 x ResNet-18, standard setting.

    Pictures stay bytes (`dashtheory.protocol`); their files are found by `source`, so that no path is part of the
    setting.

    Raises: ValueError if a value is out of range.
    """

    data: str = field(default="cifar10", metadata={"help": "digits, cifar10, cifar100, svhn or tiny_imagenet"})
    model: str = field(default="resnet18", metadata={"help": "as dashtheory run"})
    num_chunks: int = field(default=50, metadata={"help": "J, chunks and stages"})
    chunk_size: int = field(default=1000, metadata={"help": "pictures per chunk"})
    learning_rate: float = field(default=0.001, metadata={"help": "step size"})
    batch_size: int = field(default=128, metadata={"help": "pictures per step; a smaller last batch is kept"})
    milestones: tuple[int, ...] = field(default=(), metadata={"help": "epochs after which the step size falls"})
    decay: float = field(default=0.2, metadata={"help": "factor of each fall"})
    warmup_epochs: int = field(default=0, metadata={"help": "epochs over which the step size first rises"})
    pad: int = field(default=0, metadata={"help": "pixels of the border that crops are taken from; 0: no crops"})
    flip: bool = field(default=False, metadata={"help": "mirror half of the training pictures: yes or no"})
    rotation: float = field(default=0.0, metadata={"help": "largest angle of rotation, in degrees"})
    histograms: int = field(
        default=10, metadata={"help": "cosines are counted after every so many stages; 0: never"}
    )
    precision: str = field(default="bfloat16", metadata={"help": f"one of {', '.join(PRECISIONS)}"})
    channels_last: bool = field(default=True, metadata={"help": "memory layout of pictures: yes or no"})
    engine: str = field(default="fast", metadata={"help": f"one of {', '.join(ENGINES)}"})
    seconds: bool = field(default=True, metadata={"help": "wall time of each stage: yes or no"})

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("precision", self.precision, PRECISIONS)
        choice("engine", self.engine, ENGINES)
        integer("histograms", self.histograms, minimum=0, fix="It counts stages; 0 leaves them out.")
        if self.size:
            fail("size", "must be 0 here", str(self.size), "Pictures stay as they are stored.")
        self.augmentation()
        self.schedule()

    def augmentation(self) -> PictureAugmentation | None:
        """Of training pictures; None if nothing is changed."""
        found = PictureAugmentation(pad=self.pad, flip=self.flip, rotation=self.rotation)
        return found if self.pad or self.flip or self.rotation else None

    def schedule(self) -> Schedule | None:
        """Of the step size; None if it stays."""
        found = Schedule(milestones=self.milestones, decay=self.decay, warmup_epochs=self.warmup_epochs)
        return found if self.milestones or self.warmup_epochs else None

    def measures_of(self, source: Source) -> PictureMeasures:
        """What is measured beside the scores, on this source. Args: source: of a seed."""
        return PictureMeasures(
            retention=self.retention,
            alignment=self.alignment,
            gradients=self.gradients,
            seconds=self.seconds,
            noisy=source.noisy if self.label_noise else (),
            histograms=self.histograms,
        )

    def task_on(self, device: str, source: Source, **training: float) -> Task:
        """What is trained. Args: device: where. training: optimizer options in place of the configuration's."""
        options = self.options()
        optimizer = self.optimizer_options(**training)
        return Task(
            make_model=lambda generator: PictureNetwork(
                make_network(self.model, source, generator, options),
                source.mean,
                source.std,
                precision=self.precision,
                channels_last=self.channels_last,
            ),
            make_optimizer=lambda parameters: make_optimizer(
                self.optimizer, parameters, fused=self.engine == "fast", **optimizer
            ),
            device=device,
            make_engine=PlainEngine if self.engine == "plain" else make_fast_engine,
            schedule=self.schedule(),
            augmentation=self.augmentation(),
        )

    def source(self, seed: int, *, label_noise: float | None = None) -> Source:
        """The seed's stream of bytes, drawn from its stream "data".

        Args: seed: root seed. label_noise: in place of the configuration's.
        Raises: ValueError if the data are not there (`find_place`), or as `dashtheory.deep.data.make_stream`.
        """
        return pictures(
            find_place(self.data),
            num_chunks=self.num_chunks,
            chunk_size=self.chunk_size,
            test_size=self.test_size or None,
            balanced=self.balanced,
            label_noise=self.label_noise if label_noise is None else label_noise,
            raw=True,
            generator=numpy_stream(seed, "data"),
        )


def find_place(data: str) -> str:
    """The name of the data for `dashtheory.deep.data.find_data`.

    digits come with scikit-learn; cifar10 is what DASHTHEORY_CIFAR10 points to, where that is set; all else is
    read from the folder of official files that DASHTHEORY_DATA names.

    Raises: ValueError if neither variable leads to the data.
    """
    if data == "digits" or ":" in data or (data == "cifar10" and cifar10_available()):
        return data
    root = os.environ.get(DATA_VARIABLE, "")
    if not root or not Path(root).expanduser().is_dir():
        also = f" (or {CIFAR10_VARIABLE} to the pictures)" if data == "cifar10" else ""
        fail(
            DATA_VARIABLE,
            f"must name the folder of the official files of {data}",
            repr(root) if root else "nothing",
            f"Set it{also}; find_data('{data}:FOLDER', download=True) of dashtheory.deep.data gets them.",
        )
    return f"{data}:{Path(root).expanduser()}"
