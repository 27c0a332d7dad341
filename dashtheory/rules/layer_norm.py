"""A layer norm before every activation: the plain baseline, together with weight decay.

Source: Lyle et al., "Disentangling the causes of plasticity loss in neural networks" (CoLLAs 2024,
arXiv:2402.18762): layer norm and weight decay, layer_norm:weight_decay=1e-4, say.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from dashtheory._check import choice, fail
from dashtheory.rules.activations import Activation, replace_
from dashtheory.rules.rule import ablation, flag
from dashtheory.rules.swaps import OtherActivations

OVER = ("map", "channels")
"""Over what maps are normalized: all channels and places of an example, or the channels of each place."""

NORM_KINDS = ("layer", "rms")


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each place of a map."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as in torch)
        """(batch, channels, ...) to the same."""
        return super().forward(input.transpose(1, -1)).transpose(1, -1)


class ChannelRMSNorm(nn.RMSNorm):
    """RMS norm over the channels of each place of a map."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, ...) to the same."""
        return super().forward(x.transpose(1, -1)).transpose(1, -1)


class MapRMSNorm(nn.RMSNorm):
    """RMS norm over all channels and places of an example; a scale for each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, ...) to the same."""
        normed = functional.rms_norm(x, x.shape[1:], eps=self.eps)
        scale: Tensor | None = self.weight
        return normed if scale is None else normed * scale.view(-1, *(1 for _ in x.shape[2:]))


@dataclass(frozen=True, kw_only=True)
class LayerNorms(OtherActivations):
    """Train with a layer norm before every activation; other norms stay where they are.

    Formula: phi(u) becomes phi(gamma (u - mean(u)) / sqrt(var(u) + eps) + beta), gamma = 1 and beta = 0 at first.

    Cost: a norm for each activation.

    Attributes:
        over: of maps, "map" (as a group norm of one group) or "channels".
        affine: whether the norms have weights and biases.
        kind: "layer", or "rms": divided by the root of the mean square, without subtracting the mean; no biases.
    """

    over: str = ablation("map")
    affine: bool = ablation(True)
    kind: str = ablation("layer")
    name: ClassVar[str] = "layer_norm"

    def __post_init__(self) -> None:
        choice("over", self.over, OVER)
        flag("affine", self.affine)
        choice("kind", self.kind, NORM_KINDS)

    def swap_(self, model: nn.Module, found: list[Activation]) -> None:
        """Put the norms.

        Raises:
            ValueError: in one line if the width of one is not known.
        """
        for one in found:
            if not one.width:
                got = f"{one.name} after {one.obstacle}"
                fail("model", "must have activations after layers", got, "Leave this rule out.")
        for one in found:
            nearest = model.get_submodule(one.layers[0]).parameters()  # a norm may have none
            like = next(chain(nearest, model.parameters()))
            norm = self._norm(one).to(like.device, like.dtype)
            replace_(model, one.name, lambda before, norm=norm: nn.Sequential(norm, before))  # type: ignore[misc]

    def _norm(self, one: Activation) -> nn.Module:
        if self.kind == "rms":
            over = nn.RMSNorm if one.axis == -1 else ChannelRMSNorm if self.over == "channels" else MapRMSNorm
            return over(one.width, eps=1e-5, elementwise_affine=self.affine)
        if one.axis == -1:
            return nn.LayerNorm(one.width, elementwise_affine=self.affine)
        if self.over == "channels":
            return ChannelNorm(one.width, elementwise_affine=self.affine)
        return nn.GroupNorm(1, one.width, affine=self.affine)
