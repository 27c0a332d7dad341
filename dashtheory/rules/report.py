"""What a shrinking rule has done: factors and cosines, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from dashtheory.rules.groups import Kind
from dashtheory.rules.left import LeftAlone


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
        group_norms: norm of the weights of each group before it was multiplied, same shape.
    """

    name: str
    kind: Kind
    cosines: Tensor
    scales: Tensor
    num_entries: int
    lam: float
    group_norms: Tensor | None = None

    @property
    def share_clamped(self) -> float:
        """Groups whose cosine is at most `lam`, over all groups of the parameter."""
        return float((self.cosines <= self.lam).double().mean())

    @property
    def mean_scale(self) -> float:
        """Mean factor over groups (all groups of a parameter have the same size)."""
        return float(self.scales.double().mean())

    @property
    def norm_before(self) -> float:
        """Norm of the parameter before; NaN if it is not known."""
        return math.nan if self.group_norms is None else float(self.group_norms.double().norm())

    @property
    def norm_after(self) -> float:
        """Norm of the parameter after; NaN if it is not known."""
        if self.group_norms is None:
            return math.nan
        return float((self.group_norms.double() * self.scales.double()).norm())


@dataclass(frozen=True, kw_only=True, eq=False)
class ShrinkReport:
    """What DASH did to a model.

    Attributes:
        layers: one `LayerReport` per shrunk parameter, in model order.
        untouched: names of the parameters left alone.
        num_batches: batches in the gradient pass.
        granularity: how the entries of weights were grouped.
        left: the parameters left alone, and why.
        shared: names of parameters over the memory of a shrunk one, and its name: they shrank with it, once.
        scale_free: weights whose scale the loss does not see, output by output (used through an effective weight,
            or followed by a normalization): shrinking whole outputs of these changes the steps to come alone.
    """

    layers: tuple[LayerReport, ...]
    untouched: tuple[str, ...]
    num_batches: int
    granularity: str = "authors"
    left: tuple[LeftAlone, ...] = ()
    shared: Mapping[str, str] = field(default_factory=dict)
    scale_free: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    def __contains__(self, name: object) -> bool:
        name = self.shared.get(str(name), name)
        return any(layer.name == name for layer in self.layers)

    def __getitem__(self, name: str) -> LayerReport:
        for layer in self.layers:
            if layer.name == self.shared.get(name, name):
                return layer
        raise KeyError(name)

    @property
    def share_shrunk(self) -> float:
        """Entries of the shrunk parameters over those of all parameters, frozen ones too; NaN if not known."""
        inside = sum(layer.num_entries for layer in self.layers)
        whole = inside + sum(one.num_entries for one in self.left)
        return inside / whole if self.left or not self.untouched else math.nan

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
