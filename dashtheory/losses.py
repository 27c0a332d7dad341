"""What torch's own losses say of themselves: name, options, and what their mean divides by."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from dashtheory._check import fail

OF_CLASSES = ("cross_entropy", "CrossEntropyLoss", "nll_loss", "NLLLoss")
"""Losses whose classes may have weights."""
IGNORED = -100
"""The target that they leave out by default."""


def told_of(loss_fn: object) -> tuple[str, dict[str, Any]]:
    """Name and options of one of torch's losses, partial or a module; an empty name for any other."""
    options: dict[str, Any] = {}
    while isinstance(loss_fn, functools.partial):
        options = {**loss_fn.keywords, **options}
        loss_fn = loss_fn.func if not loss_fn.args else None
    if isinstance(loss_fn, nn.Module) and type(loss_fn).__module__ == "torch.nn.modules.loss":
        return type(loss_fn).__name__, {**dict(loss_fn.named_buffers()), **vars(loss_fn)}
    name = getattr(loss_fn, "__name__", "")
    return (name, options) if loss_fn is getattr(functional, name or "_", None) else ("", {})


def refuse_other_than_mean(loss_fn: object) -> None:
    """Refuse a loss of torch's that says itself that it is a sum, or one number an example.

    Means over chunks and over a whole data set are made of it, which would hang on the size of the batches.

    Raises:
        ValueError: if it is such a loss.
    """
    reduction = told_of(loss_fn)[1].get("reduction", "mean")
    if reduction in ("sum", "none"):
        fail(
            "loss_fn",
            "must be a mean over the targets",
            f"reduction={reduction!r}",
            "Take the mean, as torch does by default.",
        )


def class_weights(loss_fn: object, target: Tensor) -> Tensor | None:
    """Sum of the weights of the classes of all targets that count, by which torch's weighted mean divides.

    Args:
        loss_fn: any; None is returned unless it is one of torch's whose classes have weights.
        target: of a batch.
    """
    name, options = told_of(loss_fn)
    weight = options.get("weight")
    if name not in OF_CLASSES or not isinstance(weight, Tensor) or target.is_floating_point():
        return None
    counted = target[target != options.get("ignore_index", IGNORED)]
    return weight.to(target.device)[counted.long()].sum()
