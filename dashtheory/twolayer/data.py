"""Signal + noise data: which features a sample shows is known, and its noise is a vector of its own.

Coordinates are chosen so that features and noise never mix: the first C K axes are the features of all classes,
v_{c,k} at place c K + k, the other d axes hold the noise. A sample of class c is

    x = sum_k b_k v_{c,k} + xi,     b_k ~ Bernoulli(p_k) independent,     xi ~ N(0, |xi|^2 / d I_d)

so a weight vector in these axes is (W_features, W_noise), and both blocks can be read off without a fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dashtheory._check import fail, integer, numpy_generator, real


@dataclass(frozen=True, kw_only=True)
class SignalNoise:
    """The distribution of samples; the defaults are those of the reference regime CNN-A.

    Without `probabilities`, p_k = p_max (p_min / p_max)^{k / (K - 1)}, k = 0..K-1, in every class.

    Raises:
        ValueError: if a value is out of range, or there is not one probability per feature.
    """

    num_classes: int = field(default=2, metadata={"help": "C, classes"})
    num_features: int = field(default=20, metadata={"help": "K, features per class"})
    p_max: float = field(default=0.2, metadata={"help": "probability of the most frequent feature"})
    p_min: float = field(default=0.05, metadata={"help": "probability of the rarest feature"})
    noise_dim: int = field(default=450, metadata={"help": "d, dimensions of the noise"})
    noise_norm: float = field(default=4.0, metadata={"help": "|xi|, root mean square length of the noise"})
    probabilities: tuple[float, ...] = field(
        default=(),
        metadata={"help": "p_k of each feature, K for all classes or C K class by class; empty: geometric"},
    )

    def __post_init__(self) -> None:
        integer("num_classes", self.num_classes, minimum=2, fix="One class leaves nothing to tell apart.")
        integer("num_features", self.num_features, minimum=1, fix="It counts features of a class.")
        integer("noise_dim", self.noise_dim, minimum=1, fix="It counts dimensions.")
        real("noise_norm", self.noise_norm, low=0, fix="It is a length; features have length 1.")
        real("p_max", self.p_max, low=0, high=1, open_low=True, fix="It is a probability.")
        real("p_min", self.p_min, low=0, high=self.p_max, open_low=True, fix="Lower it, or raise p_max=.")
        if len(self.probabilities) not in (0, self.num_features, self.num_axes):
            rule = f"must have {self.num_features} entries, or {self.num_axes} for a set per class"
            fail("probabilities", rule, str(len(self.probabilities)), "Leave it empty for geometric ones.")
        for probability in self.probabilities:
            real("probabilities", probability, low=0, high=1, fix="They are probabilities.")

    @property
    def num_axes(self) -> int:
        """C K, feature axes of all classes."""
        return self.num_classes * self.num_features

    @property
    def dimension(self) -> int:
        """C K + d, length of a sample and of a neuron's weights."""
        return self.num_axes + self.noise_dim

    def frequencies(self) -> NDArray[np.float64]:
        """p_k of every class, float64 (C, K)."""
        shape = (self.num_classes, self.num_features)
        if self.probabilities:
            given = np.array(self.probabilities, dtype=np.float64)
            return np.broadcast_to(given.reshape(-1, self.num_features), shape).copy()
        steps = np.arange(self.num_features) / max(self.num_features - 1, 1)
        return np.broadcast_to(self.p_max * (self.p_min / self.p_max) ** steps, shape).copy()


@dataclass(frozen=True, eq=False)
class PatchData:
    """Samples, part by part; all tensors may have the same leading axes (one entry per seed, say).

    Attributes:
        features: bool (..., n, C K), the features shown; only those of the own class can be.
        noise: float (..., n, d).
        labels: int64 (..., n), classes 0..C-1.
    """

    features: Tensor
    noise: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.shape[-1]

    def x(self) -> Tensor:
        """Whole samples (..., n, C K + d), features first, in the kind of number of the noise."""
        return torch.cat([self.features.to(self.noise.dtype), self.noise], dim=-1)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> PatchData:
        """The same samples on a device, with noise of this kind of number."""
        return PatchData(self.features.to(device), self.noise.to(device, dtype), self.labels.to(device))

    def part(self, start: int, stop: int) -> PatchData:
        """Samples start..stop-1."""
        return PatchData(
            self.features[..., start:stop, :], self.noise[..., start:stop, :], self.labels[..., start:stop]
        )

    def of_seed(self, index: int) -> PatchData:
        """The samples of one entry of the first leading axis."""
        return PatchData(self.features[index], self.noise[index], self.labels[index])


def sample_signal_noise(config: SignalNoise, num_samples: int, generator: np.random.Generator) -> PatchData:
    """Draw samples, equally many of every class: sample i is of class i mod C.

    Args:
        config: the distribution.
        num_samples: n, all classes together, a multiple of C.
        generator: source of n K uniform draws (sample by sample), then of n d normal ones.

    Returns:
        `PatchData` with float64 noise on the CPU; `to` rounds it, so that all kinds of numbers share data.

    Raises:
        ValueError: if n is no positive multiple of C.
    """
    numpy_generator("generator", generator)
    integer("num_samples", num_samples, minimum=1, fix="It counts samples.")
    if num_samples % config.num_classes:
        rule = f"must be a multiple of the {config.num_classes} classes"
        fail("num_samples", rule, str(num_samples), "Every class brings as many samples.")
    labels = np.arange(num_samples) % config.num_classes
    shown = generator.random((num_samples, config.num_features)) < config.frequencies()[labels]
    features = np.zeros((num_samples, config.num_classes, config.num_features), dtype=np.bool_)
    features[np.arange(num_samples), labels] = shown
    scale = config.noise_norm / np.sqrt(config.noise_dim)
    noise = scale * generator.standard_normal((num_samples, config.noise_dim))
    return PatchData(
        torch.from_numpy(features.reshape(num_samples, -1)), torch.from_numpy(noise), torch.from_numpy(labels)
    )


def concatenate_data(parts: Sequence[PatchData]) -> PatchData:
    """All samples of the parts, in order, along the axis of samples."""
    return PatchData(
        torch.cat([part.features for part in parts], dim=-2),
        torch.cat([part.noise for part in parts], dim=-2),
        torch.cat([part.labels for part in parts], dim=-1),
    )


def stack_data(parts: Sequence[PatchData]) -> PatchData:
    """Data sets of one size along a new first axis, one entry per seed."""
    return PatchData(
        torch.stack([part.features for part in parts]),
        torch.stack([part.noise for part in parts]),
        torch.stack([part.labels for part in parts]),
    )
