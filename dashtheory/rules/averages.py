"""A running average of a network, kept as named tensors: weights and buffers, a step at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dashtheory.rules.rule import RuleState, remembered


def average_of(model: nn.Module) -> RuleState:
    """Copies of all weights and buffers: an average of one."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def follower(model: nn.Module, state: RuleState, momentum: float) -> Callable[[], None]:
    """What moves an average by one step: average <- momentum average + (1 - momentum) value, in place.

    Whole numbers (counters of batches) are copied.

    Args:
        model: that is averaged.
        state: of `average_of`, or of a checkpoint.
        momentum: in [0, 1]; 0 copies to the bit, 1 leaves the average where it is.

    Raises:
        ValueError: if the state is of another model.
    """
    values = dict(model.state_dict(keep_vars=True))
    pairs = [(remembered(state, name, value), value.detach()) for name, value in values.items()]
    real = [pair for pair in pairs if pair[0].is_floating_point()]
    whole = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def follow() -> None:
        if momentum < 1:
            torch._foreach_lerp_([average for average, _ in real], [value for _, value in real], 1 - momentum)
            for average, value in whole:
                average.copy_(value)

    return follow


@torch.no_grad()
def load_average_(model: nn.Module, state: RuleState) -> None:
    """Copy an average into a model, frozen parameters but for themselves; no tensor is shared afterwards."""
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, nn.Parameter) or value.requires_grad:
            value.detach().copy_(remembered(state, name, value))


def averaged(model: nn.Module, state: RuleState) -> nn.Module:
    """A copy of a model with the weights and buffers of an average."""
    model = copy.deepcopy(model)
    load_average_(model, state)
    return model


def said_by(model: nn.Module, state: RuleState) -> Callable[[Tensor], Tensor]:
    """What the network of an average says of inputs at the time of the call, in evaluation mode, without a graph.

    Args:
        model: of the same architecture; copied.
        state: of `average_of`, or of a checkpoint; read at every call.
    """
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    named = {name: remembered(state, name, value) for name, value in teacher.state_dict(keep_vars=True).items()}

    @torch.no_grad()
    def say(inputs: Tensor) -> Tensor:
        said: Tensor = torch.func.functional_call(teacher, named, (inputs,), tie_weights=False)
        return said

    return say
