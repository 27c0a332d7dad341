"""Which parameters of a model the rules shrink, and the groups of entries that share one factor.

    convolution weight (any dimension, transposed too)   one group per kernel: shape (first, second) axes
    linear weight                                        one group per output row
    bias of either                                       one group, the whole vector

as in the authors' code for DASH (granularity "authors"). For ablations the weights can be grouped otherwise, from
fine to coarse; biases stay whole vectors in all of them:

    "row"       every run along the last axis: a row of a kernel, a row of a linear weight
    "authors"   kernels and rows, as above
    "filter"    all that leads to one output: the kernels of an output channel, a row of a linear weight
    "tensor"    the whole weight

Everything else is left alone: normalisation layers, embeddings, recurrent
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

from dashtheory._check import choice, fail

Kind = Literal["kernel", "row", "vector", "line", "filter", "transposed filter", "tensor"]
Granularity = Literal["authors", "row", "filter", "tensor"]
GRANULARITIES: tuple[Granularity, ...] = ("authors", "row", "filter", "tensor")
"""Ways to group the entries of a weight."""

# Leading axes that number the groups; a line is numbered by all axes but the last.
_GROUP_AXES: dict[Kind, int] = {"kernel": 2, "row": 1, "vector": 0, "line": -1, "filter": 1, "tensor": 0}
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)
_CONVOLUTION_KINDS: dict[str, Kind] = {"authors": "kernel", "row": "line", "filter": "filter", "tensor": "tensor"}
_LINEAR_KINDS: dict[str, Kind] = {"authors": "row", "row": "row", "filter": "row", "tensor": "tensor"}
_ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True, eq=False)
class Target:
    """A parameter that rules shrink.

    Attributes:
        name: its full name in the model.
        parameter: the tensor.
        kind: how its entries group.
        groups: of the convolution that it belongs to (`torch.nn.Conv2d.groups`); else 1.
    """

    name: str
    parameter: nn.Parameter
    kind: Kind
    groups: int = 1

    @property
    def group_shape(self) -> torch.Size:
        """Shape of one number per group: (out, in) for kernels, (out,) for rows and filters, () for a whole."""
        shape = self.parameter.shape
        if self.kind == "transposed filter":
            return torch.Size([self.groups * shape[1]])
        return shape[: _GROUP_AXES[self.kind]]

    def spread(self, scales: Tensor) -> Tensor:
        """Numbers of shape `group_shape`, reshaped so that they multiply the parameter."""
        shape = self.parameter.shape
        if self.kind == "transposed filter":  # (in, out / groups, ...): each block of inputs has its own outputs
            blocks = scales.reshape(self.groups, 1, shape[1])
            scales = blocks.expand(-1, shape[0] // self.groups, -1).reshape(shape[:2])
        return scales.reshape(*scales.shape, *[1] * (len(shape) - scales.ndim))


def targets(model: nn.Module, granularity: str = "authors") -> list[Target]:
    """The parameters that rules shrink, in the order of `model.named_modules()`.

    Args:
        model: any module.
        granularity: how entries group, a name of `GRANULARITIES`.

    Raises:
        ValueError: if there is no such parameter or granularity, or if a layer's weight is computed by a
            parametrization (such as weight_norm), where scaling the stored tensors would not scale the weight.
    """
    choice("granularity", granularity, GRANULARITIES)
    found: dict[int, Target] = {}
    for prefix, module in model.named_modules():
        for local, kind in _layer_parameters(module, granularity):
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
                groups = module.groups if isinstance(module, _CONVOLUTIONS) else 1
                found.setdefault(id(value), Target(name, value, kind, groups))
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


def by_group(values: Tensor, kind: Kind, groups: int = 1) -> Tensor:
    """View or copy `values` as (groups, entries per group), in logical order whatever the memory format.

    Args:
        values: a parameter, or a tensor of its shape.
        kind: how entries group.
        groups: of the convolution; matters for the filters of transposed ones alone.
    """
    shape = values.shape
    if kind == "transposed filter":
        entries = math.prod(shape[2:])
        blocks = values.reshape(groups, shape[0] // groups, shape[1], entries)
        return blocks.transpose(1, 2).reshape(groups * shape[1], shape[0] // groups * entries)
    axes = _GROUP_AXES[kind]
    return values.reshape(math.prod(shape[:axes]), math.prod(shape[axes:]))


@torch.no_grad()
def scale_groups_(target: Target, scales: Tensor) -> None:
    """Multiply every group of the parameter by its number in `scales` (shape `target.group_shape`), in place."""
    target.parameter.copy_(target.parameter * target.spread(scales))  # in the wider dtype of the two, rounded once


def _layer_parameters(module: nn.Module, granularity: str) -> Iterator[tuple[str, Kind]]:
    """Local names and kinds of the parameters of one module that rules shrink."""
    if isinstance(module, _CONVOLUTIONS):
        kind = _CONVOLUTION_KINDS[granularity]
        transposed = kind == "filter" and isinstance(module, _TRANSPOSED)
        yield from (("weight", "transposed filter" if transposed else kind), ("bias", "vector"))
    elif isinstance(module, nn.Linear):
        yield from (("weight", _LINEAR_KINDS[granularity]), ("bias", "vector"))
    elif isinstance(module, nn.MultiheadAttention):
        for name in _ATTENTION_WEIGHTS:
            yield name, _LINEAR_KINDS[granularity]
        yield "in_proj_bias", "vector"
