"""Where a network has its activations, and what makes their inputs: for rules that put others in their place.

An activation is a module of `ACTIVATIONS`, or a call of a function of that name in a `forward`
(`functional.relu`), which becomes a module first (`as_modules_`): that `forward` is traced by itself, its layers
one node each, and its module becomes a `torch.fx.GraphModule` of the same layers under the same names. What
cannot be followed is refused.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from dashtheory._check import fail
from dashtheory.rules.traced import NORMS, WEIGHTED, traced

ACTIVATIONS: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.Hardswish),
)
"""Classes of modules that count as activations."""
_WIDTH_KEPT = (
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
)
_WITH_FUNCTIONS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_SUMS = {"add", "iadd", "add_"}
_FUNCTIONS: dict[Any, type[nn.Module]] = {
    **dict.fromkeys((functional.relu, functional.relu_, torch.relu, torch.relu_, "relu", "relu_"), nn.ReLU),
    **dict.fromkeys((functional.leaky_relu,), nn.LeakyReLU),
    **dict.fromkeys((functional.elu,), nn.ELU),
    **dict.fromkeys((functional.gelu,), nn.GELU),
    **dict.fromkeys((functional.silu,), nn.SiLU),
    **dict.fromkeys((functional.tanh, torch.tanh, "tanh"), nn.Tanh),
    **dict.fromkeys((functional.sigmoid, torch.sigmoid, "sigmoid"), nn.Sigmoid),
}
"""Functions, and names of methods, and the modules that they are."""
_NAMES = {"relu", "relu_", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "selu", "mish", "softplus"}


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation of a network, and the layers whose outputs are its inputs, channel by channel.

    Attributes:
        name: its full name in the model.
        module: itself.
        layers: full names of the layers and norms that make its inputs.
        width: features of its inputs; 0 if they are not known.
        axis: of the features, 1 for maps and -1 otherwise.
        obstacle: why its inputs cannot be made fewer; empty if they can.
    """

    name: str
    module: nn.Module
    layers: tuple[str, ...]
    width: int
    axis: int
    obstacle: str = ""


class _Alone(fx.Tracer):
    """Traces one `forward`, whatever is inside of it being one node each."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """Always."""
        return True


def as_modules_(model: nn.Module) -> nn.Module:
    """Make modules of the activations that are called as functions, or more than once, in place.

    Names of parameters and buffers stay, and so does what the model computes.

    Args:
        model: any.

    Returns:
        the model, or what takes its place if its own `forward` calls one.

    Raises:
        ValueError: in one line if a `forward` calls an activation and cannot be traced.
    """
    places: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, _WITH_FUNCTIONS):
            got = f"{type(module).__name__} {name}"
            fail("model", "must have its activations as modules", got, "Leave this rule out.")
        places.setdefault(module, []).append(name)
    for module, names in places.items():
        made = _with_modules(module)
        if made is module:
            continue
        if not names[0]:
            return as_modules_(made)
        for name in names:
            parent, _, local = name.rpartition(".")
            setattr(model.get_submodule(parent), local, made)
    return model


def _with_modules(module: nn.Module) -> nn.Module:
    """The module itself, or a graph of it in which each activation is a module of its own."""
    if type(module).__module__.startswith("torch.") and not isinstance(module, fx.GraphModule):
        return module
    try:
        graph = _Alone().trace(copy.deepcopy(module))  # tracing runs the code of `forward`, which may leave things
    except Exception as error:
        if _NAMES & set(_names_in(type(module))):
            reason = str(error).split("\n", 1)[0]
            got = f"{type(module).__name__}, which cannot be traced ('{reason}')"
            fail("model", "must have its activations as modules", got, "Make each an nn.ReLU() of its own.")
        return module
    found, seen = [], set[str]()
    for node in graph.nodes:
        again = _is_activation(module, node) and str(node.target) in seen
        seen.add(str(node.target) if node.op == "call_module" else "")
        if again or (node.op in ("call_function", "call_method") and node.target in _FUNCTIONS):
            found.append(node)
    if not found:
        return module
    _refuse_modes(module, graph)
    parts: dict[str, nn.Module] = {}
    for node in found:
        name = _free_name(module, parts)
        parts[name] = _module_of(module, node).train(module.training)
        with graph.inserting_after(node):
            new = graph.call_module(name, (node.args[0],))
        node.replace_all_uses_with(new)
        graph.erase_node(node)
    for name, part in parts.items():
        module.add_module(name, part)
    made = fx.GraphModule(module, graph, type(module).__name__)
    for name in parts:
        delattr(module, name)
    return made


def _is_activation(module: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), ACTIVATIONS)


def _module_of(module: nn.Module, node: fx.Node) -> nn.Module:
    """A module that does as a call; options given to a function must be given to a module by its user."""
    if node.op == "call_module":
        return copy.deepcopy(module.get_submodule(str(node.target)))
    options = {name: value for name, value in node.kwargs.items() if name != "inplace"}
    if options or len(node.args) > 1:
        got = f"{node.target} with options in {type(module).__name__}"
        fail("model", "must have its activations as modules", got, "Make each a module of its own.")
    return _FUNCTIONS[node.target]()


def _free_name(module: nn.Module, taken: Mapping[str, object]) -> str:
    number = 1
    while hasattr(module, f"activation_{number}") or f"activation_{number}" in taken:
        number += 1
    return f"activation_{number}"


def _names_in(kind: type) -> Iterator[str]:
    """Names that the methods of a class use."""
    for value in vars(kind).values():
        code = getattr(value, "__code__", None)
        yield from () if code is None else code.co_names


def _refuse_modes(module: nn.Module, graph: fx.Graph) -> None:
    """Refuse a `forward` that asks for the mode: its trace holds one answer."""
    other = copy.deepcopy(module)
    other.training = not module.training
    if str(graph) != str(_Alone().trace(other)):
        got = f"{type(module).__name__}, which asks for self.training"
        fail("model", "must have its activations as modules", got, "Make each an nn.ReLU() of its own.")


def activations(model: nn.Module) -> list[Activation]:
    """The activations of a model that has them as modules, in the order of a forward pass.

    Args:
        model: of `as_modules_`; traced by torch.fx. One whose `forward` prepares its inputs may have a property
            `core`, a module of its layers alone: then that is traced.

    Raises:
        ValueError: in one line if it cannot be traced.
    """
    seen = traced(model, leaves=(*ACTIVATIONS, *_WIDTH_KEPT), fix="Leave this rule out.")
    core, graph = seen.core, seen.graph
    for node in graph.nodes:
        if node.op in ("call_function", "call_method") and node.target in _FUNCTIONS:
            got = f"the function {getattr(node.target, '__name__', node.target)}"
            fail("model", "must have its activations as modules", got, "Make each an nn.ReLU() of its own.")
    names = {id(module): name for name, module in model.named_modules()}
    owners: dict[int, int] = {}
    for module in model.modules():
        for value in module._parameters.values():
            owners[id(value)] = owners.get(id(value), 0) + 1
    found = [
        _followed(core, node, names, owners)
        for node in graph.nodes
        if node.op == "call_module" and isinstance(core.get_submodule(str(node.target)), ACTIVATIONS)
    ]
    if len({one.name for one in found}) < len(found):
        fail(
            "model", "must use every activation once", "one used again", "Give each place an nn.ReLU() of its own."
        )
    return found


def _followed(core: nn.Module, node: fx.Node, names: Mapping[int, str], owners: Mapping[int, int]) -> Activation:
    search = _Search(core, node, owners)
    search.back(node.args[0])
    search.check_users()
    search.check_width()
    module = core.get_submodule(str(node.target))
    return Activation(
        name=names[id(module)],
        module=module,
        layers=tuple(names[id(core.get_submodule(one))] for one in search.layers),
        width=search.width,
        axis=search.axis,
        obstacle=search.obstacle,
    )


@dataclass
class _Search:
    """Goes back from an activation to the layers that make its inputs.

    Attributes:
        core: what was traced.
        origin: the node of the activation.
        owners: how many modules hold a parameter.
        layers: names of layers and norms in `core`.
        visited: nodes gone through.
        width: of what the layers make.
        axis: of it.
        obstacle: the first reason why its width cannot change.
    """

    core: nn.Module
    origin: fx.Node
    owners: Mapping[int, int]
    layers: list[str] = field(default_factory=list)
    visited: set[fx.Node] = field(default_factory=set)
    width: int = 0
    axis: int = -1
    obstacle: str = ""

    def back(self, node: Any) -> None:
        """Go through a node and what is before it."""
        if not isinstance(node, fx.Node):
            self.blocked("a sum with a constant")
        elif node not in self.visited:
            self.visited.add(node)
            if node.op == "call_module":
                self.module(node, str(node.target), self.core.get_submodule(str(node.target)))
            elif node.op != "placeholder" and getattr(node.target, "__name__", node.target) in _SUMS:
                for term in node.args:
                    self.back(term)
            else:
                self.blocked(f"{node.name}, which is no layer")

    def module(self, node: fx.Node, name: str, module: nn.Module) -> None:
        """Go through a module."""
        if isinstance(module, (*WEIGHTED, *NORMS)):
            self.layers.append(name)
            self.known(module)
            shared = any(self.owners[id(value)] > 1 for value in module.parameters(recurse=False))
            calls = [one for one in node.graph.nodes if one.op == "call_module" and one.target == name]
            if shared or len(calls) > 1:
                self.blocked(f"{name}, which is used twice")
            if parametrize.is_parametrized(module):
                self.blocked(f"{name}, whose weight is computed")
        if isinstance(module, WEIGHTED):
            return
        if isinstance(module, (*NORMS, *_WIDTH_KEPT)):
            self.back(node.args[0])
        else:
            self.blocked(f"{name}, {type(module).__name__}, which is no layer")

    def known(self, module: nn.Module) -> None:
        """Take the width from a layer or a norm."""
        if isinstance(module, WEIGHTED):
            self.width = int(module.out_features if isinstance(module, nn.Linear) else module.out_channels)
            self.axis = -1 if isinstance(module, nn.Linear) else 1
            if getattr(module, "groups", 1) > 1:
                self.blocked("a convolution in groups")
        elif isinstance(module, nn.GroupNorm) and (self.width or module.num_channels) // 2 % module.num_groups:
            self.blocked("a group norm whose groups do not divide half of it")
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) > 1:
            self.blocked("a layer norm over more than the features")

    def check_users(self) -> None:
        """Everything gone through must lead to the activation alone."""
        for node in self.visited:
            for user in node.users:
                if user is not self.origin and user not in self.visited:
                    self.blocked(f"{node.name}, which is used elsewhere too")

    def check_width(self) -> None:
        """Half of it must be a number of features."""
        if self.width % 2:
            self.blocked(f"a width of {self.width}")

    def blocked(self, what: str) -> None:
        """Note the first obstacle."""
        self.obstacle = self.obstacle or what


def replace_(model: nn.Module, name: str, make: Callable[[nn.Module], nn.Module]) -> None:
    """Put a module in the place of another, in its mode.

    Args:
        model: changed in place.
        name: full name of the other.
        make: from the other one.
    """
    parent, _, local = name.rpartition(".")
    old = model.get_submodule(name)
    setattr(model.get_submodule(parent), local, make(old).train(old.training))


@torch.no_grad()
def halve_(module: nn.Module) -> None:
    """Let a layer, or a norm of its outputs, have the first half of its features, in place.

    Args:
        module: of `WEIGHTED` or `NORMS`; without groups, but for a group norm.
    """
    axis = 1 if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)) else 0
    for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if value.ndim == 0:  # a count of batches
            continue
        side = axis if name == "weight" else 0
        half = value.detach().narrow(side, 0, value.shape[side] // 2).clone()
        if isinstance(value, nn.Parameter):
            setattr(module, name, nn.Parameter(half, requires_grad=value.requires_grad))
        else:
            setattr(module, name, half)
    for name in ("out_features", "out_channels", "num_features", "num_channels"):
        if hasattr(module, name):
            setattr(module, name, getattr(module, name) // 2)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = (math.prod(module.normalized_shape) // 2,)
