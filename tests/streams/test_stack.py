"""The stacked trainer against autograd and torch's optimizers, and each replica against itself alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dashtheory.rules import L2Init, Learner
from dashtheory.streams import Base, NetworkStack, StreamConfig, StreamTraining, run_stream
from dashtheory.streams.steps import OptimizerState, Pull, Stepper
from tests.streams.toys import toy_base

SIZES = (5, 7, 6, 3)


def drawn(stack: NetworkStack, seeds: int, replicas: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.stack(
        [torch.stack([stack.draw(generator).double() for _ in range(replicas)]) for _ in range(seeds)]
    )


def data(stack: NetworkStack, seeds: int, number: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(seeds, number, stack.sizes[0], generator=generator, dtype=torch.float64)
    if stack.regression:
        shape = (seeds, number, stack.sizes[-1])
        return inputs, torch.randn(shape, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(stack.sizes[-1], (seeds, number), generator=generator)


@pytest.mark.parametrize("regression", [False, True])
def test_gradients_by_hand_are_those_of_autograd(regression: bool) -> None:
    stack = NetworkStack(SIZES, regression)
    flat, (inputs, targets) = drawn(stack, 2, 3), data(stack, 2, 8)
    into = torch.full_like(flat, torch.nan)
    outputs = stack.gradient_(flat, inputs, targets, into).view(2, 3, 8, -1)
    for seed, replica in [(0, 0), (0, 2), (1, 1)]:
        module = stack.as_module(flat[seed, replica])
        found = module(inputs[seed])
        stack.loss(found, targets[seed]).backward()
        expected = torch.cat([value.grad.reshape(-1) for value in module.parameters()])  # type: ignore[union-attr]
        assert torch.allclose(into[seed, replica], expected, rtol=1e-10, atol=1e-12)
        assert torch.allclose(outputs[seed, replica], found, rtol=1e-10)
        assert torch.equal(stack.from_module(module), flat[seed, replica])


def torch_steps(
    stack: NetworkStack, numbers: Tensor, make: Any, batches: Sequence[Any], rule: L2Init | None
) -> Tensor:
    module = stack.as_module(numbers)
    optimizer = make(module.parameters())
    learner = Learner(module, optimizer)
    penalty = None if rule is None else rule.penalty(module, rule.start(learner))
    for inputs, targets in batches:
        optimizer.zero_grad()
        loss = functional.cross_entropy(module(inputs), targets)
        (loss if penalty is None else loss + penalty()).backward()
        optimizer.step()
    return stack.from_module(module)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_are_those_of_torch_with_decay_and_every_form_of_l2_init(optimizer: str) -> None:
    stack = NetworkStack(SIZES)
    forms = ("", "textbook", "authors", "norm")
    rates, decays = (0.05, 0.02, 0.03, 0.01), (0.1, 0.0, 0.0, 0.2)
    flat = drawn(stack, 2, 4)
    start, (inputs, targets) = flat.clone(), data(stack, 2, 20)
    pull = Pull(strength=torch.tensor([0.0, 0.3, 0.2, 0.1]), forms=forms, start=start)
    momentum = 0.9 if optimizer == "sgd" else 0.0
    stepper = Stepper(optimizer=optimizer, learning_rate=rates, weight_decay=decays, momentum=momentum, pull=pull)
    state, slope = OptimizerState.zero(flat, optimizer), torch.empty_like(flat)
    for batch in range(5):
        part = slice(4 * batch, 4 * batch + 4)
        stack.gradient_(flat, inputs[:, part], targets[:, part], slope)
        stepper.step_(flat, slope, state, stack)
    for replica, form in enumerate(forms):
        kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
        options: dict[str, Any] = {"lr": rates[replica], "weight_decay": decays[replica]}
        options |= {"momentum": momentum} if optimizer == "sgd" else {}
        rule = L2Init(l2=float(pull.strength[replica]), form=form) if form else None
        batches = [(inputs[1, 4 * b : 4 * b + 4], targets[1, 4 * b : 4 * b + 4]) for b in range(5)]
        expected = torch_steps(stack, start[1, replica], lambda p, k=kind, o=options: k(p, **o), batches, rule)
        assert torch.allclose(flat[1, replica], expected, rtol=1e-6, atol=1e-8), form


def test_a_renewed_optimizer_counts_from_zero_for_one_network_alone() -> None:
    stack = NetworkStack(SIZES)
    flat = drawn(stack, 1, 2)
    state, slope = OptimizerState.zero(flat, "adam"), torch.ones_like(flat)
    stepper = Stepper(optimizer="adam", learning_rate=(0.1, 0.1), weight_decay=(0.0, 0.0))
    for _ in range(3):
        stepper.step_(flat, slope.fill_(1.0), state, stack)
    state.renew_(0, 1)
    before = flat.clone()
    stepper.step_(flat, slope.fill_(1.0), state, stack)
    assert state.count[0, :, 0].tolist() == [4, 1]
    assert torch.allclose(before - flat, torch.full_like(flat, 0.1))  # equal gradients: every step is the rate


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_replica_in_company_equals_the_same_replica_alone(optimizer: str) -> None:
    config = StreamConfig(kind="label_permuted", num_tasks=3, task_size=30)
    training = StreamTraining(widths=(8, 6), optimizer=optimizer, learning_rate=0.02, batch_size=7, probe=10)
    rules = ("warm", "sp", "dash", "l2_init:l2=0.01", "warm:weight_decay=0.01", "warm_rm")
    base: Base = toy_base()
    keys = ["rule", "seed", "stage", "metric"]
    together = run_stream(config, training, rules, (3, 1), base=base).set_index(keys)["value"]
    for rule in rules:
        alone = run_stream(config, training, (rule,), (1,), base=base).set_index(keys)["value"]
        gap = (together.loc[alone.index] - alone).abs()
        assert gap.max() < 1e-4, (rule, gap.idxmax())
