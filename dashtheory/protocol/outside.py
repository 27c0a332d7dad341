"""What a learner remembers that no checkpoint holds, found by comparing a restored copy with the original."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashtheory.rules import Learner

_OPTIMIZERS_OWN = {"state", "param_groups", "defaults"}  # of torch's class; the first two are in `state_dict`


def outside_state(mine: Learner, restored: Learner) -> list[str]:
    """Names of what differs between a learner and one that was restored from its state dicts.

    Looked at: buffers that are not persistent, and attributes of modules and optimizer (numbers, tensors, lists,
    generators, whatever can be pickled), but those whose names begin with an underscore.

    Args:
        mine: the original.
        restored: a copy of its state dicts in a learner that was made anew.
    """
    known = dict(_remembered(restored))
    return sorted(name for name, value in _remembered(mine) if name not in known or not _same(value, known[name]))


def _remembered(learner: Learner) -> Iterator[tuple[str, object]]:
    for path, module in learner.model.named_modules():
        start = f"{path}." if path else ""
        for name in module._non_persistent_buffers_set:
            yield start + name, module._buffers[name]
        yield from ((start + name, value) for name, value in _attributes(module))
    yield from ((f"optimizer.{name}", value) for name, value in _attributes(learner.optimizer))


def _attributes(thing: nn.Module | torch.optim.Optimizer) -> Iterator[tuple[str, object]]:
    own = _OPTIMIZERS_OWN if isinstance(thing, torch.optim.Optimizer) else {"training"}
    yield from ((name, value) for name, value in vars(thing).items() if name not in own and name[0] != "_")


def _same(one: Any, other: Any) -> bool:
    """Whether two values hold the same; what cannot be compared counts as the same."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same_kind = one.dtype == other.dtype and one.shape == other.shape
        return same_kind and torch.equal(one.detach().cpu(), other.detach().cpu())
    if isinstance(one, torch.Generator) and isinstance(other, torch.Generator):
        return torch.equal(one.get_state(), other.get_state())
    if isinstance(one, np.random.Generator) and isinstance(other, np.random.Generator):
        return bool(pickle.dumps(one.bit_generator.state) == pickle.dumps(other.bit_generator.state))
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, nn.Module | torch.optim.Optimizer) or callable(one):
        return True  # modules are looked at by themselves; functions hold no state of a run
    try:
        return pickle.dumps(one) == pickle.dumps(other)
    except Exception:  # whatever an object says that cannot be pickled
        return True
