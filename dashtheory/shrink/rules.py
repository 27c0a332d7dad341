"""The rules between stages, by name: what happens to a learner before it trains on the next chunk.

    cold           a new model and a new optimizer
    warm           nothing
    warm_rm        a new optimizer
    reset          the classifier is initialised anew
    sp             S&P as the authors of DASH compare it: shrink, and add Gaussian noise
    sp_ash_adams   S&P of Ash & Adams: shrink, and add a share of a fresh initialisation
    dash           DASH: `dash_`
    l2_init        warm, trained with a penalty on the distance from the first initialisation

and the controls and ablations of `dashtheory.shrink.ablations`: cold_shrunk, perturb, uniform, permuted,
threshold. A rule that changes weights in place keeps the optimizer's state, as the authors' code does, unless
`optimizer="renewed"`. Weight decay is no rule: set it in the optimizer (`Task.make_optimizer`); a tuned one is the
control that a cold start deserves.

A rule is a frozen object; `RULES` maps its name to its class, `make_rule` builds one from a name and options.
"""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import nn

from dashtheory._check import choice, fail, real
from dashtheory.shrink.ablations import ColdShrunk, Permuted, Perturb, Threshold, Uniform
from dashtheory.shrink.dash import ShrinkReport, checked_alpha, checked_lam, dash_
from dashtheory.shrink.groups import GRANULARITIES
from dashtheory.shrink.perturb import shrink_and_perturb_
from dashtheory.shrink.regularize import L2Init
from dashtheory.shrink.rule import Between, InPlace, Learner, Rule, ablation, flag, seeded_layers


@dataclass(frozen=True, kw_only=True)
class Cold(Rule):
    """Train from scratch at every stage: new weights, new optimizer."""

    name: ClassVar[str] = "cold"

    def apply(self, learner: Learner, between: Between) -> tuple[Learner, None]:
        """Return a fresh learner."""
        return between.fresh(), None


@dataclass(frozen=True, kw_only=True)
class Warm(Rule):
    """Train on from the weights and the optimizer state of the stage before."""

    name: ClassVar[str] = "warm"

    def apply(self, learner: Learner, between: Between) -> tuple[Learner, None]:
        """Return the learner as it is."""
        return learner, None


@dataclass(frozen=True, kw_only=True)
class WarmRenewed(Rule):
    """Train on from the weights with a new optimizer: warm with its momentum reset (arXiv:2410.23495)."""

    name: ClassVar[str] = "warm_rm"

    def apply(self, learner: Learner, between: Between) -> tuple[Learner, None]:
        """Return the same model with a new optimizer."""
        return Learner(learner.model, between.renew(learner.model)), None


@dataclass(frozen=True, kw_only=True)
class Reset(InPlace):
    """Initialise the classifier anew, from the stage's own stream; all else goes on (arXiv:2410.23495, "reset").

    The classifier is the last `nn.Linear` in the order of `model.named_modules()` (the head of `CharTransformer`,
    the `fc` of a ResNet) unless `layer` names another module. Frozen parameters stay; what is tied to the
    classifier is reset with it. The optimizer keeps the moments of the old classifier, as in the authors' code.

    Attributes:
        layer: full name of the module to initialise anew; empty for the last linear layer.
        optimizer: as `InPlace`.
    """

    layer: str = ablation("")
    name: ClassVar[str] = "reset"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.layer, str):
            fail("layer", "must be the name of a module", repr(self.layer), "Leave it empty for the classifier.")

    def change_(self, model: nn.Module, between: Between) -> None:
        """Copy the classifier of a fresh model."""
        name = self.classifier(model)
        new = dict(between.fresh().model.get_submodule(name).named_parameters())
        with torch.no_grad():
            for local, parameter in model.get_submodule(name).named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(new[local])

    def classifier(self, model: nn.Module) -> str:
        """Full name of the module that is initialised anew.

        Raises: ValueError if the model has no such module, or no linear layer.
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


@dataclass(frozen=True, kw_only=True)
class ShrinkPerturb(InPlace):
    """S&P: w <- shrink w + N(0, perturb^2) on convolution and linear parameters (arXiv:2410.23495, authors' code).

    Attributes:
        shrink: factor kept, in [0, 1]; published 0.3. perturb: standard deviation of the noise, >= 0; 0.01.
        optimizer: as `InPlace`.
    """

    shrink: float = 0.3
    perturb: float = 0.01
    name: ClassVar[str] = "sp"

    def __post_init__(self) -> None:
        super().__post_init__()
        real("shrink", self.shrink, low=0, high=1, fix="It is the factor kept, not the amount removed.")
        real("perturb", self.perturb, low=0, fix="It is the standard deviation of the noise.")

    def change_(self, model: nn.Module, between: Between) -> None:
        """Shrink and perturb."""
        shrink_and_perturb_(model, shrink=self.shrink, perturb=self.perturb, generator=between.generator)


@dataclass(frozen=True, kw_only=True)
class ShrinkFresh(InPlace):
    """S&P of Ash & Adams (NeurIPS 2020, arXiv:1910.08475): w <- shrink w + perturb w_fresh, on all parameters.

    w_fresh is a fresh initialisation of the stage's own stream; buffers (running batch-norm statistics) become
    those of it. The paper sweeps both numbers and fixes no default: these are this package's, and not tuned.

    Attributes:
        shrink: factor kept, in [0, 1]. perturb: factor of the fresh weights, >= 0. optimizer: as `InPlace`.
    """

    shrink: float = ablation(0.4)
    perturb: float = ablation(0.1)
    name: ClassVar[str] = "sp_ash_adams"

    def __post_init__(self) -> None:
        super().__post_init__()
        real("shrink", self.shrink, low=0, high=1, fix="It is the factor kept, not the amount removed.")
        real("perturb", self.perturb, low=0, fix="It is the factor of the fresh weights.")

    def change_(self, model: nn.Module, between: Between) -> None:
        """Mix with a fresh model."""
        shrink_and_perturb_(model, shrink=self.shrink, perturb=self.perturb, fresh=between.fresh().model)


@dataclass(frozen=True, kw_only=True)
class Dash(InPlace):
    """DASH: shrink by alignment with the smoothed negative gradient (arXiv:2410.23495, authors' code).

    Attributes:
        alpha: weight of each newer chunk, in (0, 1]; published 0.3.
        lam: smallest factor, in [0, 1]; published 0.3 and 0.05.
        granularity: which entries share a factor: "authors" (kernel, row, whole bias), "row", "filter", "tensor"
            (see `dashtheory.shrink.groups`).
        training: take the gradient in training mode; layers that draw do so from the stage's perturbation stream.
        newest_only: take the newest chunk's gradient alone. It is alpha = 1 at the price of one chunk.
        optimizer: as `InPlace`.
    """

    alpha: float = 0.3
    lam: float = 0.3
    granularity: str = ablation("authors")
    training: bool = ablation(False)
    newest_only: bool = ablation(False)
    name: ClassVar[str] = "dash"

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_alpha(self.alpha)
        checked_lam(self.lam)
        choice("granularity", self.granularity, GRANULARITIES)
        flag("training", self.training)
        flag("newest_only", self.newest_only)

    def change_(self, model: nn.Module, between: Between) -> ShrinkReport:
        """Shrink after one pass over the chunks."""
        chunks = deque(between.chunks(), maxlen=1) if self.newest_only else between.chunks()
        with seeded_layers(model, between.generator) if self.training else nullcontext():
            return dash_(
                model,
                chunks,
                between.loss_fn,
                alpha=1 if self.newest_only else self.alpha,
                lam=self.lam,
                training=self.training,
                granularity=self.granularity,
            )


RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        Cold,
        Warm,
        ShrinkPerturb,
        Dash,
        WarmRenewed,
        Reset,
        L2Init,
        ShrinkFresh,
        Perturb,
        Uniform,
        Permuted,
        Threshold,
        ColdShrunk,
    )
}
"""Rule classes by name."""


def make_rule(name: str, **options: Any) -> Rule:
    """Build the rule called `name` with the given options.

    Raises: ValueError if there is no such rule or it has no such option.
    """
    known = rule_options(name, ablations=True)
    for option in options:
        if option not in known:
            fail(
                "options",
                f"of rule {name} must be among {sorted(known) or 'none'}",
                repr(option),
                "Drop it or choose another rule.",
            )
    return RULES[name](**options)


def rule_options(name: str, *, ablations: bool = False) -> tuple[str, ...]:
    """Names of the options of the rule called `name`.

    Args:
        name: the rule. ablations: list all options; otherwise only those that an experiment sets for all rules
            that have them (alpha, lam, shrink, perturb), so that one number cannot mean two things.
    Raises: ValueError if there is no such rule.
    """
    rule: Any = RULES[choice("rule", name, RULES)]
    return tuple(option.name for option in fields(rule) if ablations or not option.metadata.get("ablation"))
