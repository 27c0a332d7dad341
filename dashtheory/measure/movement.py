"""How large weights are, how far they have gone, and how much outputs moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory.rules import targets
from dashtheory.rules.effective import to_look_at


def weight_magnitude(model: nn.Module) -> float:
    """Mean absolute weight, over convolution and linear weights and biases.

    mean |w|

    Range: >= 0, units of the weights. Source: Dohare et al. (Nature 2024), where its growth goes with a loss of
    plasticity. Others call the Frobenius norm so (`dashtheory.measure.compare` has it), or the norm over the
    number of weights. What would fool it: where a norm follows a layer its size is a step size and nothing else
    (`effective_step`); any rule that shrinks lowers it, whatever it does to learning.

    Args:
        model: unchanged.
    """
    values = [target.parameter.detach().abs().double() for target in targets(to_look_at(model))]
    total = sum(value.numel() for value in values)
    return float(sum(value.sum() for value in values)) / total if total else math.nan


def distance_to_start(model: nn.Module, start: nn.Module | Mapping[str, Tensor]) -> float:
    """Distance of all trained weights from where the run began.

    |w - w_0|, w and w_0 being all trained weights as one vector

    Range: >= 0, units of the weights. Source: Lyle et al., Kumar et al. (L2 Init, arXiv:2308.11958). What would
    fool it: it grows with the number of steps and of weights; hidden units that change places move far and change
    no output.

    Args:
        model: unchanged.
        start: the network that the run began with, or its `state_dict`.

    Raises:
        ValueError: if the start is of another network.
    """
    known = start.state_dict() if isinstance(start, nn.Module) else start
    squares = 0.0
    for name, value in model.named_parameters():
        if value.requires_grad:
            first = known.get(name)
            if first is None or first.shape != value.shape:
                got = "none" if first is None else str(tuple(first.shape))
                fail("start", f"must hold {name}, {tuple(value.shape)}", got, "Give the run's first network.")
            squares += float((value.detach() - first.to(value.device)).abs().double().square().sum())
    return math.sqrt(squares)


class Churn(NamedTuple):
    """How much outputs moved: mean KL divergence in nats, and mean absolute change, (...) each."""

    kl: Tensor
    absolute: Tensor


def churn(before: Tensor, after: Tensor) -> Churn:
    """How much a network's outputs on inputs that it does not train on have changed.

    kl = mean over inputs of KL(softmax before || softmax after),        absolute = mean |after - before|

    Range: >= 0; nats, and units of the outputs. Source: Schaul et al. (arXiv:2206.00730), Tang & Berseth (C-CHAIN,
    NeurIPS 2024), who take two successive updates; across a task it says how much was overwritten. What would fool
    it: more steps between the two; confident outputs, whose KL is large for a small change; a scale of the logits
    changes `absolute` and no decision.

    Args:
        before: logits (..., n, classes).
        after: the same shape.

    Raises:
        ValueError: if the shapes differ, or are no logits of a batch.
    """
    if before.ndim < 2:
        fail("before", "must be (..., inputs, classes)", str(tuple(before.shape)), "Give logits of a batch.")
    if before.shape != after.shape:
        fail("after", f"must have the shape of before, {tuple(before.shape)}", str(tuple(after.shape)), "Or swap.")
    one, other = (value.detach().double() for value in (before, after))
    logs = torch.log_softmax(one, dim=-1), torch.log_softmax(other, dim=-1)
    divergence = (logs[0].exp() * (logs[0] - logs[1])).sum(dim=-1)
    return Churn(divergence.mean(dim=-1).clamp_min(0), (other - one).abs().mean(dim=(-2, -1)))
