"""DASH for many alphas and lams at the price of about one pass.

After J chunks G is a fixed combination of the chunks' gradients, with weights alpha (1 - alpha)^(J - j), and lam
only clamps the cosines. So one pass gives the gradients for every pair; memory holds one running G per alpha.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from dashtheory._check import fail
from dashtheory._door import door
from dashtheory.rules.alignment import Alignment, Directions, checked_alpha, checked_lam, smoothed_descents
from dashtheory.rules.chunk_gradient import Batches
from dashtheory.rules.dash import apply_factors_
from dashtheory.rules.groups import targets
from dashtheory.rules.left import LeftAlone, left_alone
from dashtheory.rules.passes import passing
from dashtheory.rules.report import ShrinkReport
from dashtheory.rules.rule import LossFunction
from dashtheory.rules.wrappers import group_of, unwrapped


@dataclass(frozen=True, kw_only=True, eq=False)
class ShrinkGrid:
    """DASH's factors for every pair of an alpha and a lam, at the weights of one moment.

    Attributes:
        alphas: the grid, in the order given; `len` counts pairs, iteration is over (alpha, lam).
        lams: the grid, in the order given; `len` counts pairs, iteration is over (alpha, lam).
        alignments: for each alpha, the cosines of every parameter.
        untouched: names of the parameters left alone.
        num_batches: batches in the gradient pass.
        granularity: how the entries of weights were grouped.
        left: as in `ShrinkReport`.
        shared: as in `ShrinkReport`.
    """

    alphas: tuple[float, ...]
    lams: tuple[float, ...]
    alignments: tuple[tuple[Alignment, ...], ...]
    untouched: tuple[str, ...]
    num_batches: int
    granularity: str
    left: tuple[LeftAlone, ...] = ()
    shared: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.alphas) * len(self.lams)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return ((alpha, lam) for alpha in self.alphas for lam in self.lams)

    def report(self, alpha: float, lam: float) -> ShrinkReport:
        """What `dash_` would report with this pair.

        Raises:
            ValueError: if the grid has no such pair.
        """
        for argument, value, known in (("alpha", alpha, self.alphas), ("lam", lam, self.lams)):
            if value not in known:
                listed = ", ".join(map(str, known))
                fail(argument, f"must be one of {listed}", repr(value), "Choose a number of the grid.")
        return ShrinkReport(
            layers=tuple(alignment.report(lam) for alignment in self.alignments[self.alphas.index(alpha)]),
            untouched=self.untouched,
            num_batches=self.num_batches,
            granularity=self.granularity,
            left=self.left,
            shared=self.shared,
        )

    def apply_(self, model: nn.Module, alpha: float, lam: float) -> ShrinkReport:
        """Shrink `model` in place by the factors of one pair, and return its report.

        Args:
            model: the one that the grid was made of, or a copy, with the weights of that moment: the factors are
                not computed again.
            alpha: a pair of the grid.
            lam: a pair of the grid.

        Raises:
            ValueError: before any weight is touched, if there is no such pair or the model has other groups.
        """
        report = self.report(alpha, lam)
        apply_factors_(model, report)
        return report


@door()
def shrink_grid(
    model: nn.Module,
    batches: Batches,
    loss_fn: LossFunction,
    alphas: Sequence[float],
    lams: Sequence[float],
    *,
    training: bool = False,
    granularity: str = "authors",
) -> ShrinkGrid:
    """DASH's factors for every pair of `alphas` and `lams`, from one pass over the batches; changes nothing.

    Every pair's report equals that of `dash_` with the same arguments to the bit wherever the gradients of two
    passes do (on a CPU; kernels of a GPU that add in no fixed order can differ between any two passes).

    Args:
        model: as `dash_`.
        batches: as `dash_`.
        loss_fn: as `dash_`.
        training: as `dash_`.
        granularity: as `dash_`.
        alphas: each in (0, 1], once.
        lams: each in [0, 1], once.

    Returns:
        `ShrinkGrid`.
        Memory: a G per alpha during the pass, cosines per alpha after it.

    Raises:
        ValueError: as `dash_`, and if a list is empty or names a number twice.
    """
    alphas = _once("alphas", [checked_alpha(alpha) for alpha in alphas])
    lams = _once("lams", [checked_lam(lam) for lam in lams])
    group, model = (group_of(model), unwrapped(model)) if isinstance(model, nn.Module) else (None, model)
    shrinkable = targets(model, granularity) if isinstance(model, nn.Module) else []
    with passing(group=group):
        descents, num_batches = smoothed_descents(model, batches, loss_fn, alphas=alphas, training=training)
    found: list[list[Alignment]] = [[] for _ in alphas]
    left = left_alone(model, shrinkable)
    with torch.inference_mode(False):
        for target in shrinkable:
            weight = Directions.of(target)
            for alignments, descent in zip(found, descents, strict=True):
                alignments.append(Alignment.of(target, weight, descent[target.name]))
    return ShrinkGrid(
        alphas=alphas,
        lams=lams,
        alignments=tuple(map(tuple, found)),
        untouched=tuple(one.name for one in left),
        num_batches=num_batches,
        granularity=granularity,
        left=left,
        shared={name: target.name for target in shrinkable for name in target.shared},
    )


def _once(argument: str, values: list[float]) -> tuple[float, ...]:
    """The values, if there is one at least and none comes twice."""
    if not values or len(set(values)) < len(values):
        fail(argument, "must list at least one number, each once", str(values), "List the grid's axis.")
    return tuple(values)
