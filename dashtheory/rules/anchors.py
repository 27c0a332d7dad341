"""Optimizers and averages that keep a copy of the weights, which would undo a rule.

    float32 masters of 16-bit weights      written back over the weights at the next step
    Lookahead                              pulls the weights back to its slow copy
    schedule-free                          goes on from z, and evaluates an average of it
    TRAC                                   goes on from its base's weights and its reference
    EMA, SWA                               average with the weights of before

`anchored` sets such copies to the weights of the moment after a rule. `check_after_step` says, after the first
step of the optimizer, how much of a shrink is left.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory._door import door
from dashtheory.rules.groups import by_group, targets
from dashtheory.rules.report import ShrinkReport
from dashtheory.rules.wrappers import unwrapped

COPIES = frozenset(
    (
        *("master", "master_param", "master_params", "master_weight", "master_weights", "fp32_param", "fp32_p"),
        *("slow_buffer", "lookahead_slow_buff", "slow_param", "slow_params", "slow_weights", "cached_params"),
        *("ema", "param_ema", "params_ema", "shadow"),
        *("reference", "iterate"),
    )
)
"""Keys of optimizer state that are copies of a parameter, in torch-optimizer, timm, apex and others."""
_MUST_BE_LEFT = 0.7  # Lookahead goes half of the way back
_NEAR = 0.2  # an entry of state this near to a parameter, in shares of its norm, looks like a copy


class RuleUndone(UserWarning):
    """Something keeps a copy of the weights of before a rule, and may undo it."""


@dataclass(frozen=True, eq=False)
class _Copy:
    parameter: Tensor
    value: Tensor
    before: Tensor


@contextmanager
def anchored(*keepers: object, model: nn.Module | None = None) -> Iterator[None]:
    """Let what keeps copies of the weights start anew from the weights that a rule inside leaves.

        with anchored(optimizer, ema):
            report = dash_(model, chunks, loss_fn)

    A copy of a parameter that changes inside is set to its new value: float32 masters, the slow weights of
    Lookahead, z of schedule-free optimizers, the weights of an average. An `AveragedModel` counts its averages
    from 0 again. Momentum and second moments stay.

    Args:
        *keepers: optimizers, and averages: a module, an object with one as `module` or `ema_model`, or
            {name: tensor} (the last two need `model`).
        model: whose weights are averaged.

    Raises:
        ValueError: if something is none of these, or an average is not of the model.

    Warns:
        RuleUndone: of state that looks like a copy of the weights and is not known.
    """
    copies: list[_Copy] = []
    for keeper in keepers:
        if isinstance(keeper, torch.optim.Optimizer) or hasattr(keeper, "param_groups"):
            copies += _of_optimizer(keeper, model)
        else:
            copies += _of_average(keeper, model)
    yield
    with torch.no_grad():
        for one in copies:
            if not torch.equal(one.before, one.parameter):
                one.value.copy_(one.parameter)
    for keeper in keepers:
        counter = getattr(keeper, "n_averaged", None)
        if isinstance(counter, Tensor):
            counter.zero_()


def copy_keys(optimizer: Any) -> frozenset[str]:
    """Keys of an optimizer's state that are copies of the weights, not averages of gradients."""
    free = any("ScheduleFree" in type(one).__name__ for one in optimizers_in(optimizer))
    return COPIES | {"z"} if free else COPIES


def optimizers_in(optimizer: Any) -> list[Any]:
    """An optimizer, the one that it wraps, and so on."""
    layers = [optimizer]
    while inner := getattr(layers[-1], "optimizer", None) or getattr(layers[-1], "base_optimizer", None):
        layers.append(inner)
    return layers


def _of_optimizer(optimizer: Any, model: nn.Module | None) -> list[_Copy]:
    """Copies in the state of an optimizer, and in that of one inside it."""
    found, strange = [], []
    layers, copies = optimizers_in(optimizer), copy_keys(optimizer)
    for parameter, key, value in _state(layers):
        if key in copies:
            found.append(_Copy(parameter, value, parameter.detach().clone()))
        elif _is_near(value, parameter):
            strange.append(key)
    name = type(optimizer).__name__
    if strange:
        _warn(f"the state {', '.join(sorted(set(strange)))!r} of {name} looks like a copy of the weights")
    if model is not None:
        ours = {id(value) for value in model.parameters()}
        stepped = [value for group in optimizer.param_groups for value in group["params"]]
        if stepped and not any(id(value) in ours for value in stepped):
            _warn(f"{name} steps tensors that are not the parameters of the model")
    return found


def _state(optimizers: list[Any]) -> Iterator[tuple[Tensor, str, Tensor]]:
    """(parameter, key, value) of all state of the shape of its parameter, each tensor once."""
    seen: set[int] = set()
    for optimizer in optimizers:
        for parameter, state in list(optimizer.state.items()):
            if not isinstance(parameter, Tensor) or not isinstance(state, Mapping):
                continue
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and id(value) not in seen:
                    seen.add(id(value))
                    yield parameter, str(key), value


def _is_near(value: Tensor, parameter: Tensor) -> bool:
    weight = parameter.detach().float()
    length = float(weight.norm())
    return length > 0 and value.is_floating_point() and float((value.float() - weight).norm()) <= _NEAR * length


def _of_average(average: object, model: nn.Module | None) -> list[_Copy]:
    inner: Any = average
    for name in ("module", "ema_model", "ema"):
        if isinstance(getattr(inner, name, None), nn.Module):
            inner = getattr(inner, name)
            break
    if isinstance(inner, nn.Module):
        averaged: Mapping[str, Tensor] = dict(unwrapped(inner).named_parameters())
    elif isinstance(getattr(inner, "shadow", inner), Mapping):
        averaged = getattr(inner, "shadow", inner)
    else:
        fail("keepers", "must be optimizers or averages", type(average).__name__, "Give the averaged module.")
    if model is None:
        fail("model", "must be given with an average", "none", "Say anchored(average, model=model).")
    forms = (averaged, {name.removeprefix(_of_wrapper(name)): value for name, value in averaged.items()})
    return max((_pairs(unwrapped(model), form) for form in forms), key=len) or _refuse_average(average)


def _pairs(model: nn.Module, averaged: Mapping[str, Tensor]) -> list[_Copy]:
    """The parameters of a model that have an average under their name."""
    return [
        _Copy(value, averaged[name], value.detach().clone())
        for name, value in model.named_parameters()
        if name in averaged and averaged[name].shape == value.shape
    ]


def _of_wrapper(name: str) -> str:
    """What wrappers (torch.compile, data-parallel ones) put before the name of a parameter."""
    found = re.match(r"((module|_orig_mod)\.)*", name)
    return found[0] if found else ""


def _refuse_average(average: object) -> NoReturn:
    rule = "must hold averages of parameters of the model, by their names"
    fail("keepers", rule, f"none in {type(average).__name__}", "Give the model that is averaged as model=model.")


def _warn(what: str) -> None:
    warnings.warn(
        f"{what}: the rule may be undone. Renew the optimizer, or ask check_after_step(report, model).",
        RuleUndone,
        stacklevel=5,
    )


@dataclass(frozen=True)
class ShrinkLeft:
    """How much of a shrink is left, as a share of what the norms had lost.

    Attributes:
        share: over all shrunk weights: 1, all; 0, undone. NaN if nothing was shrunk.
        layers: by name of the parameter.
    """

    share: float
    layers: Mapping[str, float]


@door()
def check_after_step(report: ShrinkReport, model: nn.Module) -> ShrinkLeft:
    """How much of a shrink is left, asked after the first step of the optimizer that follows it.

    (norm before the rule - norm now) / (norm before - norm right after)

    Training moves it later on; one step moves it little, unless something writes the weights of before back.
    (Lookahead does so at its next synchronization: ask after that.)

    Args:
        report: of `dash_`.
        model: now.

    Raises:
        ValueError: if the report is about other parameters.

    Warns:
        RuleUndone: if less than 0.7 is left.
    """
    shrinkable = {target.name: target for target in targets(unwrapped(model), report.granularity)}
    squares = torch.zeros(3, dtype=torch.float64)
    layers = {}
    for layer in report:
        target = shrinkable.get(layer.name)
        if target is None or target.group_shape != layer.scales.shape or layer.group_norms is None:
            fail("report", "must be about the parameters of this model", layer.name, "Give the report of dash_.")
        rows = by_group(target.parameter.detach(), target.kind, target.groups)
        now = float(rows.abs().double().norm())
        norms = torch.tensor([layer.norm_before, layer.norm_after, now], dtype=torch.float64)
        squares += norms.square()
        layers[layer.name] = _share(norms)
    share = _share(squares.sqrt())
    if share < _MUST_BE_LEFT:
        warnings.warn(
            f"{share:.0%} of the shrink is left: the optimizer, or an average, keeps a copy of the weights. "
            "Shrink inside `with anchored(optimizer):`, or renew the optimizer after it.",
            RuleUndone,
            stacklevel=3,
        )
    return ShrinkLeft(share=share, layers=layers)


def _share(norms: Tensor) -> float:
    before, after, now = norms.tolist()
    return (before - now) / (before - after) if before > after else float("nan")
