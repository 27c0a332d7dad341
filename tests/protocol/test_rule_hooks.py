"""What a rule may do beside `apply`: in the loss of a batch, after steps, after a stage, to what is scored."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dashtheory.errors import Diverged
from dashtheory.protocol import (
    Checkpoints,
    FastEngine,
    MakeEngine,
    PlainEngine,
    Task,
    TrainConfig,
    Work,
    run_stages,
    train,
)
from dashtheory.rules import AfterStep, BatchPenalty, Context, Learner, RuleState, Warm, WhileTraining
from dashtheory.seeds import torch_stream
from tests.protocol.fast_cases import network, pictures, same
from tests.protocol.killed_run import network as small_network
from tests.protocol.killed_run import optimizer, stream
from tests.protocol.test_fast_engine import Recorder

CONFIG = TrainConfig(batch_size=16, criterion="epochs", max_epochs=3)


def trained(make: MakeEngine, hook: Callable[[Learner], AfterStep] | None, **options: Any) -> Learner:
    """39 pictures in batches of 16: 3 steps an epoch, the last of 7 pictures."""
    model = network()
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
    after = None if hook is None else hook(learner)
    train(
        learner,
        pictures(39),
        CONFIG,
        torch_stream(0, "order"),
        make_engine=make,
        after_step=after,
        **options,
    )
    return learner


# -------------------------------------------------------------------------------------------------- after steps


@pytest.mark.parametrize("every", [1, 2, 4, 10])
def test_a_hook_comes_after_every_so_many_steps_of_the_stage(every: int) -> None:
    def fast(work: Work) -> FastEngine:
        return FastEngine(work, Recorder())

    for make in (PlainEngine, fast):
        told: list[int] = []
        closed: list[int] = []
        hook = AfterStep(call=told.append, every=every, close=partial(closed.append, 1))
        trained(make, partial(_given, hook))
        assert told == list(range(every, 10, every))
        assert closed == [1]


def _given(hook: AfterStep, learner: Learner) -> AfterStep:
    return hook


def test_a_hook_changes_weights_between_steps_in_every_engine_alike() -> None:
    def shrink(learner: Learner) -> AfterStep:
        def call(step: int) -> None:
            with torch.no_grad():
                for parameter in learner.model.parameters():
                    parameter.mul_(1 - 0.01 * step)

        return AfterStep(call=call, every=2)

    plain = trained(PlainEngine, shrink)
    recorder = Recorder()
    assert same(plain.model, trained(lambda work: FastEngine(work, recorder), shrink).model)
    assert recorder.replays > 0
    assert not same(plain.model, trained(PlainEngine, None).model)


def test_steps_that_a_hook_looks_into_are_not_recorded() -> None:
    gradients: list[float] = []

    def look(learner: Learner) -> AfterStep:
        first = next(learner.model.parameters())

        def call(step: int) -> None:
            assert first.grad is not None
            gradients.append(float(first.grad.norm()))

        return AfterStep(call=call, recordable=False)

    recorder = Recorder()
    trained(lambda work: FastEngine(work, recorder), look)
    assert recorder.recorded == []
    fast, gradients[:] = list(gradients), []
    trained(PlainEngine, look)
    assert fast == gradients


def test_a_hook_is_closed_when_training_fails() -> None:
    closed: list[int] = []
    with pytest.raises(Diverged):
        trained(
            PlainEngine,
            lambda _: AfterStep(call=lambda step: None, close=lambda: closed.append(1)),
            loss_fn=lambda logits, targets: logits.sum() * torch.nan,
        )
    assert closed == [1]


def test_no_hook_comes_at_no_step() -> None:
    with pytest.raises(ValueError, match=r"^every must be an integer >= 1, got 0\. "):
        AfterStep(call=lambda step: None, every=0)


# ---------------------------------------------------------------------------------------------- a batch's penalty


def test_a_penalty_of_the_batch_is_minimized_and_not_scored() -> None:
    seen: list[tuple[int, int]] = []

    def penalty(inputs: Tensor, targets: Tensor, logits: Tensor) -> Tensor:
        seen.append((len(inputs), len(targets)))
        return 0.3 * logits.square().mean()

    def loss_fn(logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets) + 0.3 * logits.square().mean()

    recorder = Recorder()
    ours = trained(PlainEngine, None, batch_penalty=penalty)
    assert seen == [(16, 16), (16, 16), (7, 7)] * 3
    assert same(ours.model, trained(PlainEngine, None, loss_fn=loss_fn).model)
    assert same(ours.model, trained(lambda work: FastEngine(work, recorder), None, batch_penalty=penalty).model)


# -------------------------------------------------------------------------------------------------- runs of stages


@dataclass(frozen=True)
class Noted(WhileTraining):
    """Notes what is asked of it; counts steps in its state, and stages in a tensor that is replaced."""

    notes: list[str] = field(default_factory=list, compare=False)

    def start(self, learner: Learner) -> RuleState:
        """Both counts at zero."""
        self.notes.append("start")
        return {"steps": torch.zeros(()), "stages": torch.zeros(())}

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Note it."""
        self.notes.append("apply")
        return learner, None

    def penalty(self, model: nn.Module, state: RuleState) -> None:
        """Note it."""
        self.notes.append("penalty")

    def batch_penalty(self, model: nn.Module, context: Context) -> BatchPenalty:
        """Nothing, to the bit."""
        self.notes.append("batch")
        return lambda inputs, targets, logits: 0 * logits.sum()

    def after_step(self, learner: Learner, context: Context) -> AfterStep:
        """Count."""
        self.notes.append(f"steps of {context.steps_per_epoch}")

        def call(step: int) -> None:
            context.state["steps"].add_(1 + torch.rand((), generator=context.generator))

        return AfterStep(call=call)

    def finish(self, learner: Learner, context: Context) -> RuleState:
        """Count, in another tensor."""
        self.notes.append(f"finish {sum(len(inputs) for inputs, _ in context.chunks())}")  # type: ignore[arg-type,misc]
        return {**context.state, "stages": context.state["stages"] + 1}

    def evaluated(self, model: nn.Module, state: RuleState) -> nn.Module:
        """A copy that always says 1."""
        self.notes.append("evaluated")
        model = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in model[-1].parameters():  # type: ignore[index]
                parameter.zero_()
            model[-1].bias[1] = 1  # type: ignore[index]
        return model


TASK = Task(make_model=small_network, make_optimizer=optimizer)
SHORT = TrainConfig(batch_size=10, criterion="epochs", max_epochs=2)


def test_a_run_asks_in_order_and_scores_what_the_rule_gives() -> None:
    rule = Noted()
    results = list(run_stages(stream(), rule, TASK, SHORT, seed=1))
    first = ["penalty", "batch", "steps of 3", "finish 24", "evaluated"]
    second = ["apply", "penalty", "batch", "steps of 5", "finish 48", "evaluated"]
    assert rule.notes[:12] == ["start", *first, *second]
    assert [float(result.state["stages"]) for result in results] == [1, 2, 3, 4, 5]
    ones = float((stream().test.targets == 1).float().mean())
    assert all(result.test.accuracy == pytest.approx(ones) for result in results)
    warm = list(run_stages(stream(), Warm(), TASK, SHORT, seed=1))
    for ours, theirs in zip(results, warm, strict=True):
        assert same(ours.learner.model, theirs.learner.model)
        assert ours.training == theirs.training


def test_what_it_remembers_survives_a_stop(tmp_path: Path) -> None:
    checkpoints, finished, states = Checkpoints(tmp_path, {}), [], []
    for result in run_stages(stream(), Noted(), TASK, SHORT, seed=1):
        finished.append(result.metrics())
        states.append({name: float(value) for name, value in result.state.items()})
        if result.stage <= 3:
            checkpoints.save(result.stage, result.learner, finished, result.state)
    resumed = run_stages(stream(), Noted(), TASK, SHORT, seed=1, resume=checkpoints.load(3))
    again = [{name: float(value) for name, value in result.state.items()} for result in resumed]
    assert again == states[3:]
    assert states[4]["steps"] > states[3]["steps"] > 0
