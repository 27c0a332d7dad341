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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from dashtheory._nested import build
from dashtheory.deep.config import PYTHON, TEXT, RunConfig
from dashtheory.deep.data import cifar10_available, cifar10_name

AUTO = "auto"
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
DATA_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "cifar10": {
        **_PICTURES,
        "chunk_size": 400,
        "num_test": 5000,
        "size": 8,
        "label_noise": 0.0,
    },
    "digits": {
        **_PICTURES,
        "model": "mlp",
        "chunk_size": 280,
        "num_test": 0,
        "size": 0,
        "label_noise": 0.2,
        "learning_rate": 0.02,
        "batch_size": 70,
    },
    TEXT: {
        "model": "transformer",
        "num_chunks": 4,
        "chunk_size": 128,
        "num_test": 400,
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


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig(RunConfig):
    """A `RunConfig` whose `of` takes the preset of its data where nothing is said.

    Raises:
        ValueError: as `RunConfig`.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"data": AUTO}

    @classmethod
    def defaults_for(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The data's preset, then what this experiment changes; "auto" becomes the data it stands for."""
        data = {**cls.defaults, **values}["data"]
        if data == AUTO:
            data = "cifar10" if cifar10_available() else "digits"
        kind = str(data).partition(":")[0]
        preset = DATA_PRESETS.get(kind, {**DATA_PRESETS["cifar10"], "size": 0})
        return {**preset, **{name: value for name, value in cls.defaults.items() if name != "data"}, "data": data}

    @classmethod
    def of(cls, **values: Any) -> Self:
        """As `RunConfig.of`; "auto" data are those that are at hand, and their name is in the configuration."""
        found = cls.defaults_for(values)
        config = build(cls, {**found, **values, "data": found["data"]})
        return config if config.data.title else config.with_values(data_name=describe_data(config))


def describe_data(config: RunConfig) -> str:
    """Words for the data of a configuration, for titles: their name, size and label noise."""
    kind, colon, _ = config.data.name.partition(":")
    names = {
        "cifar10": cifar10_name() if cifar10_available() and not colon else "CIFAR-10",
        "cifar100": "CIFAR-100",
        "svhn": "SVHN",
        "fashion_mnist": "Fashion-MNIST",
        "tiny_imagenet": "Tiny-ImageNet",
        "digits": "scikit-learn's digits",
        "text": "Python's help texts",
    }
    words = config.data.name if config.data.name.startswith(PYTHON) else names.get(kind, kind)
    if config.data.size and config.data.pictures:
        words += f" at {config.data.size} x {config.data.size} pixels"
    if config.data.label_noise:
        words += f" with {100 * config.data.label_noise:g}% wrong training labels"
    return words


def describe_setting(config: RunConfig, *, stages: bool = True) -> str:
    """Words for network, optimizer and criterion, for the line under a title.

    Args:
        config: the setting.
        stages: whether stages and their criterion belong to it.
    """
    own = config.data.name.startswith(PYTHON)  # which may have any number of chunks of any size
    what = "windows of text" if config.data.name == TEXT else "pictures"
    model = {"narrow_resnet": "narrow ResNet", "transformer": "character transformer", "mlp": "MLP"}.get(
        config.model.name, config.model.name
    )
    data, how = config.data, config.training
    training = f"{how.optimizer}, learning rate {how.learning_rate:g}, batch {how.batch_size}"
    if not stages:
        many = "all examples" if own else f"{data.num_chunks * data.chunk_size:,} {what}"
        return f"{model}; {many}; {training}, {how.max_epochs} epochs"
    unit = " nat" if how.criterion == "loss" else ""
    return (
        f"{model}; {'its own chunks' if own else f'{_stages_in_words(config)} {what}'}; {training}; "
        f"every stage trains to {how.criterion} {how.threshold:g}{unit}"
    )


def _stages_in_words(config: RunConfig) -> str:
    data = config.data
    if not data.arrivals:
        return f"{data.num_chunks} chunks of {data.chunk_size:,}"
    return f"stages with {', '.join(f'{size:,}' for size in data.stage_sizes)}"


def folder_of(config: RunConfig, embedded: str = "digits") -> Path:
    """Where results belong: figures/ for the data that come with the package, a folder in it for others."""
    kind = config.data.name.partition(":")[0]
    return Path("figures") if kind == embedded else Path("figures") / kind
