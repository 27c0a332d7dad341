"""Which parameters of a model the rules shrink, and the groups of entries that share one factor.

    convolution weight (any dimension, transposed too)   one group per kernel: shape (first, second) axes
    linear weight                                        one group per output: a row (a column if stored (in, out))
    bias of either                                       one group, the whole vector

as in the authors' code for DASH (granularity "authors"). For ablations the weights can be grouped otherwise, from
fine to coarse; biases stay whole vectors in all of them:

    "row"       every run along the last axis: a row of a kernel, a row of a linear weight
    "authors"   kernels and rows, as above
    "filter"    all that leads to one output: the kernels of an output channel, a row of a linear weight
    "tensor"    the whole weight

`dashtheory.rules.layers` says which classes are known, and makes others known. Everything else is left alone:
normalisation layers, embeddings, recurrent layers (nn.RNN, LSTM, GRU) and bare parameters of a user's module.
`nn.MultiheadAttention` keeps its input projections as bare parameters; they are linear maps and count as linear
layers here. A parameter used by several layers counts once, as the first of them, and so do two Parameters over
the same memory (a decoder made of `nn.Parameter(encoder.weight.t())`): the larger counts, or else the first.
Frozen parameters (`requires_grad=False`) are left alone. Complex weights are vectors of their real and imaginary
parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail
from dashtheory._door import door
from dashtheory.copies import overlapping, places, refuse_unfit
from dashtheory.rules.layers import Layers, is_registered, known_layers, layout_of

Kind = Literal["kernel", "row", "column", "vector", "line", "filter", "transposed filter", "tensor"]
Granularity = Literal["authors", "row", "filter", "tensor"]
GRANULARITIES: tuple[Granularity, ...] = ("authors", "row", "filter", "tensor")
"""Ways to group the entries of a weight."""

# Leading axes that number the groups; a line is numbered by all axes but the last.
_GROUP_AXES: dict[Kind, int] = {
    "kernel": 2,
    "row": 1,
    "column": 1,
    "vector": 0,
    "line": -1,
    "filter": 1,
    "tensor": 0,
}
_KINDS: dict[str, dict[str, Kind]] = {
    "kernel": {"authors": "kernel", "row": "line", "filter": "filter", "tensor": "tensor"},
    "transposed": {"authors": "kernel", "row": "line", "filter": "transposed filter", "tensor": "tensor"},
    "row": {"authors": "row", "row": "row", "filter": "row", "tensor": "tensor"},
    "column": {"authors": "column", "row": "column", "filter": "column", "tensor": "tensor"},
    "vector": dict.fromkeys(GRANULARITIES, "vector"),
    "tensor": dict.fromkeys(GRANULARITIES, "tensor"),
}
"""Kind of the groups of a layout, by granularity."""


@dataclass(frozen=True, eq=False)
class Target:
    """A parameter that rules shrink.

    Attributes:
        name: its full name in the model.
        parameter: the tensor.
        kind: how its entries group.
        groups: of the convolution that it belongs to (`torch.nn.Conv2d.groups`); else 1.
        shared: other parameters over the same memory, by name: they change with it.
    """

    name: str
    parameter: nn.Parameter
    kind: Kind
    groups: int = 1
    shared: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def group_shape(self) -> torch.Size:
        """Shape of one number per group: (out, in) for kernels, (out,) for rows and filters, () for a whole."""
        shape = self.parameter.shape
        if self.kind == "transposed filter":
            return torch.Size([self.groups * shape[1]])
        if self.kind == "column":
            return shape[-1:]
        return shape[: _GROUP_AXES[self.kind]]

    def spread(self, scales: Tensor) -> Tensor:
        """Numbers of shape `group_shape`, reshaped so that they multiply the parameter."""
        shape = self.parameter.shape
        if self.kind == "transposed filter":  # (in, out / groups, ...): each block of inputs has its own outputs
            blocks = scales.reshape(self.groups, 1, shape[1])
            scales = blocks.expand(-1, shape[0] // self.groups, -1).reshape(shape[:2])
        if self.kind == "column":
            return scales
        return scales.reshape(*scales.shape, *[1] * (len(shape) - scales.ndim))


@door()
def targets(model: nn.Module, granularity: str = "authors", *, layers: Layers | None = None) -> list[Target]:
    """The parameters that rules shrink, in the order of `model.named_modules()`.

    Args:
        model: any module.
        granularity: how entries group, a name of `GRANULARITIES`.
        layers: {class: how its weight groups}, beside the known ones (`dashtheory.rules.layers`).

    Raises:
        ValueError: if there is no such parameter or granularity, if the model has layers without storage (lazy,
            on the meta device) or without floating-point weights, or if a layer's weight is computed by a
            parametrization (such as weight_norm), where scaling the stored tensors would not scale the weight.
    """
    choice("granularity", granularity, GRANULARITIES)
    refuse_unfit(model)
    with known_layers(layers):
        found: dict[int, Target] = {}
        left: set[int] = set()
        for prefix, module in model.named_modules():
            layout = layout_of(module)
            if layout is None:
                left |= {id(value) for value in module._parameters.values()}
            for target in _of_module(prefix, module, layout or {}, granularity):
                found.setdefault(id(target.parameter), target)
    for one in left:
        found.pop(one, None)
    if not found:
        exported = isinstance(model, torch.fx.GraphModule)
        fail(
            "model",
            "must have a convolution or linear layer with requires_grad=True",
            type(model).__name__,
            "Pass the module that was exported."
            if exported
            else "Unfreeze a layer, or make its class known: register_layers({MyLayer: 'row'}).",
        )
    return _each_memory_once(model, list(found.values()))


def _of_module(prefix: str, module: nn.Module, layout: Mapping[str, str], granularity: str) -> Iterator[Target]:
    """The parameters of one module that rules shrink."""
    for local, how in layout.items():
        name = f"{prefix}.{local}" if prefix else local
        if local in module.__dict__ or hasattr(type(module), local):  # an attribute or a property instead
            fail(
                "model",
                "must store the weights of its layers as parameters",
                f"a computed {name}",
                "Say `with plain_weights(model) as plain:` (dashtheory.rules) and change `plain` in it: the "
                "result goes into the tensors that the parametrization, the mask and the optimizer have.",
            )
        value = module._parameters.get(local)
        if value is None and local != "bias" and is_registered(module) and local not in module._parameters:
            known = ", ".join(module._parameters) or "none"
            fail("layers", f"must name parameters of {type(module).__name__}", local, f"It has: {known}.")
        if value is None or not value.requires_grad:
            continue
        if value.is_inference():
            fix = "Make or load the model outside of it: no gradient can be taken of such weights."
            fail("model", "must not have weights made in torch.inference_mode()", name, fix)
        if value.ndim < _GROUP_AXES[_KINDS[how]["authors"]]:
            got = f"{how} for {name} of shape {tuple(value.shape)}"
            fail("layers", "must have a layout with the axes of the weight", got, "A vector is a 'vector'.")
        kind = _KINDS[how][granularity]
        groups = getattr(module, "groups", 1) if how in ("kernel", "transposed") else 1
        yield Target(name, value, kind, groups)


def _each_memory_once(model: nn.Module, found: list[Target]) -> list[Target]:
    """The targets without those whose memory another one has, which tells their names."""
    kept = {target.name: target for target in found}
    for group in overlapping(dict(model.named_parameters())):
        names = [name for name in (target.name for target in found) if name in group]
        if not names:
            continue
        owner = max(names, key=lambda name: group[name].numel())  # the first of equals
        inside = places(group[owner])
        for name in names:
            if not bool(torch.isin(places(group[name]), inside).all()):
                got = f"{owner} and {name}"
                fail("model", "must not have weights that overlap in part", got, "Tie whole Parameters.")
            if name != owner:
                del kept[name]
        shared = {name: value for name, value in group.items() if name != owner}
        kept[owner] = replace(kept[owner], shared=shared)
    return list(kept.values())


def untouched(model: nn.Module) -> tuple[str, ...]:
    """Names of the parameters that `targets` leaves out."""
    found = targets(model)
    inside = {id(one) for target in found for one in (target.parameter, *target.shared.values())}
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
    if kind == "column":
        return values.movedim(-1, 0).reshape(shape[-1], math.prod(shape[:-1]))
    axes = _GROUP_AXES[kind]
    return values.reshape(math.prod(shape[:axes]), math.prod(shape[axes:]))


@torch.no_grad()
def scale_groups_(target: Target, scales: Tensor) -> None:
    """Multiply every group of the parameter by its number in `scales` (shape `target.group_shape`), in place."""
    target.parameter.copy_(target.parameter * target.spread(scales))  # in the wider dtype of the two, rounded once
