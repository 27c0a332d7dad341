"""Where the units of a layer lie in a signal, and what becomes of that on the way to the next layer.

    form    the signal                                   unit u is
    maps    (batch, units, places ...), of convolutions  axis 1
    last    (batch, ..., units), of linear layers        the last axis
    outer   (batch, units x places), maps flattened      the block of columns u places ... (u + 1) places - 1
    inner   (batch, places x units), "last" flattened    the columns u, u + units, ...

PyTorch flattens (batch, channels, height, width), so that a channel becomes a block ("outer").
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.LogSigmoid),
    *(nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Threshold),
)
"""Layers that act on every number by itself."""
ACTIVATION_FUNCTIONS: set[Callable[..., Any]] = {
    *(
        torch.relu,
        torch.relu_,
        torch.tanh,
        torch.sigmoid,
        functional.relu,
        functional.relu6,
        functional.leaky_relu,
    ),
    *(functional.elu, functional.selu, functional.celu, functional.gelu, functional.silu),
    functional.mish,
    *(functional.tanh, functional.sigmoid, functional.hardtanh, functional.hardswish, functional.hardsigmoid),
    *(functional.softplus, functional.softsign, functional.rrelu, functional.logsigmoid, functional.softshrink),
}
ACTIVATION_METHODS = {"relu", "relu_", "tanh", "tanh_", "sigmoid", "sigmoid_"}
_PASSING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_PASSING_FUNCTIONS: set[Callable[..., Any]] = {
    *(functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d, torch.dropout),
}
_PASSING_METHODS = {"contiguous", "clone", "float", "double", "half", "bfloat16", "to"}
_POOLING = tuple(
    getattr(nn, f"{kind}Pool{axes}d")
    for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax")
    for axes in (1, 2, 3)
)
_POOLING_FUNCTIONS: set[Callable[..., Any]] = {
    getattr(functional, f"{kind}_pool{axes}d")
    for kind in ("max", "avg", "adaptive_avg", "adaptive_max")
    for axes in (1, 2, 3)
}
_MEANS: set[Callable[..., Any]] = {torch.mean, torch.sum, torch.amax}
_MEAN_METHODS = {"mean", "sum", "amax"}
_FLATTEN: set[Callable[..., Any]] = {torch.flatten}
_SHAPES = {"size", "dim", "numel"}


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What has become of the units of a layer at a point behind it.

    Attributes:
        num_units: of them.
        form: how they lie.
        places: axes of a map behind the units (form "maps").
        norm: full name of the normalization that was passed, or empty.
        activation: the one that was passed: full name of its layer, or name of its function; or empty.
        watched: the layer of the activation where it is one, or None.
        watched_form: how the units lie there.
    """

    num_units: int
    form: str
    places: int = 0
    norm: str = ""
    activation: str = ""
    watched: nn.Module | None = None
    watched_form: str = ""

    def normalized(self, module: nn.Module, name: str) -> Signal | None:
        """Behind a normalization, which must have a row of its parameters for each unit; else None."""
        shape = getattr(module, "normalized_shape", None)
        size = getattr(module, "num_features", getattr(module, "num_channels", None))
        if shape is not None:  # layer norm, RMS norm
            fits = tuple(shape) == (self.num_units,) if self.form == "last" else self._is_whole(shape)
        elif isinstance(module, _InstanceNorm):
            fits = self.form == "maps" and size == self.num_units
        else:  # behind a linear layer they take (batch, units) alone
            flat = self.form == "last" and (
                not isinstance(module, _BatchNorm) or isinstance(module, nn.BatchNorm1d)
            )
            fits = (self.form == "maps" or flat) and size == self.num_units
        return replace(self, norm=name) if fits else None

    def _is_whole(self, shape: tuple[int, ...]) -> bool:
        return self.form == "maps" and len(shape) == self.places + 1 and shape[0] == self.num_units

    def flattened(self, start: int = 1, end: int = -1) -> Signal | None:
        """Behind `flatten(start, end)`."""
        if end != -1:
            return None
        if start == 2 and self.form == "maps":
            return replace(self, places=1)
        if start == 1 and self.form in ("maps", "last"):
            return replace(self, form="outer" if self.form == "maps" else "inner", places=0)
        return self if start == 1 else None

    def averaged(self, axes: object, keep: bool) -> Signal | None:
        """Behind a mean or maximum over some axes of a map."""
        given = (axes,) if isinstance(axes, int) else axes
        if self.form != "maps" or not isinstance(given, (tuple, list)):
            return None
        over = {axis + self.places + 2 if isinstance(axis, int) and axis < 0 else axis for axis in given}
        if not over or not all(isinstance(axis, int) and 2 <= axis < self.places + 2 for axis in over):
            return None
        left = self.places if keep else self.places - len(over)
        return replace(self, places=left) if left else replace(self, form="outer", places=0)


def by_layer(signal: Signal, module: nn.Module) -> Signal | None:
    """Behind a layer that is no activation, no normalization and has no weight; None if that is not known."""
    if isinstance(module, _PASSING):
        return signal
    if isinstance(module, nn.Flatten):
        return signal.flattened(module.start_dim, module.end_dim)
    if isinstance(module, _POOLING) and not getattr(module, "return_indices", False):
        return signal if signal.form == "maps" and signal.places == int(type(module).__name__[-2]) else None
    return signal if isinstance(module, (nn.ZeroPad2d, nn.Upsample)) and signal.form == "maps" else None


def by_function(signal: Signal, node: fx.Node) -> Signal | None:
    """Behind a function or method that is no activation; None if that is not known."""
    target, rest = node.target, node.args[1:]
    method = node.op == "call_method"
    if target in (_PASSING_METHODS if method else _PASSING_FUNCTIONS):
        return signal
    if not method and target in _POOLING_FUNCTIONS:
        name = getattr(target, "__name__", "")
        fits = signal.form == "maps" and name.endswith(f"pool{signal.places}d")
        return signal if fits and not node.kwargs.get("return_indices") else None
    if target == "flatten" if method else target in _FLATTEN:
        return _by_flatten(signal, node)
    if method and target in ("view", "reshape"):
        shape = rest[0] if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else rest
        plain = len(shape) == 2 and is_batch_size(shape[0]) and shape[1] == -1
        return signal.flattened() if plain and not node.kwargs else None
    if target in (_MEAN_METHODS if method else _MEANS):
        known = {"dim": rest[0] if rest else None, "keepdim": len(rest) > 1 and rest[1], **node.kwargs}
        fits = set(known) == {"dim", "keepdim"} and len(rest) <= 2
        return signal.averaged(known["dim"], bool(known["keepdim"])) if fits else None
    return None


def _by_flatten(signal: Signal, node: fx.Node) -> Signal | None:
    names = ("start_dim", "end_dim")
    given = {"start_dim": 0, "end_dim": -1, **dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
    start, end = given["start_dim"], given["end_dim"]
    return signal.flattened(start, end) if isinstance(start, int) and isinstance(end, int) else None


def is_activation(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a node acts on every number by itself."""
    if node.op == "call_module":
        return isinstance(module, ACTIVATIONS)
    return node.target in (ACTIVATION_METHODS if node.op == "call_method" else ACTIVATION_FUNCTIONS)


def is_shape(node: Any) -> bool:
    """Whether a node asks for a shape and not for numbers, or is made from such nodes alone."""
    if not isinstance(node, fx.Node):
        return False
    if node.op == "call_method" and node.target in _SHAPES:
        return True
    if node.op == "call_function" and node.target is builtins.getattr:
        return node.args[1] in ("shape", "dtype", "device", "ndim")
    return node.op != "placeholder" and bool(node.all_input_nodes) and all(map(is_shape, node.all_input_nodes))


def is_batch_size(node: Any) -> bool:
    """Whether a node is the length of the first axis of something: x.size(0), x.shape[0]."""
    if not isinstance(node, fx.Node):
        return False
    if node.op == "call_method":
        return node.target == "size" and node.args[1:] == (0,)
    if node.op != "call_function" or node.target is not operator.getitem or node.args[1] != 0:
        return False
    whole = node.args[0]
    asked = isinstance(whole, fx.Node) and is_shape(whole)
    return asked and isinstance(whole, fx.Node) and whole.op in ("call_method", "call_function")


def units_of(values: Tensor, form: str, num_units: int) -> Tensor | None:
    """A signal as (batch, units, places): a view where it can be one; None if it has another shape.

    Args:
        values: the signal.
        form: how the units lie in it.
        num_units: of them.
    """
    if form == "maps":
        fits = values.ndim > 2 and values.shape[1] == num_units
        return values.flatten(2) if fits else None
    if values.ndim < 2 or values.shape[-1] % num_units:
        return None
    if form == "last":
        found = values.unsqueeze(-1) if values.ndim == 2 else values.flatten(1, -2).transpose(1, 2)
        return found if found.shape[1] == num_units else None
    if form == "outer":
        return values.unflatten(-1, (num_units, -1)) if values.ndim == 2 else None
    return values.unflatten(-1, (-1, num_units)).transpose(1, 2) if values.ndim == 2 else None
