"""Which weights of a network are scale-invariant: multiplied by any s > 0, they leave its function as it is.

A layer followed by a normalisation is one, but which layers those are cannot be told from the order of modules
(shortcuts, pre-activations, a shared norm, a bias before a layer norm), so it is tried out. On a copy in float64,
normalisation by the batch's own statistics, everything else in evaluation mode, a weight W is scale-invariant if

    1  the output for 2 W is that for W, where every normalisation that W reaches unnormalised has 4 eps, and
    2  the output for another direction of W is another one (a weight that nothing depends on is none).

The scaled eps makes the first test exact: sqrt(4 v + 4 eps) = 2 sqrt(v + eps). A normalisation counts as reached
if what goes into it is an affine function of the factor (it is tried at 1, 2 and 3). Biases are drawn anew on the
copy, so that one that happens to be 0 hides nothing.

What is not found: a normalisation that is a bare function with an eps of its own (an attribute `eps` of a module
can be scaled, that cannot), and layers whose batch norm is kept in evaluation mode while training. A weight of
zero has no direction, and is none. Theory: docs/theory.md, "Shrinking as a step size".
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dashtheory._check import choice, fail
from dashtheory.batchnorm import same_streams
from dashtheory.rules.groups import Target, targets

LEVELS = ("tensor", "filter")
"""What is scaled by one factor: a whole weight, or all that leads to one output."""
NUM_INPUTS = 32
_BEYOND_EPS = 2.0**20  # weights so large make eps negligible, and are exact
_AFFINE = 1e-9  # relative; float64 leaves 1e-14 or so

Inputs = list[Tensor]


@torch.no_grad()
def scale_invariant(model: nn.Module, inputs: object, *, level: str = "tensor") -> tuple[str, ...]:
    """Names of the scale-invariant weights of convolution and linear layers, in model order.

    Costs four forward passes per weight over at most `NUM_INPUTS` examples.

    Args:
        model: unchanged, as are the random streams; a copy is tried. Frozen parameters are left out.
        inputs: a batch as the model takes it, two examples or more.
        level: "tensor" (one factor for a weight) or "filter" (a factor of its own for each output); what is
            scale-invariant by filter is so by tensor.

    Raises:
        ValueError: if there are fewer than two examples, no such level, or as `dashtheory.rules.targets`.
    """
    choice("level", level, LEVELS)
    trial = _Trial(model, inputs)
    found = [target for target in trial.weights() if trial.by_tensor(target)]
    if level == "filter":
        names = {target.name for target in found}
        found = [target for target in trial.weights("filter") if target.name in names and trial.by_filter(target)]
    return tuple(target.name for target in found)


class _Trial:
    """A copy of a model, and what it makes of a batch when weights are changed."""

    def __init__(self, model: nn.Module, inputs: object) -> None:
        self.model = copy.deepcopy(model).double().eval()
        self.inputs = _in_double(inputs)
        self.norms = [module for module in self.model.modules() if isinstance(getattr(module, "eps", None), float)]
        self.draws = torch.Generator().manual_seed(0)
        for module in self.model.modules():
            module.train(isinstance(module, _NormBase))
        for target in targets(self.model):
            if target.kind == "vector":
                target.parameter.add_(self._drawn(target.parameter))
        self.output, self.seen = self._run()

    def weights(self, level: str = "tensor") -> list[Target]:
        """Weights that may be scale-invariant."""
        found = [target for target in targets(self.model, level) if target.kind != "vector"]
        return [target for target in found if target.parameter.count_nonzero()]

    def by_tensor(self, target: Target) -> bool:
        """Whether one factor for the weight changes nothing, and another direction does."""
        weight = target.parameter.clone()
        runs = [self.seen, *(self._with(target, factor * weight)[1] for factor in (2, 3))]
        reached = [norm for place, norm in enumerate(self.norms) if _affine([run[place] for run in runs])]
        with _scaled_eps(reached, 4.0):
            doubled, _ = self._with(target, 2 * weight)
        if not self._same(doubled, self.output):
            return False
        turned = self._drawn(weight) * (weight.norm() / weight.numel() ** 0.5)
        return not self._same(self._with(target, weight + turned)[0], self.output, slack=100.0)

    def by_filter(self, target: Target) -> bool:
        """Whether a factor for each output changes nothing; eps is drowned, for it is one number for all."""
        weight = target.parameter * _BEYOND_EPS
        number = target.group_shape.numel()
        factors = 2.0 ** (torch.arange(number, device=weight.device, dtype=weight.dtype) % 3)
        scaled = weight * target.spread(factors.reshape(target.group_shape))
        return self._same(self._with(target, scaled)[0], self._with(target, weight)[0])

    def _with(self, target: Target, weight: Tensor) -> tuple[Tensor, list[Inputs]]:
        """Output, and what goes into each normalisation, with another weight; the old one is put back."""
        kept = target.parameter.clone()
        target.parameter.copy_(weight)
        found = self._run()
        target.parameter.copy_(kept)
        return found

    def _run(self) -> tuple[Tensor, list[Inputs]]:
        seen: list[Inputs] = [[] for _ in self.norms]
        hooks = [
            norm.register_forward_pre_hook(lambda _, given, into=into: into.extend(_tensors(given)))
            for norm, into in zip(self.norms, seen, strict=True)
        ]
        try:
            with same_streams(self.model):
                torch.manual_seed(0)
                output = self.model(self.inputs)
        finally:
            for hook in hooks:
                hook.remove()
        (first, *_) = _tensors(output if isinstance(output, tuple | list) else [output])
        return first, seen

    def _drawn(self, like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=self.draws, dtype=torch.float64)
        return drawn.to(like.device)

    def _same(self, one: Tensor, other: Tensor, *, slack: float = 1.0) -> bool:
        tolerance = slack * (1e-9 if one.dtype == torch.float64 else 1e-6)  # some models round their output
        return bool((one - other).abs().max() <= tolerance * other.abs().max())


def _affine(runs: Sequence[Inputs]) -> bool:
    """Whether what a normalisation saw at factors 1, 2, 3 moves, and by equal amounts, at one call at least."""
    for first, second, third in zip(*runs, strict=True):
        step, next_step = second - first, third - second
        size = float(step.abs().max()) if step.numel() else 0.0
        if size > 0 and float((next_step - step).abs().max()) <= _AFFINE * size:
            return True
    return False


@contextmanager
def _scaled_eps(norms: Sequence[nn.Module], factor: float) -> Iterator[None]:
    kept: list[Any] = [norm.eps for norm in norms]
    try:
        for norm, eps in zip(norms, kept, strict=True):
            norm.eps = eps * factor
        yield
    finally:
        for norm, eps in zip(norms, kept, strict=True):
            norm.eps = eps


def _tensors(given: Sequence[object]) -> Inputs:
    return [value.clone() for value in given if isinstance(value, Tensor) and value.is_floating_point()]


def _in_double(inputs: object) -> object:
    if not isinstance(inputs, Tensor):
        return inputs
    if len(inputs) < 2:
        fail("inputs", "must hold two examples or more", str(len(inputs)), "A batch norm needs a variance.")
    part = inputs[:NUM_INPUTS]
    return part.double() if part.is_floating_point() else part
