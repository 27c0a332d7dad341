"""A rule at the start of training by the Trainer of transformers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from dashtheory.adapters.acting import refuse_step_sizes
from dashtheory.adapters.core import StageReport, StageRule
from dashtheory.adapters.own_loss import with_own_loss
from dashtheory.adapters.stages import checked_stage, is_due, refuse_unknown

KEY = "dashtheory_stage"
"""Under which the state of a training says for which stage the rule was applied."""


class TransformersRule(TrainerCallback):
    """Apply a rule when training begins, once a stage, also if it is killed and resumed from a checkpoint.

        Trainer(..., callbacks=[TransformersRule(StageRule(rule="dash", chunks=[old, new]), stage=2)])

    The hook is `on_train_begin`: model and optimizer are prepared and restored. Which stage has had its rule is
    kept in `TrainerState.stateful_callbacks`, so in `trainer_state.json` of every checkpoint. The best metric is
    forgotten. Without a `loss_fn` the loss is the model's own, of batches that are dictionaries with `labels`.

    Args:
        plan: what is done.
        stage: of the data: 1 for the first (nothing is applied), 2 for the next, ...

    Attributes:
        report: of the last rule that was applied; None before.
        applied_at_stage: the last stage that has begun in this process.
    """

    def __init__(self, plan: StageRule, *, stage: int) -> None:
        refuse_step_sizes(plan.made())
        self.plan, self.stage = plan, checked_stage(stage)
        self.report: StageReport | None = None
        self.applied_at_stage = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Apply the rule if this stage has not had it."""
        applied = self.applied_at_stage
        if state.global_step:  # restored from a checkpoint: it knows, whatever this process did before
            applied = state.stateful_callbacks.get(KEY, {}).get("attributes", {}).get("applied_at_stage", 0)
        refuse_unknown(state.global_step, applied, self.stage)
        if is_due(self.stage, applied):
            plan = with_own_loss(self.plan, given["model"])
            self.report = plan.apply(
                given["model"], [given["optimizer"]], stage=self.stage, loader=given["train_dataloader"]
            )
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None
        self.applied_at_stage = max(self.stage, applied)
        attributes = {"applied_at_stage": self.applied_at_stage}
        state.stateful_callbacks[KEY] = {"args": {}, "attributes": attributes}
