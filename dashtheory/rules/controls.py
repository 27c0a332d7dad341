"""Controls and ablations: rules that tell what a shrinking rule owes to what.

    cold_shrunk   cold, from a shrunk initialization: is it the weight norm?
    perturb       noise without shrinking: is it the noise?
    uniform       one factor for all, DASH's mean: is it the amount?
    permuted      DASH's factors at random groups of the layer: the direction?
    scattered     factors drawn anew from DASH's: that they are unequal?
    threshold     the popular summary: shrinks what is aligned, not DASH

Controls of other rules too are in `dashtheory.rules.matched` and `dashtheory.rules.proportional`.

Source: a control of this package.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, real
from dashtheory.rules.alignment import checked_alpha, checked_lam
from dashtheory.rules.dash import apply_factors_, dash_factors
from dashtheory.rules.groups import targets
from dashtheory.rules.report import LayerReport, ShrinkReport
from dashtheory.rules.rule import Context, InPlace, Learner, Rule, ablation, flag
from dashtheory.rules.shrink_and_perturb import shrink_and_perturb_

MOVES = ("anywhere", "within_filters", "across_filters")
"""Where `Permuted` may put a factor."""


@dataclass(frozen=True, kw_only=True)
class ColdShrunk(Rule):
    """Cold, with convolution and linear weights (not biases) of the fresh initialization times a factor.

    A control for the part of S&P and DASH that is a smaller weight norm, so a larger effective step. Stage 1 is
    that of every other rule.

    Formula: w <- factor w_fresh.

    Published: none; the default is near DASH's mean factor in a small ResNet.

    Cost: as cold: none between stages, and every stage's training in full.

    Attributes:
        factor: of the fresh weights, > 0.
    """

    factor: float = ablation(0.45)
    name: ClassVar[str] = "cold_shrunk"
    anew: ClassVar[bool] = True

    def __post_init__(self) -> None:
        real("factor", self.factor, low=0, open_low=True, fix="It multiplies the fresh weights.")

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Return a fresh learner with shrunk weights."""
        fresh = context.fresh()
        with torch.no_grad():
            for target in targets(fresh.model):
                if target.kind != "vector":
                    target.parameter.mul_(self.factor)
        return fresh, None


@dataclass(frozen=True, kw_only=True)
class Perturb(InPlace):
    """The noise of S&P alone, without its shrinking.

    Formula: w <- w + N(0, perturb^2), on weights and biases of convolutions and linear layers.

    Published: none as a control; perturb=0.01 as in S&P of arXiv:2410.23495, and in a run it is the same noise.

    Cost: a draw of all weights a stage; no pass over the data.

    Attributes:
        perturb: standard deviation, >= 0; 0.01 as in the authors' S&P.
        optimizer: as `InPlace`.
    """

    perturb: float = 0.01
    name: ClassVar[str] = "perturb"
    inert: ClassVar[Mapping[str, Any]] = {"perturb": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        real("perturb", self.perturb, low=0, fix="It is the standard deviation of the noise.")

    def change_(self, model: nn.Module, context: Context) -> None:
        """Add noise: the same noise that S&P would add at this stage."""
        shrink_and_perturb_(model, shrink=1, perturb=self.perturb, generator=context.generator)


@dataclass(frozen=True, kw_only=True)
class _FromDash(InPlace):
    """A rule whose factors come from those of DASH at the same moment, by one pass over the chunks."""

    alpha: float = 0.3
    lam: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_alpha(self.alpha)
        checked_lam(self.lam)

    def change_(self, model: nn.Module, context: Context) -> ShrinkReport:
        """Take DASH's factors, make others of them, and shrink by these."""
        dash = dash_factors(model, context.chunks(), context.loss_fn, alpha=self.alpha, lam=self.lam)
        report = self.remade(dash, context.generator)
        apply_factors_(model, report)
        return report

    @abstractmethod
    def remade(self, dash: ShrinkReport, generator: torch.Generator) -> ShrinkReport:
        """The report with this rule's factors."""


@dataclass(frozen=True, kw_only=True)
class Uniform(_FromDash):
    """Every shrinkable entry times one factor, DASH's mean factor of that moment; cosines stay as they are.

    Formula: w <- m w, with m the mean over all shrinkable entries of the factor that DASH would give them.

    Published: none as a control; alpha and lam are those of DASH (arXiv:2410.23495).

    Cost: as DASH: one pass over all data a stage.

    Attributes:
        alpha: of the DASH whose mean is taken; 0.3 and 0.3 as published.
        lam: of the DASH whose mean is taken; 0.3 and 0.3 as published.
        per_layer: each parameter by its own mean factor, instead of the mean over all entries.
        optimizer: as `InPlace`.
    """

    per_layer: bool = ablation(False)
    name: ClassVar[str] = "uniform"
    inert: ClassVar[Mapping[str, Any]] = {"lam": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        flag("per_layer", self.per_layer)

    def remade(self, dash: ShrinkReport, generator: torch.Generator) -> ShrinkReport:
        """The mean in place of each factor."""
        overall = dash.mean_scale
        return _with_scales(
            dash, lambda layer: torch.full_like(layer.scales, layer.mean_scale if self.per_layer else overall)
        )


@dataclass(frozen=True, kw_only=True)
class Permuted(_FromDash):
    """DASH's factors, permuted over the groups of each parameter with the stage's perturbation stream.

    As much shrinking as DASH in every layer, spread as widely, with no regard to direction.

    Formula: w_i <- s_p(i) w_i for the groups i of a layer, with s the factors of DASH and p a random order.

    Published: none as a control; alpha and lam are those of DASH (arXiv:2410.23495).

    Cost: as DASH: one pass over all data a stage.

    Attributes:
        alpha: of the DASH whose factors are taken; 0.3 and 0.3 as published.
        lam: of the DASH whose factors are taken; 0.3 and 0.3 as published.
        move: "anywhere" in the layer; "within_filters": each filter keeps its factors, at random inputs, so that
            it shrinks as DASH shrinks it on average; "across_filters": a filter gets all the factors of another
            one, so that inputs keep theirs. Layers with one factor per filter (linear ones) stay as DASH leaves
            them within filters, and are permuted across them.
        optimizer: as `InPlace`.
    """

    move: str = ablation("anywhere")
    name: ClassVar[str] = "permuted"
    inert: ClassVar[Mapping[str, Any]] = {"lam": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("move", self.move, MOVES)

    def remade(self, dash: ShrinkReport, generator: torch.Generator) -> ShrinkReport:
        """The factors of each layer in random order."""
        return _with_scales(dash, lambda layer: moved_factors(layer.scales, self.move, generator))


def moved_factors(scales: Tensor, move: str, generator: torch.Generator) -> Tensor:
    """Factors of a layer in another order.

    Args:
        scales: (filters, inputs), (filters,) or ().
        move: of `MOVES`.
        generator: from which the order is drawn.
    """

    def order(length: int) -> Tensor:
        return torch.randperm(length, generator=generator, device=generator.device).to(scales.device)

    if move == "anywhere":
        return scales.flatten()[order(scales.numel())].reshape(scales.shape)
    if not scales.ndim:
        return scales.clone()
    if move == "across_filters":
        return scales[order(len(scales))]
    return torch.stack([factors.flatten()[order(factors.numel())].reshape(factors.shape) for factors in scales])


@dataclass(frozen=True, kw_only=True)
class Scattered(_FromDash):
    """Each group by a factor drawn, with replacement, from those of DASH in its layer.

    Unequal factors of DASH's distribution, layer by layer, but independent of the weights and of one another.
    Where this does as well as DASH, unequal shrinking helps and direction does not.

    Formula: w_i <- s_k w_i for the groups i of a layer, with s the factors of DASH and k drawn for each i.

    Published: none as a control; alpha and lam are those of DASH (arXiv:2410.23495).

    Cost: as DASH: one pass over all data a stage.

    Attributes:
        alpha: of the DASH whose factors are drawn from; 0.3 and 0.3 as published.
        lam: of the DASH whose factors are drawn from; 0.3 and 0.3 as published.
        optimizer: as `InPlace`.
    """

    name: ClassVar[str] = "scattered"
    inert: ClassVar[Mapping[str, Any]] = {"lam": 1}

    def remade(self, dash: ShrinkReport, generator: torch.Generator) -> ShrinkReport:
        """Factors drawn anew from those of each layer."""
        return _with_scales(dash, lambda layer: scattered_factors(layer.scales, generator))


def scattered_factors(scales: Tensor, generator: torch.Generator) -> Tensor:
    """As many factors, each drawn from those of a layer.

    Args:
        scales: of any shape.
        generator: that draws.
    """
    number = scales.numel()
    places = torch.randint(max(number, 1), (number,), generator=generator, device=generator.device)
    return scales.flatten()[places.to(scales.device)].reshape(scales.shape)


@dataclass(frozen=True, kw_only=True)
class Threshold(InPlace):
    """NOT DASH: groups whose cosine with descent exceeds a threshold shrink, the others stay.

    It is the other way round: DASH keeps what is aligned with descent and shrinks the rest. Offered so that the
    difference can be seen. G is that of DASH.

    In its report `lam` is the threshold: `share_clamped` is the share of entries left alone.

    Formula: w <- factor w where cos(G, w) > threshold, else w <- w.

    Published: nothing for either; 0.3 and 0.3 are DASH's lam in both places.

    Cost: as DASH: one pass over all data a stage.

    Source: a one-page summary in circulation, which describes DASH like this; a control here.

    Elsewhere: forks that train language models have a rule of this family under DASH's name: a row shrinks where
    its cosine with the gradient, up the loss, exceeds a threshold.

    Attributes:
        threshold: cosine above which a group shrinks, in [-1, 1].
        factor: what it keeps, in [0, 1]. Nothing is published for either; 0.3 and 0.3 are DASH's lam in both
            places.
        alpha: weight of each newer chunk in G, in (0, 1].
        optimizer: as `InPlace`.
    """

    alpha: float = 0.3
    threshold: float = ablation(0.3)
    factor: float = ablation(0.3)
    name: ClassVar[str] = "threshold"
    inert: ClassVar[Mapping[str, Any]] = {"factor": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_alpha(self.alpha)
        real("threshold", self.threshold, low=-1, high=1, fix="It is a cosine.")
        real("factor", self.factor, low=0, high=1, fix="It is the factor kept.")

    def change_(self, model: nn.Module, context: Context) -> ShrinkReport:
        """Shrink what is aligned."""
        dash = dash_factors(model, context.chunks(), context.loss_fn, alpha=self.alpha)

        def scales(layer: LayerReport) -> Tensor:
            ones = torch.ones_like(layer.scales)
            return ones.masked_fill(layer.cosines > self.threshold, self.factor)

        remade = _with_scales(dash, scales)
        report = replace(remade, layers=tuple(replace(layer, lam=self.threshold) for layer in remade))
        apply_factors_(model, report)
        return report


def _with_scales(report: ShrinkReport, scales: Callable[[LayerReport], Tensor]) -> ShrinkReport:
    """The report with other factors."""
    return replace(report, layers=tuple(replace(layer, scales=scales(layer)) for layer in report))
