"""ReDo: make units that hardly fire begin again (Sokar et al., ICML 2023, arXiv:2302.12902).

    score_i = mean |a_i| / mean over the layer of mean |a|;     units of score_i <= tau:
    incoming weights from the initialiser, bias 0, outgoing weights 0, the moments of all of these 0

For plain networks of linear layers and ReLU, as those of this room are; the last layer has no units of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import fail, real
from dashtheory.rules.rule import Context, Learner, Rule


@dataclass(frozen=True, kw_only=True)
class ReDo(Rule):
    """ReDo at the moments of other rules, over the whole buffer; published every 1,000 updates, over 64 samples.

    Counters of Adam stay, as they count for whole tensors.

    Attributes:
        tau: largest score that is reset, >= 0; published 0.025, and 0.1 at high replay ratios.
    """

    tau: float = 0.1
    name: ClassVar[str] = "redo"

    def __post_init__(self) -> None:
        real("tau", self.tau, low=0, fix="It is a share of the layer's mean activation.")

    @torch.no_grad()
    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Reset dormant units in place."""
        layers = _linear(learner.model)
        fresh = _linear(context.fresh().model)
        states = learner.optimizer.state
        sleeping = [score <= self.tau for score in dormancy(learner.model, (x for x, _ in context.chunks()))]
        for place, ((layer, after), asleep) in enumerate(zip(pairwise(layers), sleeping, strict=True)):
            layer.weight[asleep] = fresh[place].weight[asleep]
            layer.bias[asleep] = 0
            after.weight[:, asleep] = 0
            for name in ("exp_avg", "exp_avg_sq"):
                for value, columns in ((layer.weight, False), (layer.bias, False), (after.weight, True)):
                    _clear(states.get(value, {}), name, asleep, columns=columns)
        return learner, None


def dormancy(model: nn.Module, inputs: Iterable[Any]) -> list[Tensor]:
    """Scores of the units of every hidden layer: mean |a| over that of the layer, 0 where all are 0.

    Args:
        model: `nn.Sequential` of linear layers and ReLU.
        inputs: in parts; each example weighs the same.
    """
    layers = _linear(model)
    found = torch.cat(list(inputs))
    scores = []
    for layer in layers[:-1]:
        found = layer(found).relu()
        means = found.abs().mean(dim=0)
        scores.append(means / (means.mean() + 1e-9))
    return scores


def _linear(model: nn.Module) -> list[nn.Linear]:
    layers = [layer for layer in model.children() if isinstance(layer, nn.Linear)]
    if not isinstance(model, nn.Sequential) or any(not isinstance(one, nn.Linear | nn.ReLU) for one in model):
        fail("model", "must be a Sequential of Linear and ReLU", type(model).__name__, "Take another rule.")
    return layers


def _clear(state: dict[str, Any], name: str, asleep: Tensor, *, columns: bool) -> None:
    if name in state:
        state[name][(slice(None), asleep) if columns else asleep] = 0
