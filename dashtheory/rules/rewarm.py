"""Rewarm: the larger step that a uniform shrink of scale-invariant layers amounts to, without the shrink.

Where a weight is followed by a normalisation, descent from s w with step size eta is descent from w with eta / s^2
(docs/theory.md, "Shrinking as a step size"). So what shrinking does to such layers can be had by their step sizes
alone. This rule does that, and nothing else: no weight moves.

Formula: step sizes, decay and eps of scale-invariant layers become

    descent (SGD)     eta / s^2, weight decay s^2
    Adam              eta / s, eps s, weight decay s^2 (added to the gradient) or s (AdamW's)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from dashtheory._check import choice, fail, real
from dashtheory.errors import Diverged
from dashtheory.rules.invariance import scale_invariant
from dashtheory.rules.passes import device_of, inputs_of
from dashtheory.rules.rule import Context, Learner, Rule, ablation

BUFFERS = ("kept", "scaled")
"""What happens to the averages of an optimizer when step sizes change."""

_LARGEST = 1e24
# Powers of s by which what an optimizer holds of a weight goes when its step size grows as if it had shrunk by s.
_GROUP_POWERS = {
    "descent": {"lr": -2, "initial_lr": -2, "weight_decay": 2},
    "adam": {"lr": -1, "initial_lr": -1, "eps": 1, "weight_decay": 2},
    "adamw": {"lr": -1, "initial_lr": -1, "eps": 1, "weight_decay": 1},
}
_BUFFER_POWERS = {"momentum_buffer": 1, "exp_avg": 1, "exp_avg_sq": 2, "max_exp_avg_sq": 2}


@torch.no_grad()
def rescale_steps_(
    optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], factor: float, *, buffers: str = "kept"
) -> None:
    """Give `parameters` the step size that they would have, in effect, if they were shrunk by `factor`.

    Groups of the optimizer that hold others too are split; a schedule's base rate (`initial_lr`) goes along. With
    a factor of 1 nothing is touched.

    Args:
        optimizer: SGD, Adam or AdamW of torch; changed in place.
        parameters: scale-invariant ones, held by the optimizer.
        factor: s > 0.
        buffers: "kept": what follows is the trajectory of a network shrunk by s whose momentum buffers are divided
            by s (Adam's second moments by s^2). "scaled": the buffers here are multiplied by s (s^2) instead,
            and it is that of a shrunk network whose buffers are kept, as S&P and DASH keep them.

    Raises:
        ValueError: before anything changes, if the optimizer is of another kind, or a value does not fit.
        dashtheory.errors.Diverged: if a step size would pass 1e24, where float32 has no room for the weights.
    """
    real("factor", factor, low=0, open_low=True, fix="It is what weights would be multiplied by.")
    choice("buffers", buffers, BUFFERS)
    wanted = {id(parameter): parameter for parameter in parameters}
    laws = [_law(optimizer, group) for group in optimizer.param_groups]
    if factor == 1:
        return
    for group, law in zip(list(optimizer.param_groups), laws, strict=True):
        inside = [parameter for parameter in group["params"] if id(parameter) in wanted]
        if inside:
            changed = {
                name: group[name] * factor**power for name, power in _GROUP_POWERS[law].items() if name in group
            }
            _check_size(float(changed["lr"]))
            _split(optimizer, group, inside).update(changed)
    if buffers == "scaled":
        for parameter in wanted.values():
            for name, value in optimizer.state[parameter].items():
                if name in _BUFFER_POWERS and value is not None:
                    value.mul_(factor ** _BUFFER_POWERS[name])


def _law(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> str:
    if isinstance(optimizer, torch.optim.SGD):
        return "descent"
    if not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        fail(
            "optimizer",
            "must be SGD, Adam or AdamW for a rule that changes step sizes",
            type(optimizer).__name__,
            "For others shrinking is no step size: choose another optimizer or rule.",
        )
    decoupled = group.get("decoupled_weight_decay", isinstance(optimizer, torch.optim.AdamW))
    return "adamw" if decoupled else "adam"


def _split(optimizer: torch.optim.Optimizer, group: dict[str, Any], inside: list[nn.Parameter]) -> dict[str, Any]:
    """The group of `inside` alone: this one if it holds nothing else, or a new one with the same options."""
    if len(inside) == len(group["params"]):
        return group
    members = {id(parameter) for parameter in inside}
    group["params"] = [parameter for parameter in group["params"] if id(parameter) not in members]
    optimizer.add_param_group({**group, "params": inside})
    return optimizer.param_groups[-1]


def _check_size(step_size: float) -> None:
    if step_size > _LARGEST:
        got = f"{step_size:.1e}"
        fail("factor", f"must leave step sizes below {_LARGEST:g}", got, "Take one nearer to 1.", error=Diverged)


@dataclass(frozen=True, kw_only=True)
class Rewarm(Rule):
    """The larger step alone: step sizes as if scale-invariant layers had shrunk; no weight moves.

    A control for the part of a shrinking rule that is a larger step. Classifier, biases, norm layers and every
    weight without a norm behind it keep their step sizes, where S&P, DASH and `uniform` shrink the classifier too.
    Step sizes of stage j are those of stage 1 by factor^(-2 (j - 1)): as with a shrink at every stage, weights
    that train with larger steps grow, and that brings the effective step down again.

    Which layers are scale-invariant is tried out on examples of the first chunk (`scale_invariant`).

    Published: none as a control; 0.3 as `shrink` of S&P and `lam` of DASH are published (arXiv:2410.23495).

    Cost: forward passes of examples of the first chunk a stage, up to four a layer, by a copy in float64.

    Source: a control of this package (the theorem: docs/theory.md, "Shrinking as a step size").

    Elsewhere: "re-warming" is often a linear warm-up of the step size in every stage; that is a schedule here, of
    a whole run (`--warmup-epochs=4`) or of one rule (`warm:warmup_epochs=4`).

    Attributes:
        factor: s > 0; 0.3 as `shrink` of S&P and `lam` of DASH are published (arXiv:2410.23495). 1 is warm.
        momentum: "kept" (the optimizer's averages stay) or "scaled" (by s, as if the weights had shrunk and the
            averages stayed: what S&P, uniform and DASH do). See `rescale_steps_`.
    """

    factor: float = ablation(0.3)
    momentum: str = ablation("kept")
    name: ClassVar[str] = "rewarm"
    acts: ClassVar[tuple[str, ...]] = ("optimizer",)
    inert: ClassVar[Mapping[str, Any]] = {"factor": 1}

    def __post_init__(self) -> None:
        real("factor", self.factor, low=0, open_low=True, fix="It is what weights would be multiplied by.")
        choice("momentum", self.momentum, BUFFERS)

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Return the learner with other step sizes."""
        inputs = next(inputs_of(context.chunks(), device_of(learner.model)))
        names = scale_invariant(learner.model, inputs)
        if not names:
            fail(
                "model",
                "must have a scale-invariant layer (one with a normalisation behind it)",
                type(learner.model).__name__,
                "Leave this rule out for such a model.",
            )
        parameters = [learner.model.get_parameter(name) for name in names]
        rescale_steps_(learner.optimizer, parameters, self.factor, buffers=self.momentum)
        return learner, None
