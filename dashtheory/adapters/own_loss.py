"""The loss that models of transformers have themselves, of batches that are dictionaries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from dashtheory._check import fail
from dashtheory.adapters.core import StageRule


def with_own_loss(plan: StageRule, model: Any) -> StageRule:
    """The plan, with the loss that a model of transformers has itself where none is given.

    Args:
        plan: of the user.
        model: of transformers, or an adapter of peft around one.
    """
    if plan.loss_fn is not None:
        return replace(plan, pair=plan.pair or _by_name, forward=plan.forward or _called_by_name)
    shifted = "ForCausalLM" in type(model).__name__ or "LMHead" in type(model).__name__

    def counted(_: Any, target: Any) -> float:
        inside = target[..., 1:] if shifted else target
        return float((inside != -100).sum()) if isinstance(target, Tensor) else 1.0

    return replace(
        plan,
        loss_fn=lambda output, _: output.loss if hasattr(output, "loss") else output[0],
        pair=plan.pair or _by_name,
        forward=plan.forward or _called_by_name,
        count=plan.count or counted,
    )


def _by_name(batch: Any) -> tuple[object, object]:
    if "labels" not in batch:
        fail("pair", "must be given unless batches have labels", ", ".join(batch), "Say pair=lambda batch: ...")
    return dict(batch), batch["labels"]


def _called_by_name(model: Any, inputs: Any) -> Any:
    return model(**inputs)
