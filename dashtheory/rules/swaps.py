"""Rules that train a network with other activations, from the first stage on; between stages they are warm.

The first weights are those that all rules of a seed have, as far as they are still there: a swap takes layers as
they were drawn, or their first half. So the hash of where a run comes from is taken before it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory.rules.activations import Activation, activations, as_modules_, halve_, replace_
from dashtheory.rules.rule import WhileTraining, ablation, flag


@dataclass(frozen=True, kw_only=True)
class OtherActivations(WhileTraining):
    """Train the run's network with other activations (`adapted`), in all stages alike."""

    acts: ClassVar[tuple[str, ...]] = ("network",)

    def adapted(self, model: nn.Module, generator: torch.Generator) -> nn.Module:
        """The model with its activations swapped, in place as far as its own `forward` calls none.

        Raises:
            ValueError: in one line if it has none, or one that cannot be swapped.
        """
        model = as_modules_(model)
        found = activations(model)
        if not found:
            kind = type(model).__name__
            fail("model", "must have activations", f"{kind}, where none is found", "Leave this rule out.")
        self.swap_(model, found)
        return model

    @abstractmethod
    def swap_(self, model: nn.Module, found: list[Activation]) -> None:
        """Put others in the place of the activations found."""


class SideBySide(nn.Module):
    """An activation that makes two features of one: the first halves, then the second ones.

    Args:
        axis: of the features.
    """

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, inputs: Tensor) -> Tensor:
        """Twice as many features along the axis."""
        return torch.cat(self.both(inputs), dim=self.axis)

    @abstractmethod
    def both(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The two features of each."""


@dataclass(frozen=True, kw_only=True)
class Doubling(OtherActivations):
    """Put activations that make two features of one in the place of all, whatever they were.

    The layers before them get half of their width (the first half of their outputs, entries as drawn), so that all
    other layers keep their shapes: a layer between two activations has half of its weights then.

    Attributes:
        partly: leave activations as they are whose inputs cannot be halved, such as a sum with a shortcut that is
            no layer; otherwise a network that has such is refused.
    """

    partly: bool = ablation(False)

    def __post_init__(self) -> None:
        flag("partly", self.partly)

    @abstractmethod
    def doubled(self, axis: int) -> nn.Module:
        """The activation, of features along `axis`."""

    def swap_(self, model: nn.Module, found: list[Activation]) -> None:
        """Halve layers, then put the activations.

        Raises:
            ValueError: in one line if the inputs of one, or with `partly` of all, cannot be halved.
        """
        blocked = [one for one in found if one.obstacle]
        if blocked and (not self.partly or len(blocked) == len(found)):
            got = f"{blocked[0].name} after {blocked[0].obstacle}"
            fix = "Leave this rule out." if self.partly else "partly=True leaves such activations as they are."
            fail("model", "must have activations after layers of an even width", got, fix)
        for one in found:
            if not one.obstacle:
                for layer in one.layers:
                    halve_(model.get_submodule(layer))
                replace_(model, one.name, _always(self.doubled(one.axis)))


def _always(module: nn.Module) -> Callable[[nn.Module], nn.Module]:
    return lambda before: module
