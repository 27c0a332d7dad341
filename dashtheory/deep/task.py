"""From a configuration to what is trained: a seed's stream, its network and optimizer."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dashtheory._check import choice, fail
from dashtheory.deep.arrange import arranged
from dashtheory.deep.config import PYTHON, TEXT, DataConfig, RunConfig
from dashtheory.deep.data import PictureAugmentation, cifar10_available
from dashtheory.deep.data.find import CIFAR10_VARIABLE
from dashtheory.deep.models import PictureNetwork
from dashtheory.deep.models.small_maps import take_products_
from dashtheory.deep.source import Source, make_network, pictures, text, users
from dashtheory.protocol import PlainEngine, Task, make_fast_engine
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules.spec import WARMUP
from dashtheory.seeds import numpy_stream
from dashtheory.user_code import fingerprints

DATA_VARIABLE = "DASHTHEORY_DATA"
_OFFICIAL = ("cifar10", "cifar100", "svhn", "fashion_mnist", "tiny_imagenet")


def make_source(config: RunConfig, seed: int, *, label_noise: float | None = None, twice: bool = False) -> Source:
    """The seed's stream, drawn from its stream "data". Pictures are grey levels: the network normalises them.

    Args:
        config: the setting.
        seed: root seed.
        label_noise: in place of the configuration's; all else stays as it is.
        twice: whether a stream of the user's is made twice, to see whether it is the same.

    Raises:
        ValueError: if the data are not there (`find_place`), or as `dashtheory.deep.data.make_stream`.
    """
    noise = config.data.label_noise if label_noise is None else label_noise
    data = replace(config.data, label_noise=noise, mended=config.data.mended and noise > 0)
    return arranged(data, lambda share: _read(replace(data, label_noise=share, mended=False), seed, twice=twice))


def _read(data: DataConfig, seed: int, *, twice: bool) -> Source:
    """The seed's chunks as they are drawn."""
    generator = numpy_stream(seed, "data")
    if data.name.startswith(PYTHON):
        return users(data.name, generator, twice=twice)
    if data.name == TEXT:
        return text(
            num_chunks=data.num_chunks,
            chunk_size=data.chunk_size,
            num_test=data.num_test or None,
            context=data.size or None,
            generator=generator,
        )
    return pictures(
        find_place(data.name),
        num_chunks=data.num_chunks,
        chunk_size=data.chunk_size,
        num_test=data.num_test or None,
        size=data.size or None,
        balanced=data.balanced,
        label_noise=data.label_noise,
        raw=True,
        generator=generator,
    )


def own_code(config: RunConfig) -> dict[str, str]:
    """Fingerprints of the user's own code that a configuration names, by its name.

    Raises:
        ValueError: if there is no such file or module.
    """
    named = (("data", (config.data.name,)), ("model", (config.model.name,)), ("rule", config.rules))
    return {name: one for argument, texts in named for name, one in fingerprints(texts, argument).items()}


def data_facts(config: RunConfig) -> dict[str, object]:
    """What to record about the data: source, counts, hash, and how the first seed's stream was made.

    With the fingerprints of code of the user's own, wherever it is used.
    """
    own = own_code(config)
    return {**make_source(config, 0, twice=True).facts, **({"user_code": own} if own else {})}


def make_task(config: RunConfig, source: Source, *, device: str = "cpu", **training: float) -> Task:
    """What is trained.

    Args:
        config: the setting.
        source: of a seed.
        device: "cpu" or a CUDA device.
        **training: optimizer options, and epochs of warm-up, in place of the configuration's.
    """
    schedule = config.training.schedule(training.pop(WARMUP, None))
    options, optimizer = config.model.values(), config.training.optimizer_options(**training)
    fast = config.device.engine == "fast"
    augmentation = PictureAugmentation(
        pad=config.training.pad, flip=config.training.flip, rotation=config.training.rotation
    )

    def make_model(generator: torch.Generator) -> nn.Module:
        network = make_network(config.model.name, source, generator, options)
        if fast:
            take_products_(network)
        if not source.mean and config.device.precision == "float32":
            return network
        return PictureNetwork(
            network,
            source.mean,
            source.std,
            precision=config.device.precision,
            channels_last=config.device.channels_last,
        )

    return Task(
        make_model=make_model,
        make_optimizer=lambda parameters: make_optimizer(
            config.training.optimizer, parameters, fused=fast, **optimizer
        ),
        device=device,
        make_engine=make_fast_engine if fast else PlainEngine,
        schedule=schedule,
        augmentation=augmentation if config.training.augmented else None,
    )


def find_place(data: str) -> str:
    """The name of the data for `dashtheory.deep.data.find_data`.

    digits come with scikit-learn; cifar10 is what DASHTHEORY_CIFAR10 points to, where that is set; a name with a
    place ("cifar100:FOLDER", "folder:PATH") stays; all else is read from the folder of official files that
    DASHTHEORY_DATA names, so that no path is part of the setting.

    Raises:
        ValueError: if there are no such data, or neither variable leads to them.
    """
    if data == "digits" or ":" in data or (data == "cifar10" and cifar10_available()):
        return data
    choice("data", data, ("digits", TEXT, *_OFFICIAL, "folder:PATH", "python:FILE.py:FUNCTION"))
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
