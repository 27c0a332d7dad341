"""Reset: the classifier is initialized anew before every stage, all else goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from dashtheory._check import choice, fail
from dashtheory.rules.rule import Context, InPlace, ablation


@dataclass(frozen=True, kw_only=True)
class Reset(InPlace):
    """Initialize the classifier anew, from the stage's own stream; all else goes on.

    Formula: w <- a new initialization, for the classifier alone.

    The classifier is the last `nn.Linear` in the order of `model.named_modules()` (the head of `CharTransformer`,
    the `fc` of a ResNet) unless `layer` names another module. Frozen parameters stay; what is tied to the
    classifier is reset with it. The optimizer keeps the moments of the old classifier, as in the authors' code.

    Cost: a new network a stage; no pass over the data.

    Source: the baseline "reset" of arXiv:2410.23495 (authors' code).

    Elsewhere: Hare & Tortoise's code puts the classifier back to the run's first weights (`reset_last:to=own`), a
    continual ImageNet benchmark to zero (`reset_last:to=zero`).

    Attributes:
        layer: full name of the module to initialize anew; empty for the last linear layer.
        optimizer: as `InPlace`.
    """

    layer: str = ablation("")
    name: ClassVar[str] = "reset"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.layer, str):
            fail("layer", "must be the name of a module", repr(self.layer), "Leave it empty for the classifier.")

    def change_(self, model: nn.Module, context: Context) -> None:
        """Copy the classifier of a fresh model."""
        name = self.classifier(model)
        new = dict(context.fresh().model.get_submodule(name).named_parameters())
        with torch.no_grad():
            for local, parameter in model.get_submodule(name).named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(new[local])

    def classifier(self, model: nn.Module) -> str:
        """Full name of the module that is initialised anew.

        Raises:
            ValueError: if the model has no such module, or no linear layer.
        """
        modules = dict(model.named_modules())
        if self.layer:
            return choice("layer", self.layer, modules)
        linear: list[str] = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
        if not linear:
            fail(
                "model", "must have a linear layer to reset", type(model).__name__, "Name the classifier: layer=."
            )
        return linear[-1]
