"""What "shrink and perturb" means by who says it: formulas, and how the forms convert into each other."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor

from dashtheory.protocol import Task, run_stages
from dashtheory.rules import (
    MEANINGS,
    ShrinkAll,
    ShrinkFresh,
    ShrinkInit,
    ShrinkSteps,
    make_rule,
    parse_spec,
    targets,
)
from dashtheory.seeds import torch_stream
from tests.rules.control_cases import CONFIG, OPTIMIZERS, STREAM, Stage, equal, make_net, run


def test_every_meaning_is_a_rule_that_can_be_made() -> None:
    assert len(MEANINGS) == 11
    for text in MEANINGS.values():
        spec = parse_spec(text)
        assert spec.rule.name == spec.name


@pytest.mark.parametrize("c", [0.0, 0.3, 0.8, 1.0])
def test_towards_the_start_is_its_formula_on_all_that_is_trained(c: float) -> None:
    stage = Stage()
    stage.apply(ShrinkInit(c=c))
    assert len(stage.renewed) == 1
    stage.expect(
        {
            name: ((1 - c) * value.detach() + c * stage.start[name]).numpy()
            for name, value in stage.twin.named_parameters()
        }
    )
    if c == 1:  # a reset of the weights to the bit
        assert all(torch.equal(value, stage.start[name]) for name, value in stage.learner.model.named_parameters())


def test_linear_layers_may_begin_again_as_in_the_dqn_of_fire() -> None:
    stage = Stage()
    stage.apply(ShrinkInit(c=0.8, linear=1, optimizer="kept"))
    assert not stage.renewed
    for name, value in stage.learner.model.named_parameters():
        c = 1.0 if name.startswith("8.") else 0.8
        expected = (1 - c) * stage.twin.get_parameter(name) + c * stage.start[name]
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14)


def test_ash_and_adams_with_shrink_one_minus_c_and_perturb_c_is_the_same_mix() -> None:
    one, other = Stage(), Stage()
    other.learner.model.load_state_dict(one.learner.model.state_dict())
    one.apply(ShrinkInit(c=0.7, to="fresh"))
    other.apply(ShrinkFresh(shrink=1 - 0.7, perturb=0.7))
    for (name, value), again in zip(
        one.learner.model.named_parameters(), other.learner.model.parameters(), strict=True
    ):
        torch.testing.assert_close(value, again, rtol=1e-12, atol=1e-14, msg=name)


def test_noise_on_all_has_the_expected_square() -> None:
    stage = Stage()
    before = {name: value.detach().clone() for name, value in stage.twin.named_parameters()}
    stage.apply(ShrinkAll(shrink=0.5, perturb=0.2))
    noise = torch.cat(
        [(value - 0.5 * before[name]).detach().flatten() for name, value in stage.learner.model.named_parameters()]
    )
    assert float(noise.square().mean()) == pytest.approx(0.04, rel=0.2)
    assert float(noise.abs().min()) > 0  # norm layers too


# ------------------------------------------------------------------------------------------------- at every step


def stepped(rule: ShrinkSteps, number: int = 3, rate: float = 0.01) -> tuple[Stage, dict[str, Tensor]]:
    """What so many calls make of the weights, without any training between them."""
    stage = Stage()
    for group in stage.learner.optimizer.param_groups:
        group["lr"] = rate
    context = dataclasses.replace(stage.context, state=rule.start(stage.first))
    hook = rule.after_step(stage.learner, context)
    assert hook is not None
    for step in range(1, number + 1):
        hook.call(step)
    return stage, {name: value.detach() for name, value in stage.learner.model.named_parameters()}


@pytest.mark.parametrize("by_rate", [True, False])
def test_steps_towards_the_start_are_their_formula(by_rate: bool) -> None:
    stage, after = stepped(ShrinkSteps(shrink=0.9, perturb=0.2, of="own", by_rate=by_rate), rate=0.5)
    keep, add = (0.95, 0.1) if by_rate else (0.9, 0.2)
    for name, value in stage.twin.named_parameters():
        expected = value.detach()
        for _ in range(3):
            expected = keep * expected + add * stage.start[name]
        torch.testing.assert_close(after[name], expected, rtol=1e-12, atol=1e-14)


def test_noise_of_steps_is_new_at_every_step_and_on_layers_alone() -> None:
    stage, once = stepped(ShrinkSteps(perturb=0.1), 1)
    torch.manual_seed(0)
    noise = {target.name for target in targets(stage.twin)}
    moved = {name for name, value in stage.twin.named_parameters() if not torch.equal(value, once[name])}
    assert moved == noise
    _, often = stepped(ShrinkSteps(perturb=0.1), 100)
    changes = torch.cat([(often[name] - once[name]).flatten() for name in moved])
    assert 0.5 < float(changes.std()) < 2.0  # near 0.1 sqrt(100), where one draw repeated would give 10


def test_fresh_weights_are_new_at_every_step() -> None:
    drawn: list[Tensor] = []
    rule, stage = ShrinkSteps(shrink=0.0, perturb=1.0, of="fresh"), Stage()
    hook = rule.after_step(stage.learner, stage.context)
    assert hook is not None
    for step in (1, 2):
        hook.call(step)
        drawn.append(stage.learner.model.get_parameter("3.weight").detach().clone())
    assert not torch.equal(*drawn)
    again = copy.deepcopy(Stage().context)
    again.generator.manual_seed(5)
    torch.testing.assert_close(drawn[0], again.draw(again.generator).get_parameter("3.weight").detach())


def test_of_a_run_with_reset_weights_nothing_is_left_of_the_stage_before() -> None:
    """C = 1 begins every stage at the run's first weights; batch statistics go on."""
    task = Task(make_model=make_net, make_optimizer=OPTIMIZERS["SGD with momentum"])
    first = make_net(torch_stream(0, "init", 1))
    seen = [result.state for result in run_stages(STREAM, ShrinkInit(c=1.0), task, CONFIG, seed=0)]
    assert all(equal(seen[0], state) for state in seen)
    assert all(torch.equal(seen[0][name], value) for name, value in first.named_parameters())
    assert run(make_rule("sp_steps"), "Adam")[0].training.steps > 0
