"""What a learner remembers that no state dict holds: compared with a restored copy, or with itself before.

A checkpoint after a stage must hold all that the next one goes on with. A stage that begins again makes anew what
is held elsewhere; one that goes on after some of its epochs does not, so that private attributes, the rule, the
loss and hooks count there, too. What a function keeps in a closure or a global cannot be seen.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashtheory.rules import Learner

_MODULES_OWN = frozenset(vars(nn.Module()))
_OPTIMIZERS_OWN = frozenset(
    {"state", "param_groups", "defaults", "_step_count", "_opt_called", "_need_device_dtype_check_for_fused"}
)
_PLAIN = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def outside_state(mine: Learner, restored: Learner) -> list[str]:
    """Names of what differs between a learner and one that was restored from its state dicts.

    Looked at: buffers that are not persistent, and attributes of modules and optimizer (numbers, tensors, lists,
    generators, whatever can be pickled), but those whose names begin with an underscore.

    Args:
        mine: the original.
        restored: a copy of its state dicts in a learner that was made anew.
    """
    here, there = remembered_by(mine), remembered_by(restored)
    return [
        name for name in changed_in(there, here) if name in here and not name.rpartition(".")[2].startswith("_")
    ]


def remembered_by(learner: Learner, others: Mapping[str, object] | None = None) -> dict[str, object]:
    """What a learner and other objects remember beside state dicts, by name, as it is now.

    Args:
        learner: in training.
        others: what takes part in it, by name.
    """
    model, optimizer = learner.model, learner.optimizer
    held = [*model.state_dict(keep_vars=True).values(), *model.modules(), optimizer, optimizer.state]
    copier = _Copier({id(one) for one in held})
    named = [*_attributes(learner), *(others or {}).items()]
    return {name: copier(value) for name, value in named}


def changed_in(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Names of what differs.

    Args:
        before: of `remembered_by`.
        now: likewise.
    """
    known = before.keys() & now.keys()
    return sorted((before.keys() ^ now.keys()) | {name for name in known if not _same(before[name], now[name])})


def hooked(learner: Learner) -> list[str]:
    """Names of modules and parameters that have hooks, which may hold anything."""
    modules = [name or "model" for name, module in learner.model.named_modules() if _has(module, _HOOKS)]
    tensors = [name for name, one in learner.model.named_parameters() if _has(one, _TENSOR_HOOKS)]
    own = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    return [f"hooks of {name}" for name in (*modules, *tensors, *["optimizer"] * _has(learner.optimizer, own))]


def _has(thing: object, names: Sequence[str]) -> bool:
    return any(getattr(thing, name, None) for name in names)


def _attributes(learner: Learner) -> Iterator[tuple[str, object]]:
    for path, module in learner.model.named_modules():
        start = f"{path}." if path else ""
        for name in module._non_persistent_buffers_set:
            yield start + name, module._buffers[name]
        own = _MODULES_OWN
        yield from ((start + name, value) for name, value in vars(module).items() if name not in own)
    ours = vars(learner.optimizer).items()
    yield from ((f"optimizer.{name}", value) for name, value in ours if name not in _OPTIMIZERS_OWN)


class _Copier:
    """Copies values so that a later change of the original leaves the copy alone.

    Args:
        held: ids of what state dicts hold.
    """

    def __init__(self, held: set[int]) -> None:
        self.held = held

    def __call__(self, value: Any) -> object:
        """A copy that can be compared; None of what is held elsewhere, or holds nothing."""
        if id(value) in self.held or isinstance(value, _PLAIN):
            return None
        for kind, copy in self._kinds():
            if isinstance(value, kind):
                return copy(value)
        try:
            return pickle.dumps(value)
        except Exception:  # whatever an object says that cannot be pickled
            return self.inside(value)

    def _kinds(self) -> Sequence[tuple[Any, Callable[[Any], object]]]:
        return (
            (torch.optim.Optimizer, self._optimizer),
            (nn.Module, lambda one: [self(one.state_dict()), self.inside(one)]),
            (Tensor, lambda one: one.detach().clone()),
            (torch.Generator, lambda one: one.get_state()),
            (np.random.Generator, lambda one: pickle.dumps(one.bit_generator.state)),
            (list | tuple | set | frozenset, lambda one: [self(each) for each in one]),
            (types.MethodType, lambda one: self(one.__self__)),
            (partial, lambda one: [self(one.func), self(one.args), self(one.keywords)]),
            (dict, lambda one: {name: self(each) for name, each in one.items()}),
        )

    def _optimizer(self, value: torch.optim.Optimizer) -> object:
        """Of one inside of another, which may have the same state."""
        return None if id(value.state) in self.held else self(value.state_dict())

    def inside(self, value: object) -> object:
        """The attributes of an object; none of one that has no dictionary of them."""
        own = _MODULES_OWN if isinstance(value, nn.Module) else frozenset[str]()
        self.held = self.held | {id(value)}  # an object may hold itself
        return {name: self(one) for name, one in getattr(value, "__dict__", {}).items() if name not in own}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one.cpu(), other.cpu())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return type(one) is type(other) and bool(one == other)
