"""DASH's alpha and lambda on a trained network: cosines, factors, norms, and accuracy right after the shrink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dashtheory.copies import copied
from dashtheory.explore.networks import ALPHAS, LAMS, NETWORKS, TrainedNetwork
from dashtheory.explore.state import Slider, control
from dashtheory.rules import ShrinkReport, apply_factors_
from dashtheory.rules.controls import Uniform

EDGES = np.linspace(-1, 1, 41)
"""Edges of the histogram of cosines."""

NUM_QUANTILES = 201
"""Points of the curve of sorted factors."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class AlphaLambdaState:
    """The controls: DASH's two numbers."""

    alpha: float = control(
        0.3, Slider(label="α: weight of each newer chunk", low=ALPHAS[0], high=ALPHAS[-1], step=0.02)
    )
    lam: float = control(0.3, Slider(label="λ: smallest factor", low=LAMS[0], high=LAMS[-1], step=0.01))


@dataclass(frozen=True, kw_only=True, eq=False)
class AlphaLambdaFound:
    """Before the shrink, after DASH, and after a uniform shrink by DASH's mean factor.

    Attributes:
        lam: the floor.
        shares: (40,), weights by the cosine of their group, in bins of `EDGES`, of all weights.
        quantiles: (NUM_QUANTILES,), factors sorted upwards, each group weighing by its weights.
        mean: factor, the uniform one.
        share_clamped: weights at the floor.
        names: of lengths.
        lengths: (3, names): before, DASH, uniform.
        groups: of examples.
        accuracy: (3, groups), likewise.
        stale: test accuracy after DASH with statistics of batch norm from before it; NaN without such.
    """

    lam: float
    shares: Floats
    quantiles: Floats
    mean: float
    share_clamped: float
    names: tuple[str, ...]
    lengths: Floats
    groups: tuple[str, ...]
    accuracy: Floats
    stale: float


class Shrinks:
    """What any alpha and lam do to one trained network.

    Args:
        network: trained.
    """

    def __init__(self, network: TrainedNetwork) -> None:
        self.network = network
        self._before = network.accuracies(network.model), network.lengths(network.model)

    def compute(self, state: AlphaLambdaState) -> AlphaLambdaFound:
        """Cosines, factors, norms and accuracies of a state; nothing is passed over the data to shrink."""
        network = self.network
        report = network.grid.report(state.alpha, state.lam)
        even = Uniform(alpha=state.alpha, lam=state.lam).remade(report, torch.Generator())
        models = [_shrunk(network.model, one) for one in (report, even)]
        accuracy, lengths = self._before
        cosines, weights = _by_group(report, lambda layer: layer.cosines)
        scales, _ = _by_group(report, lambda layer: layer.scales)
        shares, _ = np.histogram(cosines, EDGES, weights=weights)
        return AlphaLambdaFound(
            lam=state.lam,
            shares=shares / weights.sum(),
            quantiles=_quantiles(scales, weights),
            mean=report.mean_scale,
            share_clamped=report.share_clamped,
            names=tuple(lengths),
            lengths=np.array([list(one.values()) for one in (lengths, *map(network.lengths, models))]),
            groups=tuple(network.groups),
            accuracy=np.array([accuracy, *map(network.accuracies, models)]),
            stale=network.stale_accuracy(models[0]),
        )

    def describe(self, state: AlphaLambdaState, found: AlphaLambdaFound) -> str:
        """What the four panels show, in words."""
        rows = [
            f"{group.replace(chr(10), ' ')} {100 * before:.1f}%, {100 * dash:.1f}%, {100 * even:.1f}%"
            for group, before, dash, even in zip(found.groups, *found.accuracy, strict=True)
        ]
        norms = [
            f"{name} {before:.3g}, {dash:.3g}, {even:.3g}"
            for name, before, dash, even in zip(found.names, *found.lengths, strict=True)
        ]
        stale = (
            f" (with the statistics of batch norm from before the shrink, test accuracy after DASH reads "
            f"{100 * found.stale:.1f}%; elsewhere they are re-estimated)"
            if np.isfinite(found.stale)
            else ""
        )
        return (
            f"A {NETWORKS[self.network.name]}, trained warm through {self.network.num_stages} stages, when the "
            f"next chunk has arrived and DASH with α = {state.alpha:g}, λ = {state.lam:g} is applied. Four "
            "panels: the cosines of groups of weights with the smoothed descent; the factors, with "
            f"{100 * found.share_clamped:.0f}% of the weights at λ and a mean of {found.mean:.3f}; norms; and "
            "accuracy right after the shrink, before any training. Norms before, after DASH and after a uniform "
            f"shrink by the same mean: {'; '.join(norms)}. Accuracies likewise: {'; '.join(rows)}{stale}."
        )


def _shrunk(model: nn.Module, report: ShrinkReport) -> nn.Module:
    """A copy of the model after the factors of a report."""
    replica = copied(model)
    apply_factors_(replica, report)
    return replica


def _by_group(report: ShrinkReport, of: Callable[..., torch.Tensor]) -> tuple[Floats, Floats]:
    """A number per group over all layers, and the weights (entries) in each group."""
    values = [of(layer).double().flatten().numpy() for layer in report]
    entries = [np.full(len(one), layer.num_entries / len(one)) for one, layer in zip(values, report, strict=True)]
    return np.concatenate(values), np.concatenate(entries)


def _quantiles(values: Floats, weights: Floats) -> Floats:
    """Values by the share of weight at or below them, at NUM_QUANTILES even shares."""
    order = np.argsort(values, kind="stable")
    shares = np.cumsum(weights[order]) / weights.sum()
    places = np.searchsorted(shares, np.linspace(0, 1, NUM_QUANTILES) - 1e-12)
    return values[order][np.minimum(places, len(order) - 1)]
