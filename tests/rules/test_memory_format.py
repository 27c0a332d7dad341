"""Every rule in two stages of training, with weights in the order of memory that GPUs like and in the usual."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dashtheory.rules import RULES, BatchPenalty, Learner, Rule, make_rule
from tests.oracles.shrink import chunks
from tests.rules.control_cases import Stage, batch_step

SOON: dict[str, dict[str, Any]] = {
    "redo": {"tau": 0.9, "every": 2},
    "regrama": {"tau": 0.9, "every": 2},
    "cbp": {"rho": 0.5, "maturity": 0},
    "snr": {"eta": 0.5, "update": 1},
    "cpr": {"r": 0.3, "every": 2},
    "swr_weights": {"share": 0.1, "every": 2},
    "hare_tortoise": {"momentum": 0.5},
    "ema": {"momentum": 0.5},
    "distill": {"momentum": 0.5},
    "clip": {"kappa": 0.5},
    "sp_steps": {"perturb": 0.01},
    "cchain": {"warmup": 1},
}
"""Options with which a rule does within two steps what it does by default much later."""
Numbers = dict[str, Tensor]


def two_stages(name: str, memory_format: torch.memory_format) -> Numbers:
    """All that two stages of two steps end with; before the second one the rule is applied."""
    torch.manual_seed(0)
    rule = make_rule(name, **SOON.get(name, {}))
    stage = Stage("even", rule, memory_format)
    learner, context = stage.learner, dataclasses.replace(stage.context, state=rule.start(stage.first))
    for number in (1, 2):
        torch.manual_seed(number)
        if number == 2:
            learner, _ = rule.apply(learner, context)
        take_steps(rule, learner, context, memory_format)
        context = dataclasses.replace(context, state=rule.finish(learner, context))
    inputs, _ = chunks("even")[0]
    scored = rule.evaluated(learner.model, context.state).eval()
    return numbers_of(learner, dict(context.state)) | {"logits": scored(inputs).detach()}


def take_steps(rule: Rule, learner: Learner, context: Any, memory_format: torch.memory_format) -> None:
    hook, penalty = rule.after_step(learner, context), rule.penalty(learner.model, context.state)
    of_batch = rule.batch_penalty(learner.model, context)
    terms = [*([] if of_batch is None else [of_batch]), *([] if penalty is None else [_without_batch(penalty)])]
    for step, (inputs, targets) in enumerate(chunks("even")[:2], start=1):
        batch_step(learner, inputs.to(memory_format=memory_format), targets, *terms)
        if hook is not None and step % hook.every == 0:
            hook.call(step)
    if hook is not None:
        hook.close()


def _without_batch(penalty: Callable[[], Tensor]) -> BatchPenalty:
    return lambda inputs, targets, logits: penalty()


def numbers_of(learner: Learner, state: Numbers) -> Numbers:
    """Weights, buffers, what the optimizer holds of each parameter, and what the rule remembers."""
    found = {key: value.detach().clone() for key, value in learner.model.state_dict().items()}
    for key, parameter in learner.model.named_parameters():
        held = learner.optimizer.state.get(parameter, {})
        found |= {f"{kind} of {key}": torch.as_tensor(value).clone() for kind, value in held.items()}
    sizes = [group["lr"] for group in learner.optimizer.param_groups]
    return found | {f"state {key}": value.clone() for key, value in state.items()} | {"lr": torch.tensor(sizes)}


@pytest.mark.parametrize("name", RULES)
def test_the_memory_format_changes_no_number(name: str) -> None:
    usual, last = (two_stages(name, one) for one in (torch.contiguous_format, torch.channels_last))
    assert usual.keys() == last.keys()
    assert last["0.weight"].is_contiguous(memory_format=torch.channels_last)
    for key, value in usual.items():  # a convolution adds up the same products in another order: no bits
        torch.testing.assert_close(last[key], value, rtol=1e-10, atol=1e-12, msg=key)


@pytest.mark.parametrize("name", [name for name in RULES if name != "warm"])
def test_what_is_looked_at_is_not_that_of_warm(name: str) -> None:
    warm, rule = (two_stages(one, torch.contiguous_format) for one in ("warm", name))
    assert warm.keys() != rule.keys() or any(
        warm[key].shape != rule[key].shape or not torch.equal(warm[key], rule[key]) for key in warm
    )


@pytest.mark.parametrize("name", RULES)
def test_so_does_what_it_does_between_stages_to_groups_and_single_pixels(name: str) -> None:
    """To a network that not all rules train: with kernels of groups, of one pixel, and that are no squares."""
    found = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        stage = Stage()
        stage.learner.model.to(memory_format=memory_format)  # type: ignore[call-overload]
        stage.first.model.to(memory_format=memory_format)  # type: ignore[call-overload]
        model = stage.apply(make_rule(name))[0].model
        found.append(dict(model.state_dict()))
        if not RULES[name].anew:
            assert model.get_parameter("0.weight").is_contiguous(memory_format=memory_format)
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-10, atol=1e-12, msg=key)
