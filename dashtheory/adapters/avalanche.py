"""A rule at the start of an experience of Avalanche."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from avalanche.core import SupervisedPlugin

from dashtheory.adapters.acting import refuse_step_sizes
from dashtheory.adapters.core import StageReport, StageRule
from dashtheory.adapters.stages import is_due


class AvalancheRule(SupervisedPlugin):
    """Apply a rule before every experience but the first.

        strategy = Naive(..., plugins=[AvalancheRule(StageRule(rule="dash"))])

    The hook is `before_training_exp`: the model is adapted, the optimizer made, the data are adapted. An
    experience is a stage; the strategy's clock counts them, and a strategy that is saved keeps this plugin, and so
    which stage has had its rule. Without a `loss_fn` the criterion of the strategy is the loss.

    Without chunks the data of the experience are one chunk: the new ones, and what plugins before this one, such
    as replay, have added.

    Args:
        plan: what is done.

    Attributes:
        report: of the last rule that was applied; None before.
        applied_at_stage: the last experience that has begun, from 1.
    """

    def __init__(self, plan: StageRule) -> None:
        super().__init__()
        refuse_step_sizes(plan.made())
        self.plan = plan
        self.report: StageReport | None = None
        self.applied_at_stage = 0

    def before_training_exp(self, strategy: Any, *_: Any, **__: Any) -> None:
        """Apply the rule if this experience has not had it."""
        stage = strategy.clock.train_exp_counter + 1
        if is_due(stage, self.applied_at_stage):
            plan = replace(self.plan, loss_fn=self.plan.loss_fn or strategy._criterion)
            data = strategy.adapted_dataset
            self.report = plan.apply(strategy.model, [strategy.optimizer], stage=stage, loader=data)
        self.applied_at_stage = max(stage, self.applied_at_stage)
