"""How the output of a network scales with its weights: positive homogeneity, followed through the traced graph.

Where every weight matrix or kernel W of a layer becomes c W, a linear or convolution layer whose input has
become s times what it was gives s c times its output, if its bias becomes s c times itself; ReLU, pooling and
dropout pass a factor on; a normalisation takes it away (up to its epsilon) if its running mean becomes s times
and its running variance s^2 times itself. A sum needs one factor for all of its terms. Whatever else is in the
network must have inputs that do not scale.

    biases of f by these factors, weights by c   ->   output of f = (product) x output before

Source: the theorem of Oh, Park, Han & Kim, Soft Weight Rescaling (arXiv:2507.04683), for chains of layers; here
along any graph that torch.fx can trace. Nothing is guessed: what is not known to pass a factor on is refused.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from dashtheory._check import fail
from dashtheory.rules.traced import NORMS, WEIGHTED, Traced, traced

_PASSING_MODULES = (
    *(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity, nn.Flatten, nn.Unflatten),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.ZeroPad2d, nn.PixelShuffle),
)
_PASSING_FUNCTIONS: set[Callable[..., Any]] = {
    *(torch.relu, functional.relu, functional.leaky_relu, torch.flatten, torch.reshape, torch.squeeze),
    *(torch.unsqueeze, torch.mean, torch.sum, torch.transpose, torch.permute, functional.dropout),
    *(functional.max_pool1d, functional.max_pool2d, functional.avg_pool1d, functional.avg_pool2d),
    *(functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, operator.getitem, operator.neg),
}
_PASSING_METHODS = {
    *("relu", "flatten", "reshape", "view", "squeeze", "unsqueeze", "mean", "sum", "transpose", "permute"),
    *("contiguous", "float", "double", "amax", "neg", "expand", "chunk", "split"),
}
_SUMS: set[Callable[..., Any]] = {operator.add, operator.iadd, operator.sub, torch.add, torch.sub, torch.cat}
_SUM_METHODS = {"add", "add_", "sub"}
_PRODUCTS: set[Callable[..., Any]] = {operator.mul, operator.imul, torch.mul, torch.matmul, operator.matmul}
_SHAPES = {"size", "dim", "numel"}


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What must scale so that the output does.

    Attributes:
        biases: factor of each bias, by the full name of its layer.
        statistics: factor of the input of each layer that keeps running statistics, by its full name.
        output: factor of the output.
    """

    biases: Mapping[str, float] = field(default_factory=dict)
    statistics: Mapping[str, float] = field(default_factory=dict)
    output: float = 1.0


def output_scaling(model: nn.Module, factors: Mapping[str, float]) -> Scaling:
    """How biases and running statistics must scale for the output of `model` to scale as a whole.

    Args:
        model: traced by torch.fx; not changed. One whose `forward` also prepares or checks its inputs may have a
            property `core`, a module of its layers alone: then that is traced.
        factors: of weights, by their full names; 1 for others.

    Raises:
        ValueError: in one line if the model cannot be traced, or something in it does not pass a factor on.
    """
    found = traced(model, leaves=_PASSING_MODULES, fix="Take uniform instead.")
    return _Follow(model, found, factors).through(found.graph)


class _Follow:
    """Follows factors through a graph, node by node.

    Args:
        model: whose names count.
        found: its graph.
        factors: of the weights.
    """

    def __init__(self, model: nn.Module, found: Traced, factors: Mapping[str, float]) -> None:
        weights = {id(value): name for name, value in model.named_parameters()}
        self.found, self.factors = found, factors
        self.weights = {inner: weights[id(value)] for inner, value in found.core.named_parameters()}
        self.biases: dict[str, float] = {}
        self.statistics: dict[str, float] = {}
        self.scales: dict[fx.Node, float] = {}

    def through(self, graph: fx.Graph) -> Scaling:
        """All nodes in order."""
        for node in graph.nodes:
            self.scales[node] = getattr(self, f"_{node.op}")(node)
        (output,) = (node for node in graph.nodes if node.op == "output")
        return Scaling(biases=self.biases, statistics=self.statistics, output=self.scales[output])

    def _placeholder(self, node: fx.Node) -> float:
        return 1.0

    def _get_attr(self, node: fx.Node) -> float:
        return self.factors.get(self.weights.get(str(node.target), ""), 1.0)

    def _output(self, node: fx.Node) -> float:
        return self._same(node)

    def _call_module(self, node: fx.Node) -> float:
        name, module, scale = (
            self.found.names[str(node.target)],
            self.found.module(node),
            self._same(node),
        )
        if isinstance(module, WEIGHTED):
            return self._once(self.biases, name, scale * self.factors.get(f"{name}.weight", 1.0))
        if isinstance(module, NORMS):
            self._once(self.statistics, name, scale)
            return 1.0
        shrunk = any(weight.startswith(f"{name}.") for weight in self.factors)
        if shrunk or not isinstance(module, _PASSING_MODULES):
            _only_one(math.inf if shrunk else scale, f"{type(module).__name__} {name}")
        return scale

    def _call_function(self, node: fx.Node) -> float:
        if node.target in _SUMS:
            return self._sum(node)
        if node.target in _PRODUCTS:
            return math.prod(self.scales[one] for one in node.all_input_nodes)
        scale = self._same(node)
        if node.target not in _PASSING_FUNCTIONS:
            _only_one(scale, f"function {getattr(node.target, '__name__', node.target)}")
        return scale

    def _call_method(self, node: fx.Node) -> float:
        if node.target in _SHAPES:
            return 1.0
        if node.target in _SUM_METHODS:
            return self._sum(node)
        scale = self._same(node)
        if node.target not in _PASSING_METHODS:
            _only_one(scale, f"method {node.target}")
        return scale

    def _sum(self, node: fx.Node) -> float:
        """A sum: a constant among its terms does not scale."""
        terms = node.args[0] if node.target is torch.cat else node.args
        scale = self._same(node)
        if not all(isinstance(term, fx.Node) for term in terms):  # type: ignore[union-attr]
            _only_one(scale, "adding a constant")
        return scale

    def _same(self, node: fx.Node) -> float:
        """The one factor of all inputs of a node."""
        scales = [self.scales[one] for one in node.all_input_nodes if not _is_shape(one)]
        if any(not math.isclose(scale, scales[0], rel_tol=1e-9) for scale in scales):
            _refuse(f"{node.name} of branches that scale differently")
        return scales[0] if scales else 1.0

    def _once(self, known: dict[str, float], name: str, scale: float) -> float:
        """Note what a layer needs; one that is used twice must need the same."""
        if not math.isclose(known.setdefault(name, scale), scale, rel_tol=1e-9):
            _refuse(f"layer {name}, used twice with inputs that scale differently")
        return scale


def _is_shape(node: fx.Node) -> bool:
    return node.op == "call_method" and node.target in _SHAPES


def _only_one(scale: float, what: str) -> None:
    """Refuse what is not known to pass a factor on, unless there is none to pass on."""
    if scale != 1:
        _refuse(what)


def _refuse(what: str) -> NoReturn:
    fail("model", "must scale its output with its weights", what, "Take uniform, which needs no such network.")


@torch.no_grad()
def scale_biases_(model: nn.Module, scaling: Scaling) -> None:
    """Scale biases and running statistics as `scaling` says, in place.

    Args:
        model: that it is about.
        scaling: of `output_scaling`.

    Raises:
        ValueError: before anything is touched, if a frozen bias would have to change.
    """
    modules = dict(model.named_modules())
    biases = {name: (modules[name].bias, scale) for name, scale in scaling.biases.items()}
    for name, (bias, scale) in biases.items():
        if isinstance(bias, Tensor) and not bias.requires_grad and scale != 1 and bool(bias.any()):
            fail("model", "must have biases that may change", f"a frozen one in {name}", "Unfreeze it.")
    for bias, scale in biases.values():
        if isinstance(bias, Tensor):
            bias.mul_(scale)
    for name, scale in scaling.statistics.items():
        mean, variance = (getattr(modules[name], f"running_{which}", None) for which in ("mean", "var"))
        if isinstance(mean, Tensor) and isinstance(variance, Tensor):
            mean.mul_(scale)
            variance.mul_(scale**2)
