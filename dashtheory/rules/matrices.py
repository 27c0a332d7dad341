"""The weights of a model's layers as matrices: one row an output, whatever leads to it in the columns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dashtheory.rules.groups import Target, targets
from dashtheory.rules.layers import layout_of


@dataclass(frozen=True, eq=False)
class LayerWeight:
    """The weight of a convolution, linear layer or attention projection.

    Attributes:
        name: its full name in the model.
        parameter: the tensor.
        module: that holds it.
        layout: how it groups, of `dashtheory.rules.layers.LAYOUTS`.
    """

    name: str
    parameter: nn.Parameter
    module: nn.Module
    layout: str

    def matrix(self) -> Tensor:
        """(outputs, all else): kernels laid out in rows; a view, or a copy where the memory format asks for one.

        A transposed convolution in groups has its inputs in the columns of all groups alike.
        """
        weight = self.outputs_first(self.parameter)
        return weight.flatten(1) if weight.ndim > 1 else weight[None]

    def outputs_first(self, value: Tensor) -> Tensor:
        """A tensor of the weight's shape as a view whose first axis numbers outputs."""
        if self.layout == "column":
            return value.movedim(-1, 0)
        return value.transpose(0, 1) if self.layout == "transposed" else value


def layer_weights(model: nn.Module, *, last: bool = True) -> list[LayerWeight]:
    """Trainable weights (not biases) of the layers that rules act on, in model order, each once.

    Args:
        model: any.
        last: whether the last of them, the classifier, is one of them.

    Raises:
        ValueError: as `targets`.
    """
    found = [_of(model, target) for target in targets(model) if target.kind != "vector"]
    return found if last else found[:-1]


def _of(model: nn.Module, target: Target) -> LayerWeight:
    home, _, local = target.name.rpartition(".")
    module = model.get_submodule(home)
    return LayerWeight(target.name, target.parameter, module, (layout_of(module) or {})[local])
