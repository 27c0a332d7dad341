"""Dormant units: hidden units that hardly respond, or that never fire, on given inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashtheory._check import fail, real
from dashtheory.rules.unit_rule import share_of_layer
from dashtheory.rules.unit_watch import Watch
from dashtheory.rules.unit_weights import Units, units_in
from dashtheory.rules.units import unit_graph


@dataclass(frozen=True, kw_only=True, eq=False)
class DormantUnits:
    """How much the hidden units of each layer respond.

    Attributes:
        scores: (units,) by layer: mean absolute activation, divided by the mean of the layer.
        silent: bool (units,) by layer: never above 0.
        tau: score up to which a unit counts as dormant.
        left_out: why other layers were not looked at, by name.
    """

    scores: Mapping[str, Tensor]
    silent: Mapping[str, Tensor]
    tau: float
    left_out: Mapping[str, str]

    @property
    def share(self) -> float:
        """Dormant units over units of all layers that were looked at."""
        return _share({name: scores <= self.tau for name, scores in self.scores.items()})

    @property
    def silent_share(self) -> float:
        """Silent units over units of all layers that were looked at."""
        return _share(self.silent)

    @property
    def layers(self) -> dict[str, float]:
        """Dormant units over units, by layer."""
        return {name: _share({name: scores <= self.tau}) for name, scores in self.scores.items()}


def dormant_units(
    model: nn.Module,
    inputs: Tensor,
    *,
    tau: float = 0.025,
    units: Mapping[str, str | Sequence[str]] | Sequence[str] | str | None = None,
) -> DormantUnits:
    """Which hidden units are dormant on some inputs, in evaluation mode.

    score of unit i = mean |h_i| / (mean over the layer of mean |h| + 1e-9), over inputs and places

    Range: a share in [0, 1]. Source: Sokar et al. (ICML 2023, arXiv:2302.12902), whose ReDo resets at tau = 0.025.
    What would fool it: few inputs (a unit for a rare feature is silent on most); activations that never vanish,
    such as GELU's or tanh's; a layer in which all units are weak alike, whose scores are all 1; layers that are
    left out (`left_out`).

    Args:
        model: not changed; it needs layers of units (`dashtheory.rules.unit_graph`).
        inputs: one batch that it takes.
        tau: score up to which a unit is dormant, >= 0.
        units: as in `unit_graph`.

    Raises:
        ValueError: in one line if the network has no such layers, or there are no inputs.
    """
    real("tau", tau, low=0, fix="0.025 is usual.")
    if not len(inputs):
        fail("inputs", "must hold an example", "none", "Give a batch.")
    graph = unit_graph(model, units)
    watch = Watch(model, [units_in(model, layer) for layer in graph], _response)
    try:
        seen = watch.ask(inputs)
    finally:
        watch.close()
    return DormantUnits(
        scores={name: share_of_layer(size) for name, (size, _) in seen.items()},
        silent={name: silent for name, (_, silent) in seen.items()},
        tau=tau,
        left_out=graph.left_out,
    )


def _response(units: Units, values: Tensor) -> tuple[Tensor, Tensor]:
    return values.abs().mean(dim=(0, 2)), ~(values > 0).any(dim=2).any(dim=0)


def _share(marked: Mapping[str, Tensor]) -> float:
    return float(torch.cat(list(marked.values())).double().mean()) if marked else float("nan")
