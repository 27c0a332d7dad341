"""The weights into and out of hidden units: read, renewed or scaled unit by unit, whatever their layout."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dashtheory.rules.anchors import copy_keys, optimizers_in
from dashtheory.rules.units import UnitLayer

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, eq=False)
class Block:
    """A weight whose entries belong to units.

    Attributes:
        parameter: the weight.
        shape: in which it has axes for units.
        axes: these.
    """

    parameter: nn.Parameter
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    def rows(self, value: Tensor) -> Tensor:
        """(units, entries of each) of a tensor of the weight's shape; a view where it can be one."""
        return value.reshape(self.shape).movedim(self.axes, self._front).flatten(0, len(self.axes) - 1).flatten(1)

    def spread(self, rows: Tensor) -> Tensor:
        """The tensor of the weight's shape whose `rows` these are; of one column: the same for all entries."""
        sizes = tuple(self.shape[axis] for axis in self.axes)
        rest = tuple(size for axis, size in enumerate(self.shape) if axis not in self.axes)
        full = rows.expand(-1, math.prod(rest)).reshape(*sizes, *rest)
        return full.movedim(self._front, self.axes).reshape(self.parameter.shape)

    @property
    def _front(self) -> tuple[int, ...]:
        return tuple(range(len(self.axes)))


@dataclass(frozen=True, eq=False)
class Units:
    """The layer of hidden units of a model, with its tensors.

    Attributes:
        layer: what is known of it.
        incoming: weights into the units.
        bias: of the units, or None.
        outgoing: weights out of them, of each consumer.
        norm: the normalization between them and their activation, or None.
        takers: the consumers.
    """

    layer: UnitLayer
    incoming: Block
    bias: nn.Parameter | None
    outgoing: tuple[Block, ...]
    norm: nn.Module | None
    takers: tuple[nn.Module, ...]

    @property
    def name(self) -> str:
        """Full name of the layer that makes the units."""
        return self.layer.name

    @property
    def num_units(self) -> int:
        """How many there are."""
        return self.layer.num_units

    @property
    def dtype(self) -> torch.dtype:
        """Of what is measured of them: that of their weights, or float32 where that is narrower."""
        return torch.promote_types(self.incoming.parameter.dtype, torch.float32)

    @property
    def is_trained(self) -> bool:
        """Whether all weights into and out of the units are: only then can a unit be renewed."""
        return all(block.parameter.requires_grad for block in (self.incoming, *self.outgoing))

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.incoming.parameter.device


def units_in(model: nn.Module, layer: UnitLayer) -> Units:
    """Find the tensors of a layer.

    Args:
        model: that the layer is of.
        layer: of `unit_graph`.
    """
    maker: Any = model.get_submodule(layer.name)
    takers = tuple(model.get_submodule(one.name) for one in layer.consumers)
    return Units(
        layer=layer,
        incoming=_incoming(maker),
        bias=maker.bias,
        outgoing=tuple(
            _outgoing(taker, one.form, layer.num_units) for taker, one in zip(takers, layer.consumers, strict=True)
        ),
        norm=model.get_submodule(layer.norm) if layer.norm else None,
        takers=takers,
    )


def _incoming(module: Any) -> Block:
    weight = module.weight
    if not isinstance(module, _TRANSPOSED):
        return Block(weight, (weight.shape[0], weight[0].numel()), (0,))
    groups, places = module.groups, math.prod(weight.shape[2:])
    return Block(weight, (groups, weight.shape[0] // groups, weight.shape[1], places), (0, 2))


def _outgoing(module: Any, form: str, num_units: int) -> Block:
    weight = module.weight
    if isinstance(module, nn.Linear):
        if form == "inner":
            return Block(weight, (weight.shape[0], weight.shape[1] // num_units, num_units), (2,))
        return Block(weight, (weight.shape[0], num_units, weight.shape[1] // num_units), (1,))
    if isinstance(module, _TRANSPOSED):
        return Block(weight, (weight.shape[0], weight[0].numel()), (0,))
    groups, places = module.groups, math.prod(weight.shape[2:])
    return Block(weight, (groups, weight.shape[0] // groups, weight.shape[1], places), (0, 2))


@torch.no_grad()
def write_rows_(block: Block, which: Tensor, rows: Tensor | float) -> None:
    """Give some units other weights, in place; those of others keep their bits.

    Args:
        block: the weights.
        which: bool (units,), of which units.
        rows: (number of these, entries), or a number.
    """
    parameter = block.parameter
    mask = block.spread(which[:, None])
    if isinstance(rows, float):
        parameter.masked_fill_(mask, rows)
        return
    full = torch.zeros(len(which), rows.shape[1], dtype=parameter.dtype, device=parameter.device)
    full[which] = rows.to(full)
    parameter.copy_(torch.where(mask, block.spread(full), parameter))


@torch.no_grad()
def correct_biases_(units: Units, which: Tensor, means: Tensor) -> None:
    """Give the biases of the consumers what some units add on average, before their outgoing weights vanish.

    bias <- bias + sum over these units of (outgoing weights) x (mean activation), summed over the places of a
    kernel; consumers without a bias and transposed convolutions stay as they are.

    Args:
        units: of the layer.
        which: bool (units,).
        means: (units,), mean activation.
    """
    given = torch.where(which, means, torch.zeros_like(means))
    for block, taker in zip(units.outgoing, units.takers, strict=True):
        bias: Any = taker.bias
        if bias is not None and bias.requires_grad and not isinstance(taker, _TRANSPOSED):
            weight = block.parameter
            bias.add_((weight * block.spread(given.to(weight)[:, None])).flatten(1).sum(dim=1))


@torch.no_grad()
def reset_norm_(units: Units, which: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
    """Set what the normalization has of some units to its start: scale 1, shift 0, running mean 0, variance 1.

    One whose scale is frozen stays as it is.

    Args:
        units: of the layer.
        which: bool (units,).

    Returns:
        the parameters that changed, each with its bool mask.
    """
    changed: list[tuple[nn.Parameter, Tensor]] = []
    scale = getattr(units.norm, "weight", None)
    if isinstance(scale, nn.Parameter) and not scale.requires_grad:
        return changed
    for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
        tensor = getattr(units.norm, name, None)
        if isinstance(tensor, Tensor) and (not isinstance(tensor, nn.Parameter) or tensor.requires_grad):
            mask = which.reshape(-1, *(1 for _ in tensor.shape[1:])).expand_as(tensor)
            tensor.masked_fill_(mask, value)
            if isinstance(tensor, nn.Parameter):
                changed.append((tensor, mask))
    return changed


@torch.no_grad()
def clear_entries_(
    optimizer: torch.optim.Optimizer, entries: Iterable[tuple[nn.Parameter, Tensor]], *, counters: bool
) -> None:
    """Let an optimizer forget some entries of parameters: averages become zero, copies of weights the new weights.

    What it keeps in another shape than the parameter's (a factored second moment) stays.

    Args:
        optimizer: changed in place.
        entries: parameters, each with a bool mask of its shape.
        counters: whether the step counters of these parameters go to zero too, which are one for all entries.
    """
    copies, optimizers = copy_keys(optimizer), optimizers_in(optimizer)
    for parameter, mask in entries:
        for state in (one.state.get(parameter, {}) for one in optimizers):
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                    fresh = parameter.to(value) if key in copies else torch.zeros_like(value)
                    value.copy_(torch.where(mask.to(value.device), fresh, value))
                elif key == "step" and counters:
                    state[key] = value.zero_() if isinstance(value, Tensor) else 0
