"""The paper's settings by name: DATA-MODEL, then suffixes.

    DATA      cifar10, cifar100, svhn, tiny_imagenet; digits, which need no files (with mlp), to try things out
    MODEL     resnet18, vgg16, mlp

    -sam      SAM around SGD, rho 0.1             -adam     Adam
    -sota     the "state of the art" setting of ResNet-18
    -modern   a recipe of today in 15 epochs a stage (ResNet-18): step size 0.1 with one warm-up and one decay,
              weight decay 5e-4, crop and flip
    -half     two stages: half of the data, then all
    -noise    a fifth of the training labels wrong
    -canaries a fiftieth of the training labels wrong, to see what is memorised
    -lambdas  DASH over lambda, alpha 0.3         -alphas   DASH over alpha, lambda 0.3
    -cut      what two cores do in minutes: fewer stages, smaller chunks, a narrower network, larger steps

Source of the values: Shin, Oh, Cho & Yun, DASH: Warm-Starting Neural Network Training in Stationary Settings
without Loss of Plasticity (NeurIPS 2024, arXiv:2410.23495), and the authors' code. This package chose what was
not known from there: Adam's step size, all of -modern, the share of wrong labels, the largest number of epochs
of a stage, hidden widths and batch of the MLP, and all of -cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dashtheory._check import choice, fail
from dashtheory.deep.config import RunConfig

Values = Mapping[str, Any]

RULES = (
    "cold",
    "warm",
    "sp",
    "dash",
    "dash:lam=0.05",
    "uniform",
    "cold:weight_decay=0.0005:learning_rate=0.1",
)
"""Rules of the standard setting. S&P and DASH shrink by 0.3 where nothing is said, uniform takes DASH's direction
away, and the last is a regularised cold start."""

_PAPER: Values = {
    "num_chunks": 50,
    "chunk_size": 1000,
    "precision": "bfloat16",
    "channels_last": True,
    "engine": "fast",
    "canaries": True,
    "histograms": 10,
    "seconds": True,
}
"""What all settings share: the paper's stream, the fast engine, and what is measured beside its numbers."""

_DATA: Mapping[str, Values] = {
    "cifar10": {},
    "cifar100": {},
    "svhn": {},  # a random 50,000 of its training pictures, as make_stream draws them
    "tiny_imagenet": {"chunk_size": 2000},
    "digits": {"num_chunks": 10, "chunk_size": 140, "max_epochs": 100, "histograms": 5},
}
_MODELS: Mapping[str, Values] = {
    "resnet18": {"learning_rate": 0.001, "batch_size": 128},
    "vgg16": {"learning_rate": 0.01, "batch_size": 256},
    "mlp": {"learning_rate": 0.01, "batch_size": 128},
}
_SOTA: Values = {
    "model_options": ("max_pool=no",),
    "weight_decay": 0.0005,
    "learning_rate": 0.1,
    "criterion": "epochs",
    "max_epochs": 260,
    "milestones": (60, 120, 160, 200),
    "decay": 0.2,
    "warmup_epochs": 1,
    "pad": 4,
    "flip": True,
    "rules": ("cold", "warm", "sp", "dash"),
}


_MODERN: Values = {
    "weight_decay": 0.0005,
    "learning_rate": 0.1,
    "criterion": "epochs",
    "max_epochs": 15,
    "warmup_epochs": 1,
    "anneal": 15,
    "pad": 4,
    "flip": True,
    "rules": ("cold", "warm", "sp", "dash", "uniform"),
}


def _modern(name: str, values: Values) -> Values:
    if "resnet18" not in name.split("-"):
        fail("preset", "of the modern recipe must be of resnet18", repr(name), "Drop -modern.")
    return _MODERN


def _sota(name: str, values: Values) -> Values:
    if "resnet18" not in name.split("-"):
        fail("preset", "of the state of the art must be of resnet18", repr(name), "Drop -sota.")
    return {**_SOTA, "rotation": 15.0 if name.startswith("cifar100-") else 0.0}


def _half(name: str, values: Values) -> Values:
    whole = RunConfig.of(**values).data
    return {"num_chunks": 2, "chunk_size": whole.num_chunks * whole.chunk_size // 2, "histograms": 1}


def _cut(name: str, values: Values) -> Values:
    whole = RunConfig.of(**values)
    options = {"resnet18": ("width=16",), "vgg16": ("width=16",), "mlp": ("widths=128+128",)}
    return {
        "num_chunks": max(whole.data.num_chunks * 8 // 50, 2),
        "chunk_size": max(whole.data.chunk_size // 5, 100),
        "num_test": 0 if whole.data.name == "digits" else 2000,
        "model_options": (*whole.model.options, *options[whole.model.name]),
        "batch_size": whole.training.batch_size // 2,
        "learning_rate": max(whole.training.learning_rate, 0.01),
        "max_epochs": min(whole.training.max_epochs, 60),
        "histograms": 1 if whole.measures.histograms else 0,
    }


SUFFIXES: Mapping[str, Callable[[str, Values], Values]] = {
    "sam": lambda name, values: {"optimizer": "sam", "rho": 0.1},
    "adam": lambda name, values: {
        "optimizer": "adam",
        "learning_rate": 0.001,
        "rules": tuple(rule for rule in values["rules"] if "learning_rate" not in rule),
    },
    "sota": _sota,
    "modern": _modern,
    "half": _half,
    "noise": lambda name, values: {"label_noise": 0.2},
    "canaries": lambda name, values: {"label_noise": 0.02},
    "lambdas": lambda name, values: {
        "rules": ("cold", "warm", *(f"dash:lam={lam}" for lam in (0.05, 0.1, 0.2, 0.3, 0.5)))
    },
    "alphas": lambda name, values: {
        "rules": ("cold", "warm", *(f"dash:alpha={alpha}" for alpha in (0.1, 0.3, 0.5, 0.7, 1)))
    },
    "cut": _cut,
}
"""Suffixes, in the order in which they may follow, with the values that they change."""


def preset(name: str, **changed: Any) -> RunConfig:
    """The setting called `name`, with fields changed by name.

    Raises:
        ValueError: if there is no such preset, or a value is out of range.
    """
    data, _, rest = name.partition("-")
    model, *suffixes = rest.split("-")
    choice("preset", data, _DATA)
    choice("preset", model, _MODELS)
    values: dict[str, Any] = {
        **_PAPER,
        "rules": RULES,
        **_DATA[data],
        **_MODELS[model],
        "data": data,
        "model": model,
    }
    if data == "digits":  # 140 divides by 70: a short last batch would keep batch norm from converging
        values["batch_size"] = 70
    order = list(SUFFIXES)
    for suffix in suffixes:
        choice("preset", suffix, SUFFIXES)
        values.update(SUFFIXES[suffix](name, values))
    if [order.index(suffix) for suffix in suffixes] != sorted({order.index(suffix) for suffix in suffixes}):
        fail("preset", f"must have its suffixes in the order {', '.join(order)}", repr(name), "Sort them.")
    return RunConfig.of(**{**values, **changed})


def preset_names() -> list[str]:
    """All presets that the paper's experiments need; further suffixes can be combined."""
    sets = [data for data in _DATA if data != "digits"]
    plain = [f"{data}-{model}" for data in sets for model in _MODELS]
    optimizers = [f"{data}-resnet18-{optimizer}" for data in sets for optimizer in ("sam", "adam")]
    further = [f"cifar10-resnet18-{suffix}" for suffix in SUFFIXES if suffix not in ("sam", "adam", "sota", "cut")]
    best = [f"{data}-resnet18-sota" for data in sets]
    return [*plain, *optimizers, *best, *further, "cifar10-resnet18-cut", "digits-mlp"]
