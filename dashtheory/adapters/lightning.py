"""A rule at the start of a Lightning fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from dashtheory._check import fail
from dashtheory.adapters.acting import refuse_step_sizes
from dashtheory.adapters.core import StageReport, StageRule
from dashtheory.adapters.stages import checked_stage, is_due, refuse_unknown


class LightningRule(Callback):
    """Apply a rule when a fit begins, once a stage, also if that fit is killed and resumed.

        Trainer(callbacks=[LightningRule(StageRule(rule="dash", loss_fn=loss, chunks=chunks), stage=2)])

    The hook is `on_train_start`: weights, optimizers and loops are restored, and the checkpoint's `state_dict` of
    this callback says for which stage the rule was applied. `EarlyStopping` begins to count anew, and a
    `WeightAveraging` callback starts from the changed weights. Sharded strategies are refused.

    Args:
        plan: what is done. The model is the module itself, called as `module(inputs)` unless it says `forward`.
        stage: of the data: 1 for the first (nothing is applied), 2 for the next, ...

    Attributes:
        report: of the last rule that was applied; None before.
        applied_at_stage: the last stage that has begun.
    """

    def __init__(self, plan: StageRule, *, stage: int) -> None:
        refuse_step_sizes(plan.made())
        self.plan, self.stage = plan, checked_stage(stage)
        self.report: StageReport | None = None
        self.applied_at_stage = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply the rule if this stage has not had it."""
        refuse_unknown(trainer.global_step, self.applied_at_stage, self.stage)
        if is_due(self.stage, self.applied_at_stage):
            if getattr(trainer.strategy, "restore_checkpoint_after_setup", False):
                got = type(trainer.strategy).__name__
                fail("strategy", "must keep whole weights in each process", got, "Say strategy='ddp'.")
            callbacks: list[Any] = list(getattr(trainer, "callbacks"))  # noqa: B009
            kept = [one for each in callbacks if (one := getattr(each, "_average_model", None)) is not None]
            plan = replace(self.plan, averages=[*self.plan.averages, *kept])
            loader = trainer.train_dataloader
            self.report = plan.apply(pl_module, trainer.optimizers, stage=self.stage, loader=loader)
            for each in callbacks:
                if isinstance(each, EarlyStopping):  # the accuracy drops right after a rule
                    worst = float("inf") if each.mode == "min" else float("-inf")
                    each.wait_count, each.best_score = 0, each.best_score.new_tensor(worst)
        self.applied_at_stage = max(self.stage, self.applied_at_stage)

    def state_dict(self) -> dict[str, Any]:
        """The last stage that has begun."""
        return {"applied_at_stage": self.applied_at_stage}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What a checkpoint says."""
        self.applied_at_stage = int(state_dict["applied_at_stage"])
