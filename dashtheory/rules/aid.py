"""Activation by interval-wise dropout (AID): at random a unit is a rectifier, or the negative side's.

    training      relu(x) with probability p, else -relu(-x), for each unit and example anew
    evaluation    p relu(x) - (1 - p) relu(-x), its mean

Source: Park et al., "Activation by interval-wise dropout" (ICML 2025, arXiv:2502.01342). Published p: 0.99 for
permuted MNIST, 0.9 (random labels, CIFAR-10), 0.7 (CIFAR-100, Tiny ImageNet), 0.8 to 0.95 for supervised streams,
0.99 to 0.999 for reinforcement learning. Its authors also take average pooling in place of max pooling, clip
gradients at 0.5 for ResNet-18, and renew the optimizer in every stage; none of that is done here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import fail, real
from dashtheory.rules.activations import Activation, replace_
from dashtheory.rules.rule import ablation
from dashtheory.rules.swaps import OtherActivations


class AID(nn.Module):
    """Interval-wise dropout around a rectifier.

    In training it draws from torch's global stream, as dropout does: the protocol seeds that stream in every
    stage, recorded steps and recomputed activations have its state, and evaluation draws nothing. With p = 1
    nothing is drawn, and it is a rectifier to the bit.

    Args:
        p: probability of the positive side, in [0, 1].
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, inputs: Tensor) -> Tensor:
        """As many features."""
        if self.p == 1:
            return inputs.relu()
        if not self.training:
            return inputs.relu() * self.p - (-inputs).relu() * (1 - self.p)
        drawn = torch.empty(inputs.shape, dtype=inputs.dtype, device=inputs.device)  # in order, however inputs lie
        positive = drawn.bernoulli_(self.p).bool()
        return inputs * ((inputs > 0) == positive)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


@dataclass(frozen=True, kw_only=True)
class Dropped(OtherActivations):
    """Train with interval-wise dropout in place of all rectifiers (ReLU); other activations stay.

    Cost: a random number for each unit and example.

    Attributes:
        p: probability of the positive side, in [0, 1]; 1 is a rectifier.
    """

    p: float = ablation(0.9)
    name: ClassVar[str] = "aid"
    inert: ClassVar[Mapping[str, Any]] = {"p": 1}

    def __post_init__(self) -> None:
        real("p", self.p, low=0, high=1, fix="It is a probability.")

    def swap_(self, model: nn.Module, found: list[Activation]) -> None:
        """Put it in the place of every ReLU.

        Raises:
            ValueError: in one line if there is none.
        """
        rectifiers = [one for one in found if type(one.module) is nn.ReLU]
        if not rectifiers:
            kinds = ", ".join(sorted({type(one.module).__name__ for one in found}))
            fail("model", "must have ReLUs", f"{kinds} alone", "Leave this rule out.")
        for one in rectifiers:
            replace_(model, one.name, lambda before: AID(self.p))
