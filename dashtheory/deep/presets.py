"""Settings in which rules are compared on real data, by the name of the data.

    cifar10   CIFAR-10 shrunk to 8 x 8 pixels, 5 chunks of 400, a narrow ResNet: pictures in a setting
              small enough for a CPU
    digits    scikit-learn's digits with a fifth of the training labels wrong, 5 chunks of 280, an MLP (clean ones
              are too easy: errors of one or two per cent leave no room for a difference). Batches of 70 leave no
              short last batch, whose own batch-norm statistics would keep stages from converging
    text      CPython's help texts and a character transformer, the setting of `simulations/warm_start_text.py`

"auto" is cifar10 where the pictures are at hand (`dashtheory.deep.data.cifar10_available`), else digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dashtheory.deep.config import RunConfig
from dashtheory.deep.data import cifar10_available, cifar10_name
from dashtheory.deep.source import TEXT

AUTO = "auto"
UNSET = -1
_PICTURES = {
    "model": "narrow_resnet",
    "num_chunks": 5,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "batch_size": 64,
    "criterion": "accuracy",
    "threshold": 0.999,
    "max_epochs": 100,
    "decays": (0.0, 0.001, 0.003, 0.01, 0.03),
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "cifar10": {
        **_PICTURES,
        "chunk_size": 400,
        "test_size": 5000,
        "size": 8,
        "label_noise": 0.0,
    },
    "digits": {
        **_PICTURES,
        "model": "mlp",
        "chunk_size": 280,
        "test_size": 0,
        "size": 0,
        "label_noise": 0.2,
        "learning_rate": 0.02,
        "batch_size": 70,
    },
    TEXT: {
        "model": "transformer",
        "num_chunks": 4,
        "chunk_size": 128,
        "test_size": 400,
        "size": 64,
        "label_noise": 0.0,
        "optimizer": "adam",
        "learning_rate": 0.002,
        "batch_size": 16,
        "criterion": "loss",
        "threshold": 1.0,
        "max_epochs": 100,
        "decays": (0.0, 0.0001, 0.0003, 0.001, 0.003),
    },
}
"""Fields of `RunConfig` by data; any other data take those of cifar10 but for the sizes of pictures."""


def _unset(default: Any = UNSET) -> Any:
    return field(default=default, metadata={"help": "as fits the data if not given"})


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig(RunConfig):
    """A `RunConfig` whose defaults are those of its data's preset; what is given by name stands.

    Raises: ValueError as `RunConfig`.
    """

    data: str = field(
        default=AUTO, metadata={"help": "auto (cifar10 if at hand, else digits), text, or as dashtheory run"}
    )
    data_name: str = field(default="", metadata={"help": "of the data in titles (default: as the data are known)"})
    model: str = _unset("")
    num_chunks: int = _unset()
    chunk_size: int = _unset()
    test_size: int = _unset()
    size: int = _unset()
    label_noise: float = _unset()
    optimizer: str = _unset("")
    learning_rate: float = _unset()
    decays: tuple[float, ...] = _unset(())
    batch_size: int = _unset()
    criterion: str = _unset("")
    threshold: float = _unset()
    max_epochs: int = _unset()

    def __post_init__(self) -> None:
        fill_in(self)
        super().__post_init__()


def fill_in(config: ComparisonConfig) -> None:
    """Give fields that were left unset the values of the data's preset; "auto" becomes the data it stands for."""
    if config.data == AUTO:
        object.__setattr__(config, "data", "cifar10" if cifar10_available() else "digits")
    kind = config.data.partition(":")[0]
    for name, value in PRESETS.get(kind, {**PRESETS["cifar10"], "size": 0}).items():
        if getattr(config, name) in (UNSET, "", ()):
            object.__setattr__(config, name, value)
    if not config.data_name:
        object.__setattr__(config, "data_name", describe_data(config))


def describe_data(config: RunConfig) -> str:
    """Words for the data of a configuration, for titles: their name, size and label noise."""
    kind, colon, _ = config.data.partition(":")
    names = {
        "cifar10": cifar10_name() if cifar10_available() and not colon else "CIFAR-10",
        "cifar100": "CIFAR-100",
        "svhn": "SVHN",
        "fashion_mnist": "Fashion-MNIST",
        "tiny_imagenet": "Tiny-ImageNet",
        "digits": "scikit-learn's digits",
        "text": "Python's help texts",
    }
    words = names.get(kind, kind)
    if config.size and config.data != TEXT:
        words += f" at {config.size} x {config.size} pixels"
    if config.label_noise:
        words += f" with {100 * config.label_noise:g}% wrong training labels"
    return words


def describe_setting(config: RunConfig, *, stages: bool = True) -> str:
    """Words for network, optimizer and criterion, for the line under a title.

    Args: config: the setting. stages: whether stages and their criterion belong to it.
    """
    what = "windows of text" if config.data == TEXT else "pictures"
    model = {"narrow_resnet": "narrow ResNet", "transformer": "character transformer", "mlp": "MLP"}.get(
        config.model, config.model
    )
    training = f"{config.optimizer}, learning rate {config.learning_rate:g}, batch {config.batch_size}"
    if not stages:
        return f"{model}; {config.num_chunks * config.chunk_size:,} {what}; {training}, {config.max_epochs} epochs"
    unit = " nat" if config.criterion == "loss" else ""
    return (
        f"{model}; {config.num_chunks} chunks of {config.chunk_size:,} {what}; {training}; "
        f"every stage trains to {config.criterion} {config.threshold:g}{unit}"
    )


def folder_of(config: RunConfig, embedded: str = "digits") -> Path:
    """Where results belong: figures/ for the data that come with the package, a folder in it for others."""
    kind = config.data.partition(":")[0]
    return Path("figures") if kind == embedded else Path("figures") / kind
