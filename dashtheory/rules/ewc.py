"""EWC and online EWC: weights are held where they were, each by its Fisher information.

On data that only grow the old weights are no place to stay near to, and such a pull should widen the gap of a warm
start: these are here to test that.

F is taken in evaluation mode at the end of each stage, on all data of the stage; it is of batches, not of
single examples, and falls as 1 / batch_size, as in Avalanche. There is no factor of one half.

Published: strength is chosen by the data; the default here is not tuned.

Source: Kirkpatrick et al. (PNAS 2017, arXiv:1612.00796); Schwarz et al. (ICML 2018, arXiv:1805.06370) for the
online form; the details are those of the library Avalanche 0.6.0.

Elsewhere: Avalanche's penalty was zero before version 0.2. The Fisher information of single examples is
`batch_size=1`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from dashtheory._check import integer, real
from dashtheory.rules.importance import mean_gradient, minibatches, prefixed, pull
from dashtheory.rules.rule import Context, Learner, RuleState, WhileTraining, ablation, flag, trainable


@dataclass(frozen=True, kw_only=True)
class EWC(WhileTraining):
    """EWC: each weight is held where it was after every past stage, by its Fisher information there.

    Formula: from the second stage on loss + strength x sum over past stages of sum F (w - w*)^2, with

        F = mean over mini-batches of (gradient of the batch's mean loss, true labels)^2, after each stage

    Cost: a pass over the data a stage, and two copies of the weights for every past stage.

    Attributes:
        strength: >= 0; papers choose it by the data, and this one is not tuned.
        batch_size: of the mini-batches, >= 1.
        newest: whether F is taken on the newest chunk alone, all that a learner without replay has.
    """

    strength: float = ablation(1.0)
    batch_size: int = ablation(128)
    newest: bool = ablation(False)
    name: ClassVar[str] = "ewc"
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        integer("batch_size", self.batch_size, minimum=1, fix="It counts examples.")
        flag("newest", self.newest)

    def penalty(self, model: nn.Module, state: RuleState) -> Callable[[], Tensor] | None:
        """The pull to the weights after each past stage; None in the first."""
        past = _past(state)
        if not self.strength or not past:
            return None
        pulled = pull(model, state, [(f"fisher {stage}", f"anchor {stage}") for stage in range(1, past + 1)])
        return lambda: pulled() * self.strength

    def finish(self, learner: Learner, context: Context) -> RuleState:
        """Take F, and note the weights."""
        if not self.strength:
            return context.state
        stage = _past(context.state) + 1
        return {
            **context.state,
            **prefixed(f"fisher {stage}", self.fisher(learner.model, context)),
            **prefixed(f"anchor {stage}", trainable(learner.model)),
        }

    def fisher(self, model: nn.Module, context: Context) -> dict[str, Tensor]:
        """F of every trainable parameter, by name."""
        batches = minibatches(context, self.batch_size, newest=self.newest)
        return mean_gradient(model, batches, context.loss_fn, 2)


@dataclass(frozen=True, kw_only=True)
class OnlineEWC(EWC):
    """EWC with one F and one w* for all past stages.

    Formula: from the second stage on loss + strength x sum F (w - w*)^2, with F <- decay F + F of the stage, and
    w* the last weights.

    Cost: a pass over the data a stage, and two copies of the weights.

    Attributes:
        decay: in [0, 1]; papers choose it by the data, and this one is not tuned.
        strength: as in `EWC`.
        batch_size: as in `EWC`.
        newest: as in `EWC`.
    """

    decay: float = ablation(0.9)
    name: ClassVar[str] = "ewc_online"

    def __post_init__(self) -> None:
        super().__post_init__()
        real("decay", self.decay, low=0, high=1, fix="It is the share of the past that stays.")

    def finish(self, learner: Learner, context: Context) -> RuleState:
        """Update F, and note the weights."""
        if not self.strength:
            return context.state
        found = self.fisher(learner.model, context)
        for name, value in found.items():
            if (old := context.state.get(f"fisher 1.{name}")) is not None:
                value.add_(old.to(value.device), alpha=self.decay)
        return {**prefixed("fisher 1", found), **prefixed("anchor 1", trainable(learner.model))}


def _past(state: RuleState) -> int:
    """How many past stages a state has sets of."""
    return len({name.split(".")[0] for name in state if name.startswith("fisher ")})
