"""Networks, training and the regimes of the experiments of level 2.

The presets have the numbers of the prototype measurements that fixed the regimes (two-layer.md; sections are its).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch

from dashtheory._check import choice, fail, integer, real
from dashtheory._memory import must_fit_together
from dashtheory.twolayer.data import SignalNoise

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""Kinds of numbers, by name."""

LARGEST_SCALE = 1e3
"""Standard deviation of initial weights beyond which powers of products leave float32."""

STACK_OPTIMIZERS = ("gd", "adam")
"""Heavy-ball gradient descent, and Adam."""


@dataclass(frozen=True, kw_only=True)
class PatchConfig:
    """The patch network with a fixed second layer (`PatchNetwork`).

    Raises:
        ValueError: if a value is out of range.
    """

    neurons: int = field(default=10, metadata={"help": "m, neurons per class"})
    exponent: float = field(default=1.75, metadata={"help": "q of max(z, 0)^q, 1 to 3"})
    smoothed: bool = field(default=False, metadata={"help": "z^q / q on [0, 1], linear above"})
    init_scale: float = field(default=0.003, metadata={"help": "standard deviation of initial weights"})

    def __post_init__(self) -> None:
        integer("neurons", self.neurons, minimum=1, fix="It counts neurons of a class.")
        real("exponent", self.exponent, low=1, high=3, fix="1 is the ReLU.")
        real("init_scale", self.init_scale, low=0, high=LARGEST_SCALE, fix="It is a standard deviation.")
        if not isinstance(self.smoothed, bool):
            fail("smoothed", "must be True or False", repr(self.smoothed), "It bends the activation.")


@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """The ReLU network with both layers trained (`TwoLayerMLP`); biases start at 0.

    Raises:
        ValueError: if a value is out of range.
    """

    hidden: int = field(default=40, metadata={"help": "H, neurons"})
    hidden_scale: float = field(default=0.01, metadata={"help": "standard deviation of initial hidden weights"})
    output_scale: float = field(default=0.1, metadata={"help": "standard deviation of initial output weights"})

    def __post_init__(self) -> None:
        integer("hidden", self.hidden, minimum=1, fix="It counts neurons.")
        real("hidden_scale", self.hidden_scale, low=0, high=LARGEST_SCALE, fix="It is a standard deviation.")
        real("output_scale", self.output_scale, low=0, high=LARGEST_SCALE, fix="It is a standard deviation.")


@dataclass(frozen=True, kw_only=True)
class TwoLayerConfig:
    """Data, network, training and protocol; the default is the reference regime CNN-A.

    A stage ends when the mean loss over an epoch, each batch scored before its step, is at most `threshold`.
    `velocity`: the reference starts every stage with momentum (or Adam's averages) at zero; the authors of DASH
    keep it, except that cold and warm_rm start anew.

    Raises:
        ValueError: if a value is out of range, or chunks or test samples are not shared equally by the classes.
    """

    data: SignalNoise = field(default_factory=SignalNoise)
    network: PatchConfig | MLPConfig = field(default_factory=PatchConfig)
    num_stages: int = field(default=8, metadata={"help": "J, chunks and stages"})
    chunk_size: int = field(default=50, metadata={"help": "samples per chunk, all classes together"})
    num_test: int = field(default=2000, metadata={"help": "test samples, all classes together"})
    optimizer: str = field(default="gd", metadata={"help": "gd (heavy ball), adam"})
    learning_rate: float = field(default=3.125, metadata={"help": "step size"})
    momentum: float = field(default=0.9, metadata={"help": "of gd; Adam has 0.9 and 0.999"})
    weight_decay: float = field(default=0.0, metadata={"help": "of gd, added to the gradient: decay times weight"})
    batch_size: int = field(default=0, metadata={"help": "samples per step; 0: all; a smaller last batch is kept"})
    threshold: float = field(default=0.05, metadata={"help": "mean loss over an epoch that ends a stage, in nats"})
    max_epochs: int = field(default=800, metadata={"help": "epochs after which a stage ends unconverged"})
    velocity: Literal["reset", "kept"] = field(
        default="reset", metadata={"help": "reset: momentum starts at zero every stage; kept: as the rule says"}
    )
    dtype: str = field(default="float32", metadata={"help": "float32 or float64"})
    device: str = field(default="cpu", metadata={"help": "cpu, cuda, cuda:1, ..."})

    def __post_init__(self) -> None:
        if not isinstance(self.data, SignalNoise):
            fail("data", "must be a SignalNoise", type(self.data).__name__, "Pass data=SignalNoise(...).")
        if not isinstance(self.network, PatchConfig | MLPConfig):
            got = type(self.network).__name__
            fail("network", "must be a PatchConfig or an MLPConfig", got, "Pass network=PatchConfig(...).")
        for name, minimum in (("num_stages", 1), ("chunk_size", 1), ("num_test", 1), ("batch_size", 0)):
            integer(name, getattr(self, name), minimum=minimum, fix="It counts things.")
        integer("max_epochs", self.max_epochs, minimum=1, fix="It counts epochs.")
        for name in ("chunk_size", "num_test"):
            if getattr(self, name) % self.data.num_classes:
                rule = f"must be a multiple of the {self.data.num_classes} classes"
                fail(name, rule, str(getattr(self, name)), "Every class brings as many samples.")
        sample = 4 * (self.data.num_classes * self.data.num_features + self.data.noise_dim)  # bytes
        must_fit_together(
            {
                "num_stages": (self.num_stages, 8, self.chunk_size * sample, 1),
                "chunk_size": (self.chunk_size, 50, self.num_stages * sample, 1),
                "num_test": (self.num_test, 2000, sample, 1),
            }
        )
        choice("optimizer", self.optimizer, STACK_OPTIMIZERS)
        choice("velocity", self.velocity, ("reset", "kept"))
        choice("dtype", self.dtype, DTYPES)
        check_training(self.optimizer, self.learning_rate, self.momentum, self.weight_decay, self.threshold)
        try:
            kind = torch.device(self.device).type
        except (RuntimeError, TypeError) as error:
            fail("device", "must be a device of torch", repr(self.device), f"Write cpu or cuda: {error}.")
        if kind == "cuda" and not torch.cuda.is_available():
            fail("device", "must be one that torch finds", self.device, "Use cpu on this machine.")

    @property
    def number(self) -> torch.dtype:
        """Torch's kind of number."""
        return DTYPES[self.dtype]


def check_training(
    optimizer: str, learning_rate: float, momentum: float, weight_decay: float, threshold: float
) -> None:
    """Refuse numbers of training that are out of range."""
    real("learning_rate", learning_rate, low=0, open_low=True, fix="It is a step size.")
    real("momentum", momentum, low=0, high=1, fix="0.9 is usual.")
    real("weight_decay", weight_decay, low=0, fix="It multiplies the weights.")
    real("threshold", threshold, low=0, fix="It is a mean loss in nats.")
    if optimizer == "adam" and weight_decay:
        fail("weight_decay", "must be 0 with adam", str(weight_decay), "Use optimizer='gd'.")


CNN_A = TwoLayerConfig()
"""Patch network, q = 1.75: warm loses, DASH recovers two thirds (sections 2 and 3)."""

MLP_SMALL = TwoLayerConfig(
    data=SignalNoise(noise_norm=6.0), network=MLPConfig(hidden_scale=0.01, output_scale=0.1), learning_rate=0.1
)
"""ReLU network from a small initialisation: DASH recovers all (section 2)."""

MLP_HE = TwoLayerConfig(
    data=SignalNoise(noise_norm=4.0),
    network=MLPConfig(hidden_scale=1 / math.sqrt(490), output_scale=1 / math.sqrt(40)),
    learning_rate=0.05,
)
"""ReLU network with the usual initialisation (section 2)."""

RELU = TwoLayerConfig(network=PatchConfig(exponent=1.0))
"""Patch network with the ReLU: no loss by warm-starting (section 3, "Other activations")."""

ROOT = TwoLayerConfig(data=SignalNoise(noise_norm=5.0), network=PatchConfig(exponent=1.5), learning_rate=2.0)
"""Patch network, q = 1.5: DASH = cold (section 3, "Other activations")."""

CUB = TwoLayerConfig(
    data=SignalNoise(num_features=15, p_max=0.3, p_min=0.03, noise_norm=2.45),
    network=PatchConfig(exponent=3.0, smoothed=True, init_scale=0.01),
    num_stages=5,
    chunk_size=80,
    learning_rate=5.0,
    threshold=0.02,
    max_epochs=1500,
)
"""Patch network with the smoothed cube: DASH hurts (section 3, "Other activations")."""

REGIMES = {
    "cnn_a": CNN_A,
    "mlp_small": MLP_SMALL,
    "mlp_he": MLP_HE,
    "relu": RELU,
    "root": ROOT,
    "cub": CUB,
}
"""Regimes by name."""
