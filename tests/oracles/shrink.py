"""DASH and shrink-and-perturb entry by entry, written from DESIGN.md ("DASH and its relatives").

Everything after the gradient is plain Python arithmetic in double precision, one group at a time.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Chunk = tuple[Tensor, Tensor]
Values = NDArray[np.float64]
NUM_CLASSES = 3
CHUNK_SIZE = 5


@dataclass(frozen=True, kw_only=True)
class OracleLayer:
    """What DASH should do to one parameter.

    Attributes:
        cosines: cosine of every group; (out, in), (out,) or ().
        scales: factor of every group.
        weights: the parameter afterwards.
    """

    cosines: Values
    scales: Values
    weights: Values


def dash_by_hand(
    model: nn.Module,
    chunks: list[Chunk],
    loss_fn: Callable[..., Tensor],
    *,
    alpha: float,
    lam: float,
    training: bool = False,
) -> dict[str, OracleLayer]:
    """Return what DASH makes of every parameter that it shrinks, by name; `model` is not changed."""
    result = {}
    descent = smoothed_by_hand(model, chunks, loss_fn, alpha=alpha, training=training)
    for name, parameter, axes in shrunk_parameters(model):
        weights = entries(parameter)
        cosines = np.zeros(weights.shape[:axes])
        scales = np.zeros(weights.shape[:axes])
        after = np.zeros(weights.shape)
        for group in np.ndindex(weights.shape[:axes]):
            w = weights[group].ravel().tolist()
            g = descent[name][group].ravel().tolist()
            angle = cosine(w, g)
            scale = min(max(angle, lam), 1)
            cosines[group], scales[group] = angle, scale
            after[group] = np.reshape([scale * entry for entry in w], weights.shape[axes:])
        result[name] = OracleLayer(cosines=cosines, scales=scales, weights=after)
    return result


def smoothed_by_hand(
    model: nn.Module,
    chunks: list[Chunk],
    loss_fn: Callable[..., Tensor],
    *,
    alpha: float,
    training: bool = False,
) -> dict[str, Values]:
    """Return G: zero at first, then G <- (1 - alpha) G + alpha (-gradient) for each chunk, oldest first."""
    replica = copy.deepcopy(model)
    replica.train() if training else replica.eval()
    before = torch.get_rng_state()
    descent = {name: np.zeros(parameter.shape) for name, parameter, _ in shrunk_parameters(replica)}
    for inputs, labels in chunks:
        for parameter in replica.parameters():
            parameter.grad = None
        loss_fn(replica(inputs), labels).backward()
        for name, parameter, _ in shrunk_parameters(replica):
            gradient = np.zeros(parameter.shape) if parameter.grad is None else entries(parameter.grad)
            descent[name] = (1 - alpha) * descent[name] + alpha * -gradient
    torch.set_rng_state(before)
    return descent


def shrunk_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, int]]:
    """Yield (name, parameter, number of leading axes that number its groups) of all that the rules shrink.

    A convolution has one group per (output, input) kernel, a linear map one per output row, a bias is one
    group; a parameter met again is skipped, as is a frozen one.
    """
    seen: list[nn.Parameter] = []
    for prefix, module in model.named_modules():
        axes: dict[str, int] = {}
        if "Conv" in type(module).__name__:
            axes = {"weight": 2, "bias": 0}
        elif isinstance(module, nn.Linear):
            axes = {"weight": 1, "bias": 0}
        elif isinstance(module, nn.MultiheadAttention):
            axes = {f"{name}_weight": 1 for name in ("in_proj", "q_proj", "k_proj", "v_proj")}
            axes["in_proj_bias"] = 0
        for local, number in axes.items():
            parameter: Any = getattr(module, local)
            if parameter is None or not parameter.requires_grad or any(parameter is other for other in seen):
                continue
            seen.append(parameter)
            yield (f"{prefix}.{local}" if prefix else local), parameter, number


def cosine(left: list[float], right: list[float]) -> float:
    """Cosine of two vectors; 0 if either is zero."""
    product = math.fsum(a * b for a, b in zip(left, right, strict=True))
    lengths = math.sqrt(math.fsum(a * a for a in left)) * math.sqrt(math.fsum(b * b for b in right))
    return product / lengths if lengths else 0.0


def noise_by_hand(
    model: nn.Module, *, shrink: float, perturb: float, generator: torch.Generator
) -> dict[str, Values]:
    """S&P as the authors of DASH compare it: shrink w + perturb N(0, 1), parameter by parameter."""
    result = {}
    for name, parameter, _ in shrunk_parameters(model):
        draws = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        weights, noise = entries(parameter), entries(draws)
        after = np.zeros(weights.shape)
        for index in np.ndindex(weights.shape):
            after[index] = shrink * weights[index] + perturb * noise[index]
        result[name] = after
    return result


def fresh_by_hand(model: nn.Module, fresh: nn.Module, *, shrink: float, perturb: float) -> dict[str, Values]:
    """S&P of Ash & Adams: shrink w + perturb w_fresh for all trainable parameters; buffers are the fresh ones."""
    others = dict(fresh.named_parameters())
    result = {name: entries(buffer) for name, buffer in fresh.named_buffers()}
    for name, parameter in model.named_parameters():
        weights = entries(parameter)
        if parameter.requires_grad:
            new = entries(others[name])
            for index in np.ndindex(weights.shape):
                weights[index] = shrink * weights[index] + perturb * new[index]
        result[name] = weights
    return result


def entries(tensor: Tensor) -> Values:
    """Copy a tensor to float64, in its logical order."""
    return np.array(tensor.detach().double().numpy(), dtype=np.float64, order="C", copy=True)


# Networks to try the rules on, and chunks that they take.


class Attention(nn.Module):
    """Embedding, recurrent layer, attention, norm, tied output: most of what a language model is made of."""

    def __init__(self, kdim: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.recurrent = nn.GRU(4, 4, batch_first=True)
        self.keys = nn.Linear(4, kdim or 4)
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True, kdim=kdim, vdim=kdim)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, NUM_CLASSES)
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of the classes."""
        hidden, _ = self.recurrent(self.embed(tokens))
        keys = self.keys(hidden)
        mixed, _ = self.attend(hidden, keys, keys)
        out: Tensor = self.head((self.norm(hidden + mixed) + self.shift).mean(dim=1))
        return out


def convolutions() -> nn.Module:
    """Groups, 1x1, rectangular kernels, batch and group norm."""
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 5, 1, bias=False),
        nn.GroupNorm(5, 5),
        nn.ReLU(),
        nn.Conv2d(5, 3, (2, 3)),
        nn.Flatten(),
        nn.Linear(18, NUM_CLASSES),
    )


def even() -> nn.Module:
    """Layers of even widths, each before a rectifier; no bias has a gradient that is zero but for rounding."""
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 8),
        nn.LayerNorm(8),
        nn.ReLU(),
        nn.Linear(8, NUM_CLASSES),
    )


def transposed() -> nn.Module:
    """A transposed convolution in groups."""
    return nn.Sequential(
        nn.ConvTranspose2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(216, NUM_CLASSES)
    )


def one_dimensional() -> nn.Module:
    """Sequences."""
    return nn.Sequential(
        nn.Conv1d(4, 5, 3), nn.Tanh(), nn.ConvTranspose1d(5, 2, 2), nn.Flatten(), nn.Linear(10, NUM_CLASSES)
    )


def three_dimensional() -> nn.Module:
    """Volumes."""
    return nn.Sequential(
        nn.Conv3d(2, 3, 2), nn.Tanh(), nn.ConvTranspose3d(3, 2, 2), nn.Flatten(), nn.Linear(54, NUM_CLASSES)
    )


def perceptron() -> nn.Module:
    """Linear layers, batch and layer norm, dropout."""
    return nn.Sequential(
        nn.Linear(4, 6),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(6, 5, bias=False),
        nn.LayerNorm(5),
        nn.Tanh(),
        nn.Linear(5, NUM_CLASSES),
    )


def tied_linear() -> nn.Module:
    """Two linear layers with one weight."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, NUM_CLASSES))
    model[2].weight = model[0].weight
    return model


def tied_embedding() -> nn.Module:
    """An output layer that shares the weight of the embedding."""
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 7), nn.Flatten())
    model[3].weight = model[0].weight
    return model


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions": (convolutions, (4, 4, 4)),
    "even": (even, (4, 4, 4)),
    "transposed": (transposed, (4, 4, 4)),
    "one_dimensional": (one_dimensional, (4, 6)),
    "three_dimensional": (three_dimensional, (2, 3, 3, 3)),
    "perceptron": (perceptron, (4,)),
    "tied_linear": (tied_linear, (4,)),
    "tied_embedding": (tied_embedding, (2,)),
    "attention": (Attention, (3,)),
    "attention with other keys": (lambda: Attention(kdim=3), (3,)),
}


def network(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Build a network of the zoo, with running statistics that are not those of an untrained one."""
    model = NETWORKS[name][0]().to(dtype)
    for chunk in chunks(name, 2, dtype, seed=7):
        model(chunk[0])
    return model


def chunks(name: str, number: int = 3, dtype: torch.dtype = torch.float64, seed: int = 1) -> list[Chunk]:
    """Return that many batches that the network called `name` takes."""
    generator = torch.Generator().manual_seed(seed)
    shape = (CHUNK_SIZE, *NETWORKS[name][1])
    found = []
    for _ in range(number):
        real = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        tokens = torch.randint(7, shape, generator=generator)
        labels = torch.randint(NUM_CLASSES, (CHUNK_SIZE,), generator=generator)
        found.append((tokens if "embedding" in name or "attention" in name else real, labels))
    return found
