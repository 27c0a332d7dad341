"""Shrink and perturb (S&P), in the two forms that the literature calls by this name.

Ash & Adams mix with a fresh initialization, the authors of DASH add Gaussian noise. What others mean by the name
is in `MEANINGS`, and how to convert it in `shrink_and_perturb_`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dashtheory._check import fail, real
from dashtheory._door import door
from dashtheory.copies import overlapping
from dashtheory.rules.effective import to_look_at
from dashtheory.rules.groups import targets
from dashtheory.rules.left import left_alone, tell_if_partly
from dashtheory.rules.rule import Context, InPlace, ablation
from dashtheory.rules.wrappers import unwrapped

MEANINGS: Mapping[str, str] = {
    "DASH's authors": "sp:shrink=0.3:perturb=0.01",
    "Ash & Adams": "sp_ash_adams:shrink=0.4:perturb=0.1:optimizer=renewed",
    "FIRE, vision": "sp_init:c=0.8",
    "FIRE, DQN": "sp_init:c=0.8:linear=1:optimizer=kept",
    "FIRE, SAC": "sp_init:c=0.8:to=fresh",
    "Hare & Tortoise": "sp_init:c=0.8",
    "Dohare": "sp_steps:perturb=1e-05:weight_decay=0.0001",
    "Plasticine": "sp_steps:shrink=0.999999:perturb=1e-06:of=own",
    "L2 Init's code": "sp_steps:shrink=0.999999:perturb=1e-06:of=fresh",
    "UPGD": "sp_steps:shrink=0.999:perturb=0.001:by_rate=yes",
    "Renate": "sp_all:shrink=0.95:perturb=0.001",
}
"""What "shrink and perturb" means, by who says it, as a rule's text. A swept number is one of the sweep."""


@door()
@torch.no_grad()
def shrink_and_perturb_(
    model: nn.Module,
    *,
    shrink: float = 0.3,
    perturb: float = 0.01,
    generator: torch.Generator | None = None,
    fresh: nn.Module | None = None,
) -> None:
    """Shrink all weights by one factor and add noise, in place.

    Without `fresh`, the form that the authors of DASH compare with (arXiv:2410.23495, authors' code):

        w <- shrink w + N(0, perturb^2)        convolution and linear weights and biases; all else kept

    With `fresh`, the form of Ash & Adams (NeurIPS 2020, arXiv:1910.08475, authors' code):

        w <- shrink w + perturb w_fresh        every trainable parameter; running statistics of normalisation
                                               become those of `fresh`; other buffers (masks, say) are kept

    Other papers name the amount *removed*: FIRE and Hare & Tortoise write (1 - c) w + c w_0 with the run's own
    initial weights w_0. That is `shrink=1 - c, perturb=c, fresh=initial_model`; their c = 0.8 is shrink = 0.2.
    In "loss of plasticity" work S&P may mean weight decay plus noise at every step; that is not this function.
    Right after it, running batch-norm statistics no longer fit the weights (see `dash_`).

    Args:
        model: changed in place. Frozen parameters are left alone, shared ones are changed once.
        shrink: factor kept, in [0, 1].
        perturb: standard deviation of the noise, or the factor of the fresh weights; >= 0.
        generator: source of the noise, drawn in model order on the generator's device, so that a CPU generator
            gives the same noise on every device. Required without `fresh`, refused with it.
        fresh: a model of the same architecture; not modified.

    Raises:
        ValueError: before any weight is touched, if an argument is out of range or `fresh` does not match.
    """
    shrink = real("shrink", shrink, low=0, high=1, fix="It is the factor kept, not the amount removed.")
    perturb = real("perturb", perturb, low=0, fix="It is the scale of the noise.")
    if (generator is None) == (fresh is None):
        fail(
            "generator",
            "must be given exactly when `fresh` is not",
            f"generator={generator is not None}, fresh={fresh is not None}",
            "Pass generator= for Gaussian noise, fresh= for Ash & Adams' form.",
        )
    model = unwrapped(model)
    if fresh is not None:
        _mix_with_fresh_(model, unwrapped(fresh), shrink, perturb)
        return
    assert generator is not None
    shrinkable = targets(model)
    tell_if_partly(shrinkable, left_alone(model, shrinkable))
    for target in shrinkable:
        value = target.parameter
        shape = (*value.shape, 2) if value.is_complex() else value.shape
        noise = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32)
        if value.is_complex():  # on the real and the imaginary part
            noise = torch.view_as_complex(noise)
        value.mul_(shrink).add_(noise.to(value.device, value.dtype), alpha=perturb)


def _mix_with_fresh_(model: nn.Module, fresh: nn.Module, shrink: float, perturb: float) -> None:
    _check_fresh(model, fresh)
    new, ours = dict(fresh.named_parameters()), dict(model.named_parameters())
    for group in overlapping(ours):  # of parameters over one memory the largest, or the first, is changed
        owner = max(group, key=lambda name: group[name].numel())
        ours = {name: value for name, value in ours.items() if name == owner or name not in group}
    for name, value in ours.items():
        if value.requires_grad:
            value.mul_(shrink).add_(new[name].to(value.device, value.dtype), alpha=perturb)
    statistics = dict(fresh.named_buffers())
    for prefix, module in model.named_modules():
        for local, buffer in module.named_buffers(recurse=False):
            if isinstance(module, _NormBase) or local in _STATISTICS:
                buffer.copy_(statistics[f"{prefix}.{local}".lstrip(".")])


_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def _check_fresh(model: nn.Module, fresh: nn.Module) -> None:
    """Refuse a `fresh` that has other parameters or buffers than `model`, or shares one with it."""
    ours, theirs = _tensors(model), _tensors(fresh)
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        here, there = ours.get(name), theirs.get(name)
        if here is None or there is None or here.shape != there.shape:
            fail(
                "fresh",
                f"must have the architecture of `model` ({name}: {_shape(here)})",
                f"{_shape(there)}",
                "Build it with the factory that built the model.",
            )
        if any(there is ours_too for ours_too in ours.values()):
            fail("fresh", "must share no tensor with `model`", f"a shared {name}", "Build a new model.")


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _shape(value: torch.Tensor | None) -> str:
    return "none" if value is None else str(tuple(value.shape))


@dataclass(frozen=True, kw_only=True)
class ShrinkPerturb(InPlace):
    """S&P as DASH's authors compare it: all weights shrink by one factor, and noise is added.

    Formula: w <- shrink w + N(0, perturb^2), on weights and biases of convolutions and linear layers.

    Published: shrink=0.3, perturb=0.01, with the optimizer kept.

    Cost: a draw of all weights a stage; no pass over the data.

    Source: the authors' code of arXiv:2410.23495, after Ash & Adams (NeurIPS 2020, arXiv:1910.08475).

    Elsewhere: the name means other things in other papers (`dashtheory.rules.MEANINGS`): `sp_ash_adams`,
    `sp_init`, `sp_all`, `sp_steps`. FIRE and Hare & Tortoise give the share *removed*, 0.8, where this is the
    factor kept.

    Attributes:
        shrink: factor kept, in [0, 1]; published 0.3.
        perturb: standard deviation of the noise, >= 0; 0.01.
        optimizer: as `InPlace`.
    """

    shrink: float = 0.3
    perturb: float = 0.01
    name: ClassVar[str] = "sp"
    inert: ClassVar[Mapping[str, Any]] = {"shrink": 1, "perturb": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        real("shrink", self.shrink, low=0, high=1, fix="It is the factor kept, not the amount removed.")
        real("perturb", self.perturb, low=0, fix="It is the standard deviation of the noise.")

    def change_(self, model: nn.Module, context: Context) -> None:
        """Shrink and perturb."""
        shrink_and_perturb_(model, shrink=self.shrink, perturb=self.perturb, generator=context.generator)


@dataclass(frozen=True, kw_only=True)
class ShrinkFresh(InPlace):
    """S&P of Ash & Adams: all parameters are mixed with a fresh initialization.

    Formula: w <- shrink w + perturb w_fresh, on all that is trained, norm layers too; running batch-norm
    statistics become those of the fresh network.

    w_fresh is a fresh initialization of the stage's own stream.

    Published: both numbers are swept in the paper, without a default; 0.4 and 0.1 are those of the authors'
    script, and not tuned. The optimizer is new there: `optimizer=renewed`.

    Cost: a new network a stage; no pass over the data.

    Source: Ash & Adams (NeurIPS 2020, arXiv:1910.08475) and the facts of their code.

    Elsewhere: the authors also shrink and perturb before the first stage; here that begins with the network that
    all rules begin with.

    Attributes:
        shrink: factor kept, in [0, 1].
        perturb: factor of the fresh weights, >= 0.
        optimizer: as `InPlace`.
    """

    shrink: float = ablation(0.4)
    perturb: float = ablation(0.1)
    name: ClassVar[str] = "sp_ash_adams"

    def __post_init__(self) -> None:
        super().__post_init__()
        real("shrink", self.shrink, low=0, high=1, fix="It is the factor kept, not the amount removed.")
        real("perturb", self.perturb, low=0, fix="It is the factor of the fresh weights.")

    def change_(self, model: nn.Module, context: Context) -> None:
        """Mix with a fresh model."""
        shrink_and_perturb_(
            model, shrink=self.shrink, perturb=self.perturb, fresh=to_look_at(context.fresh().model)
        )
