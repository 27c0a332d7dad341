"""Spectral regularization: the largest singular value of every layer stays near 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import integer, real
from dashtheory.rules.matrices import LayerWeight, layer_weights
from dashtheory.rules.rule import Learner, RuleState, WhileTraining, ablation, remembered
from dashtheory.rules.swr import _NORMS, layers

_FIRST_STEPS = 30


@dataclass(frozen=True, kw_only=True)
class Spectral(WhileTraining):
    """Spectral regularization: the largest singular value of each layer is pulled to 1, biases to 0.

    W are all weights, kernels laid out in rows; b biases of layers and shifts of norm layers, which go to zero;
    gamma_i the scales of norm layers, the singular values of a diagonal map. sigma_1 comes from one step of the
    power iteration at every look at the loss, with a vector that is kept from step to step (the state of this
    rule); only the largest singular value is bound.

    Formula: loss + strength x [sum (sigma_1(W)^k - 1)^2 + sum ||b||^2k + sum (|gamma_i|^k - 1)^2].

    Published: k=2; strengths of 1e-4 to 1e-3 are said to be usual.

    Cost: two products of each weight matrix with a vector a step; no pass over the data.

    Source: Lewandowski et al., "Learning continually by spectral regularization" (ICLR 2025, arXiv:2406.06811).

    Elsewhere: how biases enter is read differently by different people; this is the k-th power of their norm,
    squared, as for weights.

    Attributes:
        strength: >= 0; 1e-4 to 1e-3 are said to be usual.
        k: power, >= 1; 2 as published.
    """

    strength: float = ablation(1e-3)
    k: int = ablation(2)
    name: ClassVar[str] = "spectral"
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        integer("k", self.k, minimum=1, fix="It is a power.")

    def start(self, learner: Learner) -> RuleState:
        """The first left singular vector of every weight, nearly: some steps from its row sums."""
        return {one.name: _first_vector(one.matrix().detach()) for one in layer_weights(learner.model)}

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The penalty of the model's weights at the time of the call."""
        if not self.strength:
            return None
        weights = [(one, remembered(state, one.name, one.matrix()[:, 0])) for one in layer_weights(model)]
        parts = list(layers(model).values())
        biases = [getattr(part, "bias", None) for part in parts]
        shifts = [bias for bias in biases if bias is not None and bias.requires_grad]
        scales = [part.weight for part in parts if isinstance(part, _NORMS) and part.weight.requires_grad]

        def penalty() -> Tensor:
            terms = [(_sigma(one, vector) ** self.k - 1) ** 2 for one, vector in weights]
            terms += [(shift.square().sum() ** self.k) for shift in shifts]
            terms += [((scale.abs() ** self.k - 1) ** 2).sum() for scale in scales]
            return torch.stack(terms).sum() * self.strength

        return penalty


def _sigma(weight: LayerWeight, vector: Tensor) -> Tensor:
    """The largest singular value by one step from `vector`, which moves on in place."""
    matrix = weight.matrix()
    with torch.no_grad():
        right = nn.functional.normalize(matrix.T @ vector, dim=0)
        vector.copy_(nn.functional.normalize(matrix @ right, dim=0))
        left = vector.clone()
    return left @ (matrix @ right)


def _first_vector(matrix: Tensor) -> Tensor:
    vector = matrix.sum(dim=1)
    for _ in range(_FIRST_STEPS):
        if not vector.any():
            vector = torch.ones_like(vector)
        vector = nn.functional.normalize(matrix @ (matrix.T @ vector), dim=0)
    return vector
