"""Rules guided by DASH's gradient, on stacks: cosines, factors and reports of one replica of every seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dashtheory.rules import Dash, Permuted, Scattered, Threshold, Uniform, group_cosines
from dashtheory.rules.controls import moved_factors, scattered_factors
from dashtheory.twolayer.rules import DashChannels
from dashtheory.twolayer.stack import HIDDEN, Params, Samples, Stack

Guided = Dash | Uniform | Permuted | Scattered | Threshold | DashChannels
"""A rule whose factors come from cosines of weights and DASH's G."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StackReport:
    """What a shrinking rule did to one replica of every seed.

    Attributes:
        cosines: by parameter, (S,) + one number per group: (S, rows) for rows, (S,) for a bias, (S, rows,
            channels) for channels.
        scales: by parameter, (S,) + one number per group: (S, rows) for rows, (S,) for a bias, (S, rows, channels)
            for channels.
        mean_scale: float64 (S,), over entries, as `dashtheory.rules.ShrinkReport`.
        share_clamped: float64 (S,), over entries, as `dashtheory.rules.ShrinkReport`.
    """

    cosines: Params
    scales: Params
    mean_scale: Tensor
    share_clamped: Tensor

    def with_factors(self, factors: Params, params: Params) -> StackReport:
        """The report of a rule that gives each tensor one factor instead.

        Args:
            factors: by parameter, (S, 1, ...).
            params: (S, R, ...).
        """
        scales = {name: _filled(value, factors[name].flatten()) for name, value in self.scales.items()}
        sizes = {name: params[name][0, 0].numel() for name in factors}
        parts = [size * factors[name].double().flatten() for name, size in sizes.items()]
        return replace(self, scales=scales, mean_scale=torch.stack(parts).sum(0) / sum(sizes.values()))


def descents(
    rules: Sequence[Guided], params: Params, stack: Stack, samples: Samples, chunk_size: int
) -> list[Params]:
    """DASH's G for each rule's replica: minus the gradient, chunk j weighing alpha (1 - alpha)^(J - j).

    Args:
        rules: R of them.
        params: (S, R, ...).
        stack: the kind of network.
        samples: of all chunks so far, (S, n, ...), oldest first.
        chunk_size: samples per chunk.

    Returns:
        R sets of tensors (S, ...).
    """
    if not rules:
        return []
    number = samples.labels.shape[1]
    age = (number // chunk_size - 1) - torch.arange(number, device=samples.x.device) // chunk_size
    alphas = torch.tensor([_alpha(rule) for rule in rules], dtype=torch.float64, device=age.device)[:, None]
    weights = alphas * (1 - alphas) ** age / chunk_size
    gradient = stack.gradient(params, samples, weights.to(samples.x)[None])
    return [{name: -gradient[name][:, replica_index] for name in params} for replica_index in range(len(rules))]


def _alpha(rule: Guided) -> float:
    return 1.0 if isinstance(rule, Dash) and rule.newest_only else rule.alpha


def guided_factors(
    rule: Guided, weights: Params, descent: Params, stack: Stack, generators: Sequence[torch.Generator]
) -> tuple[Params, StackReport]:
    """Factors that broadcast to the parameters of one replica, and the report.

    Args:
        rule: a rule that shrinks by alignment.
        weights: (S, ...).
        descent: (S, ...).
        stack: the kind of network.
        generators: one per seed, for `Permuted` and `Scattered` alone.
    """
    groups = _Groups.of(rule, stack)
    cosines = {name: groups.cosines(name, weights[name], descent[name]) for name in weights}
    edge = rule.threshold if isinstance(rule, Threshold) else rule.lam
    if isinstance(rule, Threshold):
        scales = {
            name: torch.ones_like(value).masked_fill(value > edge, rule.factor) for name, value in cosines.items()
        }
    else:
        scales = {name: value.clamp(edge, 1) for name, value in cosines.items()}
    if isinstance(rule, Uniform):
        overall = groups.over_entries(weights, scales)
        scales = {
            name: _filled(value, _mean(value) if rule.per_layer else overall) for name, value in scales.items()
        }
    elif isinstance(rule, Permuted | Scattered):
        scales = _elsewhere(rule, scales, generators)
    report = StackReport(
        cosines=cosines,
        scales=scales,
        mean_scale=groups.over_entries(weights, scales),
        share_clamped=groups.over_entries(weights, {name: value <= edge for name, value in cosines.items()}),
    )
    return {name: groups.spread(name, scales[name], weights[name]) for name in weights}, report


@dataclass(frozen=True, eq=False)
class _Groups:
    """Which entries of a parameter (S, ...) share a cosine: rows, or the whole tensor, or channels of rows.

    Attributes:
        tensor: whole tensors instead of rows.
        channels: int64 (axes,) channel of each axis of the first layer.
    """

    tensor: bool = False
    channels: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    @classmethod
    def of(cls, rule: Guided, stack: Stack) -> _Groups:
        """The rule's."""
        if not isinstance(rule, DashChannels):
            return cls(tensor=isinstance(rule, Dash) and rule.granularity == "tensor")
        data = stack.data
        noise = torch.arange(data.noise_dim) * rule.num_channels // data.noise_dim
        features = torch.arange(data.num_axes) % data.num_features % rule.signal_channels
        return cls(channels=torch.cat([features, noise]))

    def cosines(self, name: str, weight: Tensor, descent: Tensor) -> Tensor:
        """Of each group, (S, ...)."""
        if name == HIDDEN and len(self.channels):
            members = [(self.channels == channel).nonzero().squeeze(1) for channel in self.channels.unique()]
            return torch.stack([_row_cosines(weight[..., one], descent[..., one]) for one in members], dim=-1)
        if self.tensor:
            return _row_cosines(weight.flatten(1), descent.flatten(1))
        return _row_cosines(weight, descent)  # a bias (S, H) is one row of each seed

    def spread(self, name: str, values: Tensor, weight: Tensor) -> Tensor:
        """One number per group, so that it multiplies the parameter (S, ...)."""
        if name == HIDDEN and len(self.channels):
            return values[..., self.channels.to(values.device)]
        return values.reshape(*values.shape, *[1] * (weight.ndim - values.ndim))

    def over_entries(self, weights: Params, values: Params) -> Tensor:
        """Mean over all entries of numbers per group, float64 (S,)."""
        parts = [
            self.spread(name, values[name].double(), weight).expand_as(weight).flatten(1)
            for name, weight in weights.items()
        ]
        return torch.cat(parts, dim=1).mean(dim=1)


def norm_factors(before: Params, after: Params, replica_index: int, *, whole: bool) -> Params:
    """What gives each tensor of a replica the norm that it has after a rule, (S, 1, ...); 1 where nothing changed.

    Args:
        before: (S, R, ...).
        after: the rule.
        replica_index: whose.
        whole: one factor for all tensors that the rule changed.
    """
    norms = []
    for params in (before, after):
        rows = [value[:, replica_index].double().flatten(1) for value in params.values()]
        norms.append(torch.stack([row.norm(dim=1) for row in rows]))
    differ = [(before[name] != after[name])[:, replica_index].flatten(1).any(dim=1) for name in before]
    changed = torch.stack(differ) & (norms[0] > 0)
    was, now = (torch.where(changed, one, 0.0) for one in norms)
    if whole:
        was, now = (one.norm(dim=0, keepdim=True).expand_as(one) for one in (was, now))
    factors = torch.where(changed, now / torch.where(changed, was, 1.0), 1.0)
    return {
        name: factor.view(-1, *[1] * (before[name].ndim - 2)) for name, factor in zip(before, factors, strict=True)
    }


def _row_cosines(weight: Tensor, descent: Tensor) -> Tensor:
    """Cosine along the last axis, as DASH takes it."""
    flat = group_cosines(weight.flatten(0, -2), descent.flatten(0, -2), "row")
    return flat.view(weight.shape[:-1])


def _mean(values: Tensor) -> Tensor:
    """Mean of (S, ...) over all but the first axis, float64."""
    return values.double().reshape(len(values), -1).mean(dim=1)


def _filled(values: Tensor, number: Tensor) -> Tensor:
    """`values` (S, ...) with the number of each seed in every place."""
    return number.to(values).view(-1, *[1] * (values.ndim - 1)).expand_as(values).clone()


def _elsewhere(rule: Permuted | Scattered, scales: Params, generators: Sequence[torch.Generator]) -> Params:
    """Factors of each parameter in other places, seed by seed."""
    found = {name: value.clone() for name, value in scales.items()}
    for seed, generator in enumerate(generators):
        for value in found.values():
            here = value[seed]
            value[seed] = (
                moved_factors(here, rule.move, generator)
                if isinstance(rule, Permuted)
                else scattered_factors(here, generator)
            )
    return found
