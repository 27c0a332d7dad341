"""What a shrinking rule has done: factors and cosines, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from dashtheory.rules.groups import Kind


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerReport:
    """What happened to one parameter.

    Attributes:
        name: its full name in the model, such as "layer1.0.conv1.weight".
        kind: how its entries group: "kernel", "row" or "vector", or as `dashtheory.rules.groups` says.
        cosines: cos(G, w) of each group; (out, in), (out,) or ().
        scales: factor of each group, same shape.
        num_entries: entries of the parameter.
        lam: the smallest factor allowed.
    """

    name: str
    kind: Kind
    cosines: Tensor
    scales: Tensor
    num_entries: int
    lam: float

    @property
    def share_clamped(self) -> float:
        """Groups whose cosine is at most `lam`, over all groups of the parameter."""
        return float((self.cosines <= self.lam).double().mean())

    @property
    def mean_scale(self) -> float:
        """Mean factor over groups (all groups of a parameter have the same size)."""
        return float(self.scales.double().mean())


@dataclass(frozen=True, kw_only=True, eq=False)
class ShrinkReport:
    """What DASH did to a model.

    Attributes:
        layers: one `LayerReport` per shrunk parameter, in model order.
        untouched: names of the parameters left alone.
        num_batches: batches in the gradient pass.
        granularity: how the entries of weights were grouped.
    """

    layers: tuple[LayerReport, ...]
    untouched: tuple[str, ...]
    num_batches: int
    granularity: str = "authors"

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    def __contains__(self, name: object) -> bool:
        return any(layer.name == name for layer in self.layers)

    def __getitem__(self, name: str) -> LayerReport:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    @property
    def mean_scale(self) -> float:
        """Mean factor over all shrunk entries."""
        return self._mean([layer.mean_scale for layer in self.layers])

    @property
    def share_clamped(self) -> float:
        """Entries in groups whose cosine is at most `lam`, over all shrunk entries."""
        return self._mean([layer.share_clamped for layer in self.layers])

    def _mean(self, values: list[float]) -> float:
        """Mean over entries of a number per layer; layers without entries do not count."""
        pairs = [(v, layer.num_entries) for v, layer in zip(values, self.layers, strict=True) if layer.num_entries]
        return sum(value * entries for value, entries in pairs) / sum(entries for _, entries in pairs)
