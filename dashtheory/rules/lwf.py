"""Learning without forgetting: what the network said before the stage is what it is to go on saying.

All classes are there from the first chunk on here, so that all of them count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from dashtheory._check import fail, real
from dashtheory.rules.averages import average_of, said_by
from dashtheory.rules.rule import BatchPenalty, Context, Learner, RuleState, WhileTraining, ablation


@dataclass(frozen=True, kw_only=True)
class LwF(WhileTraining):
    """LwF: train with a pull to what the network of the stage before says of the batch.

    Old are the logits of the network at the end of the stage before, in evaluation mode, on the inputs of the
    batch; the mean over examples is taken, and there is no factor T^2.

    Formula: from the second stage on loss + strength x KL(softmax(old / T) || softmax(new / T)).

    Published: strength=1, T=2.

    Cost: a forward pass of the old network a step, and a copy of it.

    Source: Li & Hoiem (ECCV 2016, arXiv:1606.09282); the details are those of the library Avalanche 0.6.0.

    Elsewhere: Avalanche counts the classes that were seen before alone.

    Attributes:
        strength: >= 0; 1 as published.
        temperature: T > 0; 2 as published.
    """

    strength: float = ablation(1.0)
    temperature: float = ablation(2.0)
    name: ClassVar[str] = "lwf"
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        real("temperature", self.temperature, low=0, open_low=True, fix="It divides the logits.")

    def batch_penalty(self, model: nn.Module, context: Context) -> BatchPenalty | None:
        """The distance to what the old network says of the batch; None in the first stage."""
        if not self.strength or not context.state:
            return None
        old = said_by(model, context.state)

        def penalty(inputs: Tensor, targets: Tensor, logits: Tensor) -> Tensor:
            return divergence(logits, old(inputs), self.temperature) * self.strength

        return penalty

    def finish(self, learner: Learner, context: Context) -> RuleState:
        """Keep the network."""
        return average_of(learner.model) if self.strength else context.state


def divergence(new: Tensor, old: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over examples of KL(softmax(old / T) || softmax(new / T)); logits (..., classes).

    Raises:
        ValueError: of one output, whose softmax is always 1.
    """
    classes = new.shape[-1]
    if classes == 1:
        fail("logits", "must be of two classes or more", "one output", "Give the network an output per class.")
    log_new = functional.log_softmax(new.reshape(-1, classes) / temperature, dim=-1)
    log_old = functional.log_softmax(old.reshape(-1, classes) / temperature, dim=-1)
    return functional.kl_div(log_new, log_old, reduction="batchmean", log_target=True)
