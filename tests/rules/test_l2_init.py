"""The penalty on the distance from the initial weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from dashtheory.rules import L2Init, make_rule, targets
from dashtheory.seeds import torch_stream
from tests.oracles.ablations import l2_init_by_hand
from tests.oracles.shrink import NETWORKS, entries, shrunk_parameters
from tests.rules.control_cases import Stage, equal, make_net, run, stages

# --------------------------------------------------------------------------------------------------- L2 Init


@pytest.mark.parametrize("form", ["authors", "textbook"])
@pytest.mark.parametrize("net", NETWORKS)
def test_l2_init_and_its_gradient_equal_those_derived_by_hand(net: str, form: str) -> None:
    stage = Stage(net)
    rule = L2Init(l2=0.3, form=form)
    state = {
        target.name: torch.randn(target.parameter.shape, dtype=torch.float64) for target in targets(stage.twin)
    }
    penalty = rule.penalty(stage.learner.model, state)
    assert penalty is not None
    start = {name: entries(value) for name, value in state.items()}
    for _ in range(2):  # the second time after a step
        value, slopes = l2_init_by_hand(stage.learner.model, start, l2=0.3, form=form)
        stage.learner.optimizer.zero_grad()
        found = penalty()
        found.backward()
        assert found.shape == ()
        assert float(found.detach()) == pytest.approx(value, rel=1e-12)
        for name, slope in slopes.items():
            gradient = stage.learner.model.get_parameter(name).grad
            assert gradient is not None
            np.testing.assert_allclose(gradient, slope, rtol=1e-11, atol=1e-13, err_msg=name)
        with_gradient = [p for p in stage.learner.model.parameters() if p.grad is not None]
        assert len(with_gradient) == len(slopes)
        stage.learner.optimizer.step()


@pytest.mark.parametrize("form", ["authors", "textbook"])
def test_l2_init_starts_at_zero_with_a_gradient_of_zero(form: str) -> None:
    stage = Stage()
    rule = L2Init(form=form)
    penalty = rule.penalty(stage.learner.model, rule.start(stage.learner))
    assert penalty is not None
    found = penalty()
    found.backward()
    assert found == 0
    for target in targets(stage.learner.model):
        assert target.parameter.grad is not None
        assert (target.parameter.grad == 0).all()
    with torch.no_grad():  # one layer off its start, the others on it: still finite
        stage.learner.model.get_parameter("0.bias").add_(1)
    stage.learner.optimizer.zero_grad()
    penalty().backward()
    for target in targets(stage.learner.model):
        assert target.parameter.grad is not None
        assert target.parameter.grad.isfinite().all()
        assert bool(target.parameter.grad.any()) == (target.name == "0.bias")


def test_l2_init_remembers_tensors_that_do_not_move_with_the_model() -> None:
    stage = Stage()
    state = L2Init().start(stage.learner)
    assert set(state) == {name for name, _, _ in shrunk_parameters(stage.twin)}
    with torch.no_grad():
        for parameter in stage.learner.model.parameters():
            parameter.add_(1)
    for name, value in state.items():
        assert isinstance(value, Tensor)
        assert not value.requires_grad
        assert torch.equal(value, stage.twin.get_parameter(name))


def test_l2_init_is_warm_between_stages_and_without_strength() -> None:
    stage = Stage()
    learner, report = stage.apply(L2Init())
    assert learner is stage.learner
    assert report is None
    stage.expect({})
    assert L2Init(l2=0).penalty(stage.learner.model, L2Init().start(stage.learner)) is None


def test_a_state_of_another_model_is_refused() -> None:
    stage = Stage()
    state = dict(L2Init().start(stage.learner))
    with pytest.raises(ValueError, match=r"^state must hold where 0.weight began, \(6, 2, 3, 3\), got none\. "):
        L2Init().penalty(stage.learner.model, {})
    state["8.bias"] = torch.zeros(4)
    with pytest.raises(ValueError, match=r"^state must hold where 8.bias began, \(3,\), got \(4,\)\. "):
        L2Init().penalty(stage.learner.model, state)


# ------------------------------------------------------------------------------- two stages, every optimizer


@pytest.mark.parametrize("optimizer", ["SGD with momentum", "Adam", "AdamW", "SAM"])
def test_the_penalty_holds_the_weights_back_in_every_stage(optimizer: str) -> None:
    def distances(l2: float) -> list[float]:
        found = []
        for result in stages(L2Init(l2=l2), optimizer):
            model = result.learner.model
            apart = [(model.get_parameter(name) - value).detach().norm() for name, value in result.state.items()]
            found.append(float(sum(apart)))
        return found

    free, held = distances(0), distances(0.1)
    assert held[0] < free[0]
    assert held[1] < free[1]


def test_l2_init_without_strength_is_warm_to_the_bit_and_its_start_is_the_first_initialization() -> None:
    first = make_net(torch_stream(0, "init", 1))
    nothing, warm, held = run(L2Init(l2=0), "Adam"), run(make_rule("warm"), "Adam"), run(L2Init(), "Adam")
    for a, b in zip(nothing, warm, strict=True):
        assert equal(a.learner.model.state_dict(), b.learner.model.state_dict())
        assert a.metrics() == b.metrics()
    for result in held:
        assert set(result.state) == {"0.weight", "0.bias", "4.weight", "4.bias"}
        assert all(torch.equal(value, first.get_parameter(name)) for name, value in result.state.items())
    assert warm[0].state == {}


def test_where_it_pulls_to_is_drawn_anew_after_every_step_if_wanted() -> None:
    stage = Stage()
    rule = L2Init(to="fresh", form="textbook", l2=0.5)
    state = rule.start(stage.learner)
    context = dataclasses.replace(stage.context, state=state)
    hook, penalty = rule.after_step(stage.learner, context), rule.penalty(stage.learner.model, state)
    assert hook is not None
    assert penalty is not None
    assert float(penalty().detach()) == 0
    generator = torch.Generator().manual_seed(5)  # of the context
    for step in (1, 2):
        hook.call(step)
        drawn = dict(stage.draw(generator).named_parameters())
        gaps = [(stage.learner.model.get_parameter(name) - drawn[name]).detach() for name in state]
        assert float(penalty().detach()) == pytest.approx(0.5 * sum(float(gap.square().sum()) for gap in gaps))
    assert L2Init().after_step(stage.learner, context) is None
