"""A rule at the start of a skorch fit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from skorch.callbacks import Callback, LoadInitState

from dashtheory._check import fail
from dashtheory.adapters.acting import refuse_step_sizes
from dashtheory.adapters.core import StageReport, StageRule
from dashtheory.adapters.stages import checked_stage, is_due
from dashtheory.seeds import untouched_streams

KEY = "event_stage"
"""Column of the net's history with the stage of every epoch."""


class SkorchRule(Callback):
    """Apply a rule when a warm-started net fits again, once a stage.

        net = NeuralNetClassifier(..., warm_start=True, callbacks=[("rule", SkorchRule(plan, stage=1))])
        net.fit(X_1, y_1)
        net.set_params(callbacks__rule__stage=2).fit(X_2, y_2)

    The hook is `on_train_begin`, which has all data of the fit; those of its validation split are left out. Which
    stage has had its rule stands in the net's history, so in whatever keeps that; a `LoadInitState` must come
    before this callback. Without a `loss_fn` the loss is that of the net.

    Args:
        plan: what is done. Without chunks the data of the fit are one chunk.
        stage: of the data: 1 for the first (nothing is applied), 2 for the next, ...

    Attributes:
        report_: of the last rule that was applied; None before.
    """

    def __init__(self, plan: StageRule, stage: int) -> None:
        self.plan, self.stage = plan, stage

    def initialize(self) -> SkorchRule:
        """Begin without a report."""
        refuse_step_sizes(self.plan.made())
        self.report_: StageReport | None = None
        self.applied_ = 0
        return self

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:  # noqa: N803
        """Apply the rule if this stage has not had it."""
        callbacks = [one for _, one in net.callbacks_]
        if any(isinstance(one, LoadInitState) for one in callbacks[callbacks.index(self) :]):
            fail(
                "callbacks", "must have LoadInitState before the rule", "it after", "Or the rule would be undone."
            )
        stage = checked_stage(self.stage)
        told = [row.get(KEY, 0) for row in net.history] if net.history else []
        self.applied_ = max([self.applied_, *told])
        if is_due(stage, self.applied_):
            with untouched_streams():  # a random split is drawn again by the fit, and must be the same
                training, _ = net.get_split_datasets(X, y)
            loader = net.get_iterator(training, training=False)
            loss_fn = self.plan.loss_fn or partial(net.get_loss, training=False)
            called = _called_by_name if isinstance(X, dict) else None
            plan = replace(self.plan, loss_fn=loss_fn, forward=self.plan.forward or called)
            self.report_ = plan.apply(net.module_, [net.optimizer_], stage=stage, loader=loader)
        self.applied_ = max(stage, self.applied_)

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Write the stage down, where every checkpoint has it."""
        net.history.record(KEY, self.applied_)


def _called_by_name(model: Any, inputs: Any) -> Any:
    return model(**inputs)
