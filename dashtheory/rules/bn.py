"""A control: batch-norm statistics re-estimated before every stage, and nothing else.

After a rule that changes weights running statistics fit no longer; this tells what of a rule's effect they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from dashtheory._check import fail
from dashtheory.batchnorm import has_statistics, reestimated
from dashtheory.rules.passes import device_of, inputs_of
from dashtheory.rules.rule import Context, Learner, Rule


@dataclass(frozen=True, kw_only=True)
class Reestimate(Rule):
    """Batch-norm statistics become means over all data of the stage; nothing else changes, to the bit.

    In training mode the statistics are not looked at, so that only what is measured before the first epoch ends,
    and evaluation in between, can tell this from warm.

    Formula: running mean and variance <- their means over all chunks so far; w <- w.

    Cost: one forward pass over all data a stage, without a gradient, and a copy of the network.

    Source: a standard remedy (`torch.optim.swa_utils.update_bn`); as a control derived here.
    """

    name: ClassVar[str] = "bn"

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Return the learner with other statistics.

        Raises:
            ValueError: if the model has none, or there are no data.
        """
        if not has_statistics(learner.model):
            kind = type(learner.model).__name__
            fail("model", "must have batch normalization with running statistics", kind, "Leave this rule out.")
        inputs = torch.cat(list(inputs_of(context.chunks(), device_of(learner.model))))
        statistics = dict(reestimated(learner.model, inputs).named_buffers())
        with torch.no_grad():
            for name, buffer in learner.model.named_buffers():
                buffer.copy_(statistics[name])
        return learner, None
