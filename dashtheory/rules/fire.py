"""FIRE: weights become the nearest orthogonal matrices, scaled, before every stage.

The nearest matrix with orthonormal columns in Frobenius norm is the polar factor of W; the published code comes
near it by a few Newton-Schulz steps, this module also computes it.

Formula:

    X = W / ||W||;  steps times: X <- 1.5 X - 0.5 X X'X;  W <- s X        (X transposed where it is wide)
    linear        s = sqrt(out / in)
    convolution   every place of the kernel is a matrix (out, in) of its own; s = sqrt(out / in) / places

Source: Han, Park, Oh, Kim, Lee & Kim (ICLR 2026, arXiv:2602.08040) and the facts of its published code, from which
nothing is taken over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, integer
from dashtheory.rules.matrices import LayerWeight, layer_weights
from dashtheory.rules.rule import (
    Context,
    InPlace,
    Learner,
    RuleState,
    ablation,
    flag,
    remembered,
    trainable,
)

LINEAR = ("fire", "reset")
"""What can become of linear layers."""

_PACKED = ("query_key_value", "c_attn", "qkv", "to_qkv", "in_proj_weight")


@dataclass(frozen=True, kw_only=True)
class Fire(InPlace):
    """FIRE: each weight matrix becomes s times (nearly) its polar factor; biases and norm layers stay.

    Touched are the weights of linear layers, attention projections and convolutions, the classifier and what is
    tied to it included, as in the published code. Kernels of a transposed convolution stay, as there, and so do
    those of a depthwise one, of whose 1 x 1 matrices only signs would be left. A matrix of zeros stays zero, and
    nothing is computed in less than float32.

    With few steps this is no orthogonal matrix: singular values of a large random one stay far from 1, and mostly
    its size changes (`departure` measures it; `norm_matched:of=fire` keeps the size and leaves the direction out).

    Published: steps=10 for vision and control, 5 for GPT, with a new optimizer at every stage; for ViT on to_q and
    to_k alone.

    Cost: matrix products alone, no pass over the data; `exact` takes a singular value decomposition of each.

    Elsewhere: the published code makes NaN of a matrix of zeros, iterates in half precision where weights are of
    that kind, and leaves only signs of depthwise kernels. Forks for language models scale by the spectral norm,
    take 15 steps or skip the embedding and the head.

    Attributes:
        steps: of Newton and Schulz, >= 1; published 10 for vision and control, 5 for GPT.
        exact: the polar factor itself, in float64, instead of steps towards it.
        cut: whether a projection that packs query, key and value is three matrices, as published for GPT.
        only: names of the layers to act on, joined by +, as published for ViT (to_q+to_k); empty for all.
        linear: what becomes of `nn.Linear` layers: "fire", or "reset" to the run's first weights, biases too, as
            published for DQN (`fire:linear=reset:optimizer=kept`).
        optimizer: as `InPlace`; "renewed" as published.
    """

    steps: int = ablation(10)
    exact: bool = ablation(False)
    cut: bool = ablation(True)
    only: str | tuple[object, ...] = ablation("")
    linear: str = ablation("fire")
    optimizer: str = ablation("renewed")
    name: ClassVar[str] = "fire"

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("steps", self.steps, minimum=1, fix="The published code takes 10, and 5 for GPT.")
        flag("exact", self.exact)
        flag("cut", self.cut)
        choice("linear", self.linear, LINEAR)
        if not isinstance(self.only, str | tuple):
            fail("only", "must be names of layers joined by +", repr(self.only), "Leave it empty for all.")

    @property
    def _steps(self) -> int | None:
        return None if self.exact else self.steps

    def start(self, learner: Learner) -> RuleState:
        """Copy the first weights of what is reset."""
        return {name: value.detach().clone() for name, value in self.resets(learner.model).items()}

    def resets(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """What goes back to the first weights, by name."""
        if self.linear == "fire":
            return {}
        homes = [one.name.rpartition(".")[0] for one in self.weights(model) if isinstance(one.module, nn.Linear)]
        return {name: value for name, value in trainable(model).items() if name.rpartition(".")[0] in homes}

    def change_(self, model: nn.Module, context: Context) -> None:
        """Replace every matrix.

        Raises:
            ValueError: before anything changes, if `only` names no layer.
        """
        weights, resets = self.weights(model), self.resets(model)
        pairs = [(value, remembered(context.state, name, value)) for name, value in resets.items()]
        fire_([one for one in weights if one.name not in resets], steps=self._steps, cut=self.cut)
        with torch.no_grad():
            for value, first in pairs:
                value.copy_(first)

    def weights(self, model: nn.Module) -> list[LayerWeight]:
        """The weights that are replaced.

        Raises:
            ValueError: if there is none of the names in `only`.
        """
        found = layer_weights(model)
        if not self.only:
            return found
        names = {str(part) for part in (self.only if isinstance(self.only, tuple) else (self.only,))}
        chosen = [weight for weight in found if names & set(weight.name.split("."))]
        if not chosen:
            fail(
                "only", "must name layers of the model", "+".join(sorted(names)), f"There is {found[0].name}, say."
            )
        return chosen


@torch.no_grad()
def fire_(weights: list[LayerWeight], *, steps: int | None = 10, cut: bool = True) -> None:
    """Replace weights by s times what `polar` makes of their matrices, in place.

    Args:
        weights: of `layer_weights`.
        steps: as `polar`.
        cut: as in `Fire`.
    """
    for weight in weights:
        for block, scale in blocks(weight, cut=cut):
            block.copy_(scale * polar(block, steps=steps))


def blocks(weight: LayerWeight, *, cut: bool = True) -> Iterator[tuple[Tensor, float]]:
    """The matrices (out, in) that a weight is made of, as views of it, and the scale s of each."""
    value, module = weight.outputs_first(weight.parameter.detach()), weight.module
    if weight.layout == "transposed":
        return
    local = weight.name.split(".")[-2:]
    packed = cut and any(part in _PACKED for part in local) and value.shape[0] % 3 == 0
    for part in value.chunk(3 if packed else int(getattr(module, "groups", 1))):
        out, into = part.shape[:2]
        if value.ndim == 2:
            yield part, math.sqrt(out / into)
        elif not (into == 1 and getattr(module, "groups", 1) > 1):
            places = math.prod(part.shape[2:])
            for one in _slices(part):
                yield one, math.sqrt(out / into) / places


def _slices(kernel: Tensor) -> Iterator[Tensor]:
    """The matrices of a kernel (out, in, ...), one a place, as views of it."""
    if kernel.ndim == 2:
        yield kernel
    else:
        for one in kernel.unbind(2):
            yield from _slices(one)


def polar(matrix: Tensor, *, steps: int | None = None) -> Tensor:
    """The polar factor U V' of a matrix with singular values U S V', or what some steps towards it give.

    Args:
        matrix: (rows, columns), not changed. Zero gives zero.
        steps: of Newton and Schulz, from the matrix over its Frobenius norm; None: the factor itself, in float64.
            The columns that a matrix of lower rank leaves open are as the decomposition has them.

    Returns:
        a new matrix of the same shape and dtype.
    """
    if not matrix.any():
        return torch.zeros_like(matrix)
    if steps is None:
        left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
        factor: Tensor = (left @ right).to(matrix.dtype)
        return factor
    wide = matrix.shape[0] < matrix.shape[1]
    x = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    x = x.T if wide else x
    x = x / torch.linalg.matrix_norm(x)
    for _ in range(steps):
        x = 1.5 * x - 0.5 * x @ (x.T @ x)
    found: Tensor = (x.T if wide else x).to(matrix.dtype)
    return found


def departure(weights: list[LayerWeight], *, cut: bool = True) -> dict[str, float]:
    """How far each weight is from what FIRE aims at: mean over its matrices of ||X'X - I||^2 / k, X = W / s.

    k is the smaller side, and the Gram matrix that of the k columns or rows: 0 for s times an orthogonal one, 1
    for zero (the paper's DfI, by size and up to the scale s). Weights that FIRE leaves alone have no entry.
    """
    found = {}
    for weight in weights:
        parts = [float(_defect(block / scale)) for block, scale in blocks(weight, cut=cut)]
        if parts:
            found[weight.name] = sum(parts) / len(parts)
    return found


def _defect(x: Tensor) -> Tensor:
    x = x.double()
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    return (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).square().sum() / len(gram)
