"""A network that takes pictures as they are stored: bytes in, logits out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dashtheory._check import choice, fail, integer
from dashtheory.protocol.settings import PRECISIONS


class PictureNetwork(nn.Module):
    """logits = network((pictures - mean) / std), in a chosen memory layout and precision.

    The whole data set can so stay on the device as bytes, and every part of the package (training, rules,
    measures) takes the same bytes. Normalisation has no parameters; it is the arithmetic of
    `dashtheory.deep.data.make_stream`, to the bit.

    Input uint8 (batch, channels, height, width), or what the network itself takes in float32, which is then
    normalised all the same; output float32 (batch, num_classes).

    Args:
        network: takes float32 (batch, channels, height, width). It is changed to the layout.
        mean: of each channel, in grey levels 0 to 255; empty: inputs are taken as they are (text, say).
        std: of each channel, in grey levels 0 to 255; empty: inputs are taken as they are (text, say).
        precision: "float32"; "tf32" (the same here: see `exact_or_fast`); or "bfloat16": convolutions and matrix
            products in bfloat16 by autocast, weights and their gradients in float32.
        channels_last: whether pictures and convolution weights lie with channels innermost, as the fast kernels
            want them. The numbers are the same up to rounding.
        part: in evaluation mode a larger batch is taken in parts of so many pictures. What a part computed is
            thrown away and computed again on the way back, so that the gradient over a whole chunk, which DASH
            takes, needs no more memory than one over a part.

    Raises:
        ValueError: if mean and std are not one positive number per channel, or a value is out of range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        precision: str = "float32",
        channels_last: bool = True,
        part: int = 2000,
    ) -> None:
        super().__init__()
        self.part = integer("part", part, minimum=1, fix="It counts pictures.")
        if len(mean) != len(std) or not all(value > 0 for value in std):
            got = f"{tuple(mean)} and {tuple(std)}"
            rule = "must be one number per channel, std > 0, or none"
            fail("mean and std", rule, got, "Take those of make_stream.")
        self.precision = choice("precision", precision, PRECISIONS)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.layout)  # type: ignore[call-overload]
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(tuple(values))[:, None, None], persistent=False)

    @property
    def core(self) -> nn.Module:
        """The layers, without the preparation of pictures."""
        network: nn.Module = self.network
        return network

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits of pictures."""
        if self.training or len(pictures) <= self.part:
            return self._logits(pictures)
        parts = pictures.split(self.part)
        if not torch.is_grad_enabled():
            return torch.cat([self._logits(part) for part in parts])
        return torch.cat([checkpoint(self._logits, part, use_reentrant=False) for part in parts])

    def _logits(self, pictures: Tensor) -> Tensor:
        inputs = (pictures - self.mean) / self.std if len(self.mean) else pictures
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=self.layout)
        half = self.precision == "bfloat16"
        # A cache of weights in bfloat16 would outlive a captured step; each weight is used once anyway.
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=half, cache_enabled=False):
            logits: Tensor = self.network(inputs)
        return logits.float()
