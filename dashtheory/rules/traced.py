"""A model as a graph of its layers, traced by torch.fx, for what follows a signal through it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase

from dashtheory._check import fail

WEIGHTED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
"""Layers of one weight, and maybe a bias."""
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Normalizations, with or without running statistics."""


@dataclass(frozen=True, eq=False)
class Traced:
    """A graph, and whose it is.

    Attributes:
        graph: with a node for each layer, function and method.
        core: the module that was traced.
        names: of its modules: what the whole model calls them, by their names in `core`.
    """

    graph: fx.Graph
    core: nn.Module
    names: Mapping[str, str]

    def module(self, node: fx.Node) -> nn.Module:
        """Of a node that calls one."""
        return self.core.get_submodule(str(node.target))


def traced(model: nn.Module, *, leaves: tuple[type[nn.Module], ...] = (), fix: str) -> Traced:
    """Trace a model.

    Args:
        model: not changed. One whose `forward` also prepares or checks its inputs may have a property `core`, a
            module of its layers alone: then that is traced.
        leaves: further classes of which a layer is one node, those made from them too; PyTorch's own always are.
        fix: what to do if it cannot be traced.

    Raises:
        ValueError: in one line if it cannot.
    """
    core = model
    while isinstance(inner := getattr(core, "core", None), nn.Module):
        core = inner
    cuda = sorted({value.device.index for value in model.parameters() if value.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=cuda):  # tracing runs `forward`, which may draw, or leave things behind
            graph = _Tracer((*WEIGHTED, *NORMS, *leaves)).trace(copy.deepcopy(core))
    except Exception as error:
        reason = str(error).split("\n", 1)[0]
        fail("model", "must be one that torch.fx can trace", f"'{reason}'", fix)
    known = {id(module): name for name, module in model.named_modules()}
    inside = ((name, known.get(id(module))) for name, module in core.named_modules())
    return Traced(graph, core, {name: found for name, found in inside if found is not None})


class _Tracer(fx.Tracer):
    """Takes layers for one node each, of classes made from PyTorch's too.

    Args:
        leaves: classes.
    """

    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """Whether a module is one node."""
        return isinstance(module, self.leaves) or super().is_leaf_module(module, name)
