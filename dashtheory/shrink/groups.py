"""Which parameters of a model the rules shrink, and the groups of entries that share one factor.

    convolution weight (any dimension, transposed too)   one group per kernel: shape (first, second) axes
    linear weight                                        one group per output row
    bias of either                                       one group, the whole vector

as in the authors' code for DASH. Everything else is left alone: normalisation layers, embeddings, recurrent
layers (nn.RNN, LSTM, GRU) and bare parameters of a user's module. `nn.MultiheadAttention` keeps its input
projections as bare parameters; they are linear maps and count as linear layers here. A parameter used by several
layers counts once, as the first of them (two Parameters made over one storage count as two: tie the Parameter
itself). Frozen parameters (`requires_grad=False`) are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dashtheory._check import fail

Kind = Literal["kernel", "row", "vector"]
_GROUP_AXES: dict[Kind, int] = {"kernel": 2, "row": 1, "vector": 0}  # leading axes that number the groups
_CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True, eq=False)
class Target:
    """A parameter that rules shrink: its full name in the model, the tensor, and how its entries group."""

    name: str
    parameter: nn.Parameter
    kind: Kind

    @property
    def group_shape(self) -> torch.Size:
        """Shape of one number per group: (out, in) for kernels, (out,) for rows, () for a vector."""
        return self.parameter.shape[: _GROUP_AXES[self.kind]]


def targets(model: nn.Module) -> list[Target]:
    """The parameters that rules shrink, in the order of `model.named_modules()`.

    Raises: ValueError if there is none, or if a layer's weight is computed by a parametrization (such as
        weight_norm), where scaling the stored tensors would not scale the weight.
    """
    found: dict[int, Target] = {}
    for prefix, module in model.named_modules():
        for local, kind in _layer_parameters(module):
            name = f"{prefix}.{local}" if prefix else local
            if local in module.__dict__ or hasattr(type(module), local):  # an attribute or a property instead
                fail(
                    "model",
                    "must store the weights of its layers as parameters",
                    f"a computed {name}",
                    "Remove the parametrization (torch.nn.utils.parametrize.remove_parametrizations, "
                    "remove_weight_norm, prune.remove) first.",
                )
            value = module._parameters.get(local)
            if value is not None and value.requires_grad:
                found.setdefault(id(value), Target(name, value, kind))
    if not found:
        fail(
            "model",
            "must have a convolution or linear layer with requires_grad=True",
            type(model).__name__,
            "Unfreeze a layer, or leave this rule out for such a model.",
        )
    return list(found.values())


def untouched(model: nn.Module) -> tuple[str, ...]:
    """Names of the parameters that `targets` leaves out."""
    inside = {id(target.parameter) for target in targets(model)}
    return tuple(name for name, value in model.named_parameters() if id(value) not in inside)


def by_group(values: Tensor, kind: Kind) -> Tensor:
    """View or copy `values` as (groups, entries per group), in logical order whatever the memory format."""
    axes = _GROUP_AXES[kind]
    return values.reshape(math.prod(values.shape[:axes]), math.prod(values.shape[axes:]))


@torch.no_grad()
def scale_groups_(target: Target, scales: Tensor) -> None:
    """Multiply every group of the parameter by its number in `scales` (shape `target.group_shape`), in place."""
    missing = target.parameter.ndim - scales.ndim
    factors = scales.reshape(*scales.shape, *[1] * missing)
    target.parameter.copy_(target.parameter * factors)  # in the wider dtype of the two, rounded once


def _layer_parameters(module: nn.Module) -> Iterator[tuple[str, Kind]]:
    """Local names and kinds of the parameters of one module that rules shrink."""
    if isinstance(module, _CONVOLUTIONS):
        yield from (("weight", "kernel"), ("bias", "vector"))
    elif isinstance(module, nn.Linear):
        yield from (("weight", "row"), ("bias", "vector"))
    elif isinstance(module, nn.MultiheadAttention):
        for name in _ATTENTION_WEIGHTS:
            yield name, "row"
        yield "in_proj_bias", "vector"
