"""Resets of last layers and of everything, and the control that re-estimates statistics."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from dashtheory.batchnorm import reestimated
from dashtheory.rules import UPGD, Learner, ResetFull, ResetLast, make_rule
from tests.oracles.shrink import chunks
from tests.rules.control_cases import Stage, batch_step, equal, run, tensors_of


@pytest.mark.parametrize("to", ["fresh", "own", "zero"])
@pytest.mark.parametrize("last", [1, 2])
def test_the_last_layers_begin_again_and_nothing_else_does(last: int, to: str) -> None:
    stage = Stage()
    stage.apply(ResetLast(last=last, to=to))
    names = ["8.weight", "8.bias", *(["6.weight", "6.bias"] if last == 2 else [])]
    origins: dict[str, Mapping[str, torch.Tensor]] = {
        "own": stage.start,
        "zero": {name: torch.zeros_like(stage.start[name]) for name in names},
        "fresh": dict(stage.fresh().model.named_parameters()),
    }
    stage.expect({name: origins[to][name].detach().numpy() for name in names})


def test_a_reset_weight_has_no_moments_and_no_steps_and_the_others_keep_theirs() -> None:
    stage = Stage()
    before = tensors_of(stage.learner.optimizer)
    learner, _ = stage.apply(ResetLast())
    after = tensors_of(learner.optimizer)
    model = stage.learner.model
    places = {name: str(place) for place, (name, _) in enumerate(model.named_parameters())}
    reset = {places["8.weight"], places["8.bias"]}
    for key, value in after.items():
        if key.split(" ")[0] in reset:
            assert not value.any(), key
            assert before[key].any()
        else:
            assert torch.equal(value, before[key]), key
    kept = Stage()
    before = tensors_of(kept.learner.optimizer)
    learner, _ = kept.apply(ResetLast(moments="kept"))
    assert equal(tensors_of(learner.optimizer), before)


class ScheduleFreeDescent(torch.optim.SGD):
    """Keeps z, from which it goes on, beside its momentum."""


def test_a_copy_of_the_weights_becomes_the_new_weights_whoever_keeps_it() -> None:
    stage = Stage()
    weight = stage.learner.model.get_parameter("8.weight")
    inner = ScheduleFreeDescent(stage.learner.model.parameters(), lr=0.1)
    inner.state[weight] = {"z": weight.detach().clone(), "momentum_buffer": torch.ones_like(weight)}
    outer = torch.optim.SGD(stage.learner.model.parameters(), lr=0.1)
    outer.optimizer = inner  # type: ignore[attr-defined]
    stage.learner = Learner(stage.learner.model, outer)
    stage.apply(ResetLast())
    assert torch.equal(inner.state[weight]["z"], weight)
    assert not inner.state[weight]["momentum_buffer"].any()


def test_a_counter_that_is_a_number_begins_again_too() -> None:
    stage = Stage()
    model = stage.learner.model
    optimizer = UPGD(model.parameters(), learning_rate=0.01, sigma=0)
    stage.learner = Learner(model, optimizer)
    for inputs, labels in chunks(stage.name):
        batch_step(stage.learner, inputs, labels)
    stage.apply(ResetLast())
    steps = {name: optimizer.state[value]["step"] for name, value in model.named_parameters()}
    assert steps == {name: 0 if name in ("8.weight", "8.bias") else 3 for name in steps}


def test_more_layers_than_there_are_cannot_be_reset() -> None:
    stage = Stage()
    with pytest.raises(ValueError, match=r"^last must be at most 4, the model's layers, got 5\. "):
        stage.apply(ResetLast(last=5))
    stage.expect({})


def test_one_fresh_last_layer_with_kept_moments_is_reset() -> None:
    ours, theirs = run(ResetLast(moments="kept"), "Adam"), run(make_rule("reset"), "Adam")
    for one, other in zip(ours, theirs, strict=True):
        assert one.metrics() == other.metrics()
        assert equal(one.learner.model.state_dict(), other.learner.model.state_dict())


def test_a_full_reset_to_fresh_weights_is_cold() -> None:
    ours, theirs = run(ResetFull(to="fresh"), "Adam"), run(make_rule("cold"), "Adam")
    assert [one.metrics() for one in ours] == [one.metrics() for one in theirs]
    assert equal(ours[-1].learner.model.state_dict(), theirs[-1].learner.model.state_dict())


def test_a_full_reset_goes_back_to_the_first_weights_and_buffers() -> None:
    stage = Stage()
    learner, _ = stage.apply(ResetFull())
    assert equal(learner.model.state_dict(), stage.first.model.state_dict())
    assert not learner.optimizer.state_dict()["state"]


def test_statistics_alone_are_estimated_again() -> None:
    stage = Stage()
    before = tensors_of(stage.learner.optimizer)
    learner, _ = stage.apply(make_rule("bn"))
    inputs = torch.cat([chunk[0] for chunk in chunks(stage.name)])
    assert equal(learner.model.state_dict(), reestimated(stage.twin, inputs).state_dict())
    assert not equal(learner.model.state_dict(), stage.twin.state_dict())
    assert equal(dict(learner.model.named_parameters()), dict(stage.twin.named_parameters()))
    assert equal(tensors_of(learner.optimizer), before)
    with pytest.raises(ValueError, match=r"^model must have batch normalization with running statistics, got"):
        Stage("attention").apply(make_rule("bn"))
