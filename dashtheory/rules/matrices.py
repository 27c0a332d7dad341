"""The weights of a model's layers as matrices: one row an output, whatever leads to it in the columns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dashtheory.rules.groups import targets

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, eq=False)
class LayerWeight:
    """The weight of a convolution, linear layer or attention projection.

    Attributes:
        name: its full name in the model.
        parameter: the tensor.
        module: that holds it.
    """

    name: str
    parameter: nn.Parameter
    module: nn.Module

    def matrix(self) -> Tensor:
        """(outputs, all else): kernels laid out in rows; a view, or a copy where the memory format asks for one.

        A transposed convolution in groups has its inputs in the columns of all groups alike.
        """
        weight: Tensor = self.parameter
        if isinstance(self.module, _TRANSPOSED):
            weight = weight.transpose(0, 1)
        return weight.flatten(1) if weight.ndim > 1 else weight[None]


def layer_weights(model: nn.Module, *, last: bool = True) -> list[LayerWeight]:
    """Trainable weights (not biases) of the layers that rules act on, in model order, each once.

    Args:
        model: any.
        last: whether the last of them, the classifier, is one of them.

    Raises:
        ValueError: as `targets`.
    """
    found = [
        LayerWeight(target.name, target.parameter, model.get_submodule(target.name.rpartition(".")[0]))
        for target in targets(model)
        if target.kind != "vector"
    ]
    return found if last else found[:-1]
