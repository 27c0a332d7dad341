"""Running averages of a network: who follows whom, when, and who is scored."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from dashtheory.evaluate import evaluate
from dashtheory.protocol import Task, TrainConfig, run_stages
from dashtheory.rules import EMA, Distill, HareTortoise, make_rule
from dashtheory.rules.averages import average_of, averaged, follower, said_by
from tests.oracles.shrink import NETWORKS, chunks
from tests.rules.control_cases import OPTIMIZERS, STREAM, Stage, equal, make_net

CONFIG = TrainConfig(batch_size=5, criterion="epochs", max_epochs=3)


def moved_(model: nn.Module) -> None:
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value))
        model.get_buffer("1.running_mean").add_(1)
        model.get_buffer("1.num_batches_tracked").add_(1)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.999, 1.0])
def test_an_average_is_its_recursion(momentum: float) -> None:
    model = Stage().learner.model
    state = average_of(model)
    expected = {name: value.clone() for name, value in state.items()}
    follow = follower(model, state, momentum)
    for _ in range(3):
        moved_(model)
        follow()
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                expected[name] = value.clone() if momentum < 1 else expected[name]
            elif momentum:
                expected[name] = momentum * expected[name] + (1 - momentum) * value
            else:
                expected[name] = value.clone()
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-14)
    if momentum in (0, 1):
        assert equal(state, expected)  # to the bit
    assert equal(averaged(model, state).state_dict(), state)


def test_an_average_of_what_stands_still_is_that() -> None:
    model = Stage().learner.model
    state = average_of(model)
    for _ in range(50):
        follower(model, state, 0.9)()
    assert equal(state, model.state_dict())


def test_after_a_reset_fast_is_slow_and_they_share_no_tensor() -> None:
    stage, rule = Stage(), HareTortoise(momentum=0.5, epochs=2)
    state = rule.start(stage.first)
    context = dataclasses.replace(stage.context, state=state, steps_per_epoch=3)
    hook, model = rule.after_step(stage.learner, context), stage.learner.model
    for step in range(1, 13):
        moved_(model)
        hook.call(step)
        assert equal(model.state_dict(), state) == (step % 6 == 0)
    ours, slow = dict(model.state_dict()), dict(state)
    assert all(ours[name].data_ptr() != slow[name].data_ptr() for name in slow)
    before = {name: value.clone() for name, value in state.items()}
    moved_(model)
    assert equal(state, before)
    assert rule.evaluated(model, state) is not model
    assert equal(rule.evaluated(model, state).state_dict(), state)
    assert HareTortoise(scored="fast").evaluated(model, state) is model


def test_a_stage_begins_with_the_slow_network_and_a_new_optimizer() -> None:
    stage = Stage()
    learner, _ = stage.apply(HareTortoise())
    assert equal(learner.model.state_dict(), stage.first.model.state_dict())
    assert stage.renewed == [learner.optimizer]


def test_averaged_weights_are_scored_and_training_is_that_of_warm() -> None:
    task = Task(make_model=make_net, make_optimizer=OPTIMIZERS["Adam"])
    ours, warm = (
        [
            (result.training, result.test, *copy.deepcopy((result.learner.model, dict(result.state))))
            for result in run_stages(STREAM, rule, task, CONFIG, seed=0)
        ]
        for rule in (EMA(momentum=0.9), make_rule("warm"))
    )
    for (training, test, model, state), (same, other, twin, _) in zip(ours, warm, strict=True):
        assert training == same
        assert equal(model.state_dict(), twin.state_dict())
        assert test != other
        model.load_state_dict(state)
        assert test == evaluate(model, STREAM.test)


@pytest.mark.parametrize("over", ["entries", "examples"])
def test_the_teacher_is_the_average_of_the_moment(over: str) -> None:
    stage, rule = Stage(), Distill(strength=0.5, momentum=0.5, over=over)
    state = rule.start(stage.first)
    context = dataclasses.replace(stage.context, state=state)
    model = stage.learner.model
    penalty, hook = rule.batch_penalty(model, context), rule.after_step(stage.learner, context)
    assert penalty is not None
    assert hook is not None
    inputs, targets = next(iter(chunks(stage.name)))
    for _ in range(2):
        teacher = averaged(stage.first.model, state).eval()
        assert float(penalty(inputs, targets, teacher(inputs)).detach()) == pytest.approx(0, abs=1e-12)
        logits = model(inputs)
        said, says = teacher(inputs).softmax(-1), logits.softmax(-1)
        whole: Tensor = (said * (said / says).log()).sum(-1).mean()
        expected = 0.5 * float(whole.detach()) / (3 if over == "entries" else 1)
        assert float(penalty(inputs, targets, logits).detach()) == pytest.approx(expected)
        hook.call(1)


@pytest.mark.parametrize("net", NETWORKS)
def test_of_any_network_also_one_with_tied_weights_the_average_speaks(net: str) -> None:
    stage = Stage(net)
    state = average_of(stage.first.model)
    say = said_by(stage.learner.model, state)
    inputs, _ = next(iter(chunks(net)))
    torch.testing.assert_close(say(inputs), stage.first.model.eval()(inputs).detach())
    follower(stage.learner.model, state, 0.0)()
    torch.testing.assert_close(say(inputs), stage.twin.eval()(inputs).detach())
