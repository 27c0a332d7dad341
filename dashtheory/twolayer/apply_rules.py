"""What happens to a stack between two stages: every replica by its own rule, all seeds at once.

A rule on a stack does to each network what the rule of `dashtheory.rules` does to its module, with the same
random streams, and keeps the state of the stack (`dashtheory.twolayer.state`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory.rules import (
    Cold,
    ColdShrunk,
    InPlace,
    NormMatched,
    Permuted,
    Perturb,
    Reset,
    ResetFull,
    Scattered,
    ShrinkAll,
    ShrinkFresh,
    ShrinkInit,
    ShrinkPerturb,
    Warm,
    WarmRenewed,
)
from dashtheory.seeds import torch_stream
from dashtheory.twolayer._dash import Guided, StackReport, descents, guided_factors, norm_factors
from dashtheory.twolayer.rules import STACK_RULES, DashChannels, Ideal, Oracle, Soft, TwoLayerRule, refuse_absent
from dashtheory.twolayer.stack import HIDDEN, OUTPUT, MLPStack, Params, Samples, Stack
from dashtheory.twolayer.state import StackState

_DRAWING = (Permuted, Scattered)


@dataclass(frozen=True, kw_only=True, eq=False)
class StackContext:
    """What the rules of a stack may use before a stage.

    Attributes:
        stack: the kind of network.
        samples: of all chunks so far, the new one included, (S, n, ...), chunks of equal size in order.
        chunk_size: samples per chunk.
        seeds: root seeds, S of them.
        stage: the stage that begins.
    """

    stack: Stack
    samples: Samples
    chunk_size: int
    seeds: tuple[int, ...]
    stage: int

    def fresh(self, like: Params) -> Params:
        """Initial parameters of the stage's own streams, (S, ...), in the kind of numbers of `like`."""
        return fresh_params(self.stack, self.seeds, self.stage, like[HIDDEN])

    def generators(self) -> list[torch.Generator]:
        """The stage's perturbation streams, one per seed; anew at each call, so that rules share their draws."""
        return [torch_stream(seed, "perturbation", self.stage) for seed in self.seeds]


def fresh_params(stack: Stack, seeds: Sequence[int], stage: int, like: Tensor) -> Params:
    """Initial parameters of the streams "init" of a stage, (S, ...), kind of number and device as `like`."""
    drawn = [stack.draw(torch_stream(seed, "init", stage)) for seed in seeds]
    return {name: torch.stack([one[name] for one in drawn]).to(like) for name in drawn[0]}


def apply_rules(
    rules: Sequence[TwoLayerRule], stack_state: StackState, context: StackContext
) -> tuple[StackState, dict[int, StackReport]]:
    """Apply to every replica its rule.

    Args:
        rules: one per replica.
        stack_state: unchanged.
        context: what rules may use.

    Returns:
        the state after it, and the reports of the rules that shrink by alignment, by replica.

    Raises:
        ValueError: if a rule does not fit the network.
    """
    after = stack_state.copy()
    guided = {replica_index: rule for replica_index, rule in enumerate(rules) if isinstance(rule, Guided)}
    chosen = {name: value[:, list(guided)] for name, value in stack_state.params.items()}
    found = descents(list(guided.values()), chosen, context.stack, context.samples, context.chunk_size)
    reports = {}
    for (replica_index, rule), descent in zip(guided.items(), found, strict=True):
        weights = {name: value[:, replica_index] for name, value in stack_state.params.items()}
        factors, reports[replica_index] = guided_factors(
            rule, weights, descent, context.stack, context.generators() if isinstance(rule, _DRAWING) else []
        )
        _scale_(after, replica_index, factors)
    for replica_index, any_rule in enumerate(rules):
        if isinstance(any_rule, NormMatched):
            others = [any_rule.rule() if index == replica_index else Warm() for index in range(len(rules))]
            changed, found_reports = apply_rules(others, stack_state, context)
            factors = norm_factors(stack_state.params, changed.params, replica_index, whole=any_rule.whole)
            _scale_(after, replica_index, factors)
            if replica_index in found_reports:
                reports[replica_index] = found_reports[replica_index].with_factors(factors, stack_state.params)
        elif replica_index not in reports:
            _apply_(any_rule, after, replica_index, context)
    renewed = [replica_index for replica_index, any_rule in enumerate(rules) if _renews(any_rule)]
    return (after.renewed(renewed) if renewed else after), reports


def check_rule(rule: TwoLayerRule, stack: Stack) -> None:
    """Refuse a rule that cannot be applied to a stack of this network."""
    if isinstance(rule, NormMatched):
        check_rule(rule.rule(), stack)
    if type(rule) not in STACK_RULES.values():
        refuse_absent(getattr(rule, "name", ""))
        known = ", ".join(STACK_RULES)
        fail("rules", f"must be among {known}", type(rule).__name__, "Use run_stages with the readable module.")
    if isinstance(rule, Reset) and (not isinstance(stack, MLPStack) or rule.layer not in ("", "output")):
        fix = "The patch network's second layer is fixed."
        fail("rules", "may reset the output of an MLP alone", rule.name, fix)
    if isinstance(rule, DashChannels) and rule.num_channels > stack.data.noise_dim:
        most = f"must be at most noise_dim = {stack.data.noise_dim}"
        fail("num_channels", most, str(rule.num_channels), "A channel has noise.")


def _renews(rule: TwoLayerRule) -> bool:
    """Whether the optimizer starts anew."""
    if isinstance(rule, InPlace):
        return rule.optimizer == "renewed"
    return isinstance(rule, Cold | ColdShrunk | WarmRenewed)


def _apply_(rule: TwoLayerRule, stack_state: StackState, replica_index: int, context: StackContext) -> None:
    """A rule that needs no gradient, in place."""
    if isinstance(rule, Cold | ColdShrunk):
        _restart_(stack_state, replica_index, context, rule.factor if isinstance(rule, ColdShrunk) else 1.0)
    elif isinstance(rule, ShrinkPerturb | ShrinkAll | Perturb):  # a stack has nothing that one leaves alone
        shrink = 1.0 if isinstance(rule, Perturb) else rule.shrink
        _scale_(stack_state, replica_index, _same(stack_state.params, shrink))
        _add_(stack_state, replica_index, _noise(stack_state.params, replica_index, rule.perturb, context))
    elif isinstance(rule, ShrinkFresh):
        _scale_(stack_state, replica_index, _same(stack_state.params, rule.shrink))
        fresh = context.fresh(stack_state.params)
        _add_(stack_state, replica_index, {name: rule.perturb * value for name, value in fresh.items()})
    elif isinstance(rule, ShrinkInit):  # all layers are linear
        c = rule.c if isinstance(rule.linear, str) else rule.linear
        first = _origins(rule.to, stack_state, replica_index, context)
        _scale_(stack_state, replica_index, _same(stack_state.params, 1 - c))
        _add_(stack_state, replica_index, {name: c * value for name, value in first.items()})
    elif isinstance(rule, ResetFull) and rule.to == "own":
        _begin_at_(stack_state, replica_index, _origins(rule.to, stack_state, replica_index, context))
    elif isinstance(rule, ResetFull):
        _restart_(stack_state, replica_index, context, 1.0)
    elif isinstance(rule, Reset):
        fresh = context.fresh(stack_state.params)
        stack_state.params[OUTPUT][:, replica_index] = stack_state.origin[OUTPUT][:, replica_index] = fresh[OUTPUT]
    elif isinstance(rule, Ideal | Soft):
        _forget_noise_(
            stack_state, replica_index, rule.lam if isinstance(rule, Soft) else 0.0, context.stack.data.num_axes
        )
    elif isinstance(rule, Oracle):
        shares = _feature_shares(stack_state.learned()[:, replica_index], context.stack.data.num_axes)
        best = shares.argsort(dim=1, descending=True)[:, : shares.shape[1] // 2]
        factors = torch.full_like(shares, rule.rest).scatter_(1, best, rule.top)
        _scale_(stack_state, replica_index, {HIDDEN: factors.unsqueeze(-1)})


def _origins(to: str, stack_state: StackState, replica_index: int, context: StackContext) -> Params:
    """Initial weights (S, ...): "own" are the first ones, "fresh" new ones."""
    if to == "fresh":
        return context.fresh(stack_state.params)
    return {name: value[:, replica_index] for name, value in stack_state.initial.items()}


def _restart_(stack_state: StackState, replica_index: int, context: StackContext, factor: float) -> None:
    """Fresh weights times a factor; biases start at 0."""
    fresh = context.fresh(stack_state.params)
    _begin_at_(stack_state, replica_index, {name: factor * value for name, value in fresh.items()})


def _begin_at_(stack_state: StackState, replica_index: int, values: Params) -> None:
    """Weights as at an initialization, with nothing learned."""
    for name, value in values.items():
        for params in (stack_state.params, stack_state.initial, stack_state.origin):
            params[name][:, replica_index] = value.clone()
    if stack_state.rho is not None:
        stack_state.rho[:, replica_index] = 0


def _scale_(stack_state: StackState, replica_index: int, factors: Mapping[str, Tensor]) -> None:
    """Multiply parameters by factors that broadcast to (S, ...)."""
    for name, factor in factors.items():
        for params in (stack_state.params, stack_state.origin):
            params[name][:, replica_index] *= factor.to(params[name])
    rows = factors[HIDDEN]
    if stack_state.rho is not None:
        if rows.ndim == 3:  # different factors inside a row leave the span of the samples
            low, high = rows.amin(dim=2, keepdim=True), rows.amax(dim=2, keepdim=True)
            rows = torch.where(low == high, low, torch.nan)
        stack_state.rho[:, replica_index] *= rows.to(stack_state.rho)


def _same(params: Params, factor: float) -> Params:
    """One factor for all parameters."""
    return dict.fromkeys(params, torch.tensor(factor, dtype=torch.float64))


def _add_(stack_state: StackState, replica_index: int, values: Params) -> None:
    """Add (S, ...) to the parameters, as part of their origin."""
    for name, value in values.items():
        stack_state.params[name][:, replica_index] += value
        stack_state.origin[name][:, replica_index] += value


def _noise(params: Params, replica_index: int, scale: float, context: StackContext) -> Params:
    """Gaussian noise as `dashtheory.rules.shrink_and_perturb_` draws it, in float32 and in model order."""
    drawn = [
        {name: torch.randn(value.shape[2:], generator=one, dtype=torch.float32) for name, value in params.items()}
        for one in context.generators()
    ]
    return {name: scale * torch.stack([one[name] for one in drawn]).to(params[name]) for name in params}


def _forget_noise_(stack_state: StackState, replica_index: int, lam: float, num_axes: int) -> None:
    start = stack_state.initial[HIDDEN][:, replica_index, :, num_axes:]
    for params in (stack_state.params, stack_state.origin):
        noise = params[HIDDEN][:, replica_index, :, num_axes:]
        params[HIDDEN][:, replica_index, :, num_axes:] = start + lam * (noise - start)
    if stack_state.rho is not None:
        stack_state.rho[:, replica_index] *= lam
        if lam == 0:
            stack_state.rho[:, replica_index] = 0  # NaN, too


def _feature_shares(learned: Tensor, num_axes: int) -> Tensor:
    """|features|^2 / |all|^2 of each neuron of (S, rows, axes); 0 for a neuron that has learned nothing."""
    squares = learned.double().square()
    whole = squares.sum(dim=-1)
    return squares[..., :num_axes].sum(dim=-1) / torch.where(whole == 0, torch.ones_like(whole), whole)
