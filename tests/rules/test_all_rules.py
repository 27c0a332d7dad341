"""Laws of every rule of the package; a new rule is held to them by being in the registry."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dashtheory.protocol import Task, run_stages
from dashtheory.rules import MOMENTS, RULES, BatchPenalty, Learner, Rule, from_the_start, make_rule, rule_options
from tests.oracles.shrink import NETWORKS, chunks
from tests.rules.control_cases import (
    CONFIG,
    IN_PLACE,
    STREAM,
    Stage,
    batch_step,
    equal,
    run,
    task_for,
    tensors_of,
)

IN_THE_LOSS = [name for name in RULES if "loss" in RULES[name].acts]
INERT = [name for name in RULES if RULES[name].inert]
ON_UNITS = ("redo", "regrama", "cbp", "snr", "cpr")
OPTIONS = [(name, option) for name in RULES for option in rule_options(name, ablations=True)]


# ---------------------------------------------------------------------------------- how it is written


@pytest.mark.parametrize("name", RULES)
def test_it_is_a_value_that_says_what_it_does(name: str) -> None:
    kind = RULES[name]
    assert kind.name == name
    rule = make_rule(name)
    assert rule == make_rule(name)
    for field in dataclasses.fields(cast("Any", rule)):
        assert f"{field.name}:" in (kind.__doc__ or ""), f"{name} does not tell of {field.name}"
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(rule, field.name, getattr(rule, field.name))
    told = f"{kind.__doc__} {inspect.getmodule(kind).__doc__}"
    assert any(word in told for word in ("arXiv", "Source", "ontrol")), "no source"


def test_the_page_of_remedies_lists_every_rule_with_where_it_acts() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "remedies.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `") and line.count("|") == 4]
    for name, kind in RULES.items():
        (row,) = (row for row in rows[:30] if f"`{name}`" in row.split("|")[1])
        if set(kind.acts) - {"between", "optimizer"}:
            assert all(moment in row.split("|")[3] for moment in kind.acts), name


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_what_is_no_value_of_an_option_is_refused_in_one_line(name: str, option: str) -> None:
    with pytest.raises(ValueError, match=rf"^({option}|rule) must [^\n]+$"):
        make_rule(name, **{option: b"no value"})


@pytest.mark.parametrize("name", RULES)
def test_where_it_acts_is_what_it_says(name: str) -> None:
    kind = RULES[name]
    assert set(kind.acts) <= set(MOMENTS)

    def has(*methods: str) -> bool:
        return any(getattr(kind, method) is not getattr(Rule, method) for method in methods)

    assert has("penalty", "batch_penalty") == ("loss" in kind.acts)
    assert has("after_step") == ("steps" in kind.acts)
    assert has("evaluated") == ("evaluation" in kind.acts)
    assert has("adapted") == ("network" in kind.acts)
    assert not has("optimizer_for") or "optimizer" in kind.acts
    rule = make_rule(name)
    assert from_the_start(rule) == has("adapted", "optimizer_for")
    stage = Stage(rule=rule)
    before = copy.deepcopy(stage.learner.model.state_dict())
    learner, _ = stage.apply(rule)
    assert equal(before, learner.model.state_dict()) == ("between" not in kind.acts)


# ---------------------------------------------------------------------------------- between stages


@pytest.mark.parametrize("name", RULES)
def test_it_draws_from_no_global_stream_and_changes_no_gradient_nor_mode(name: str) -> None:
    stage = Stage(rule=make_rule(name))
    model = stage.learner.model
    model.get_submodule("1").eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    modes, state = {key: module.training for key, module in model.named_modules()}, torch.get_rng_state()
    names = set(dict(model.named_parameters()))
    numbers = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    stage.apply(make_rule(name))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == numbers  # type: ignore[index]  # noqa: NPY002
    assert all(model.get_submodule(key).training == mode for key, mode in modes.items())
    for key, parameter in model.named_parameters():
        assert key not in names or (parameter.grad is not None and (parameter.grad == 3).all())


@pytest.mark.parametrize("name", [name for name in RULES if not RULES[name].anew])
def test_frozen_parameters_keep_their_bits(name: str) -> None:
    stage = Stage()
    for learner in (stage.learner, stage.first):
        for key in ("0.weight", "8.weight"):
            learner.model.get_parameter(key).requires_grad_(False)
    frozen = [stage.learner.model.get_parameter(key) for key in ("0.weight", "8.weight")]
    bits = [value.detach().clone() for value in frozen]
    if name == "inject":  # its head would be frozen
        with pytest.raises(ValueError, match=r"^layer must be a head with weights of its own, all trained"):
            stage.apply(make_rule(name))
        return
    learner, _ = stage.apply(make_rule(name))
    assert all(torch.equal(a, b) for a, b in zip(frozen, bits, strict=True))
    assert not any(learner.model.get_parameter(key).requires_grad for key in ("0.weight", "8.weight"))


@pytest.mark.parametrize("name", RULES)
def test_the_optimizer_holds_what_is_trained(name: str) -> None:
    rule = make_rule(name)
    learner, _ = Stage(rule=rule).apply(rule)
    assert _held(learner) == _trained(learner)
    for result in run_stages(STREAM, rule, task_for(rule, "Adam"), CONFIG, seed=0):
        assert _held(result.learner) == _trained(result.learner)


def _held(learner: Learner) -> list[int]:
    return sorted(id(value) for group in learner.optimizer.param_groups for value in group["params"])


def _trained(learner: Learner) -> list[int]:
    return sorted(id(value) for value in learner.model.parameters() if value.requires_grad)


@pytest.mark.parametrize("name", [name for name in IN_PLACE if name != "norm_matched"])
def test_its_norms_alone_can_be_had_as_a_control(name: str) -> None:
    norms = []
    for rule in (make_rule(name), make_rule("norm_matched", of=name)):
        torch.manual_seed(0)
        model = Stage().apply(rule)[0].model
        norms.append([float(value.detach().norm()) for value in model.parameters()])
    assert norms[0] == pytest.approx(norms[1], rel=1e-9)


# ---------------------------------------------------------------------------------- whole runs


@pytest.mark.parametrize("name", INERT)
def test_its_inert_setting_is_warm_to_the_bit(name: str) -> None:
    rule = make_rule(name, **RULES[name].inert)
    task = task_for(rule, "Adam")
    for ours, warm in zip(_course(rule, task), _course(make_rule("warm"), task), strict=True):
        assert ours[0] == warm[0]
        assert equal(ours[1], warm[1])
        assert equal(ours[2], warm[2])


def _course(rule: Rule, task: Task) -> list[tuple[dict[str, float], dict[str, Tensor], dict[str, Tensor]]]:
    """Metrics, weights and the optimizer's state after each stage."""
    found = []
    for result in run_stages(STREAM, rule, task, CONFIG, seed=0):
        weights = {key: value.clone() for key, value in result.learner.model.state_dict().items()}
        numbers = {
            key: value for key, value in result.metrics().items() if key not in ("mean_scale", "share_clamped")
        }
        found.append((numbers, weights, tensors_of(result.learner.optimizer)))
    return found


@pytest.mark.parametrize("name", RULES)
def test_a_run_repeats_whatever_the_global_streams(name: str) -> None:
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        found.append(run(make_rule(name), "SGD with momentum" if name == "rewarm" else "Adam"))
    for ours, again in zip(*found, strict=True):
        assert ours.metrics() == again.metrics()
        assert equal(ours.learner.model.state_dict(), again.learner.model.state_dict())
        assert equal(ours.state, again.state)


# ---------------------------------------------------------------------------------- in the loss


def _terms(rule: Rule, stage: Stage) -> Callable[[], Tensor]:
    """All that the rule adds to the loss of the first chunk, in its second stage."""
    model = stage.learner.model
    inputs, targets = next(iter(chunks(stage.name)))
    context = dataclasses.replace(stage.context, state=rule.start(stage.first))
    hook = rule.after_step(stage.learner, context)
    if hook is not None:
        cross_entropy(model(inputs), targets).backward()
        stage.learner.optimizer.step()
        hook.call(1)
        hook.close()
    state = rule.finish(stage.learner, context)
    with torch.no_grad():  # a step, so that nothing is where it was
        for index, parameter in enumerate(model.parameters()):
            parameter.mul_(1 + 0.1 / (index + 1)).add_(0.01)
    context = dataclasses.replace(stage.context, state=state)
    penalty, of_batch = rule.penalty(model, state), rule.batch_penalty(model, context)

    def total() -> Tensor:
        found = torch.zeros((), dtype=torch.float64)
        found = found if penalty is None else found + penalty()
        return found if of_batch is None else found + of_batch(inputs, targets, model(inputs))

    return total


@pytest.mark.parametrize("name", IN_THE_LOSS)
def test_its_penalty_is_positive_after_a_step_and_has_the_slope_of_finite_differences(name: str) -> None:
    stage = Stage()
    stage.learner.model.eval()
    total = _terms(make_rule(name), stage)
    for _ in range(200):  # until what is iterated from call to call is there
        total()
    parameters = list(stage.learner.model.parameters())
    kept = {key: value.clone() for key, value in stage.learner.model.state_dict().items()}
    value = total()
    assert value.shape == ()
    assert float(value.detach()) > 0
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(one.shape, generator=generator, dtype=torch.float64) for one in parameters]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)
    sides = []
    for size in (1e-6, -1e-6):
        with torch.no_grad():
            for one, direction in zip(parameters, directions, strict=True):
                one.add_(direction, alpha=size)
            sides.append(float(total().detach()))
            for one, direction in zip(parameters, directions, strict=True):
                one.add_(direction, alpha=-size)
    assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(
        slope, rel=1e-3, abs=1e-9
    )  # sorted entries may change places
    assert all(torch.allclose(value, kept[key]) for key, value in stage.learner.model.state_dict().items())


@pytest.mark.parametrize("name", IN_THE_LOSS)
def test_its_penalty_at_the_beginning_has_no_slope_that_is_no_number(name: str) -> None:
    stage, rule = Stage(), make_rule(name)
    penalty = rule.penalty(stage.first.model, rule.start(stage.first))
    if penalty is not None:
        found = penalty()
        gradients: Any = torch.autograd.grad(found, list(stage.first.model.parameters()), allow_unused=True)
        assert bool(found.isfinite())
        assert all(one is None or bool(one.isfinite().all()) for one in gradients)


# ---------------------------------------------------------------------------------- any network


@pytest.mark.parametrize("name", RULES)
def test_it_trains_any_network_or_refuses_it_at_once(name: str) -> None:
    refused = [net for net in NETWORKS if not _trains(name, net)]
    picky = (
        "proportional",
        "rewarm",
        "bn",
        "inject",
        *ON_UNITS,
    )  # the only ones that ask something of the network
    if name not in picky and "network" not in RULES[name].acts:
        assert refused == []
    assert len(refused) < len(NETWORKS)


def _without_batch(penalty: Callable[[], Tensor]) -> BatchPenalty:
    return lambda inputs, targets, logits: penalty()


def _trains(name: str, net: str) -> bool:
    """Two stages of a rule, step by step; weights stay finite, and no network is refused halfway."""
    rule = make_rule(name)
    try:
        stage = Stage(net, rule)
        context = dataclasses.replace(stage.context, state=rule.start(stage.first))
        learner, _ = rule.apply(stage.learner, context)
    except ValueError:
        return False
    model = learner.model
    for _ in range(2):
        hook, penalty = rule.after_step(learner, context), rule.penalty(model, context.state)
        of_batch = rule.batch_penalty(model, context)
        for step, (inputs, targets) in enumerate(chunks(stage.name), start=1):
            terms = [] if of_batch is None else [of_batch]
            if penalty is not None:
                terms.append(_without_batch(penalty))
            batch_step(learner, inputs, targets, *terms)
            if hook is not None and step % hook.every == 0:
                hook.call(step)
        context = dataclasses.replace(context, state=rule.finish(learner, context))
    logits = rule.evaluated(model, context.state)(inputs)
    assert bool(logits.isfinite().all())
    assert all(bool(value.isfinite().all()) for value in model.parameters())
    return True
