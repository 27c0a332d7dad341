"""What DASH must leave as it was: buffers, modes, random streams, gradients, optimizers, inputs."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dashtheory.rules import dash_, smoothed_descent
from tests.oracles.shrink import chunks, network
from tests.rules.dash_cases import equal_bits, weights_of


@pytest.fixture(params=[False, True], ids=["evaluation pass", "training pass"])
def training(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_buffers_stay_to_the_bit(training: bool) -> None:
    model = network("convolutions").train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    places = {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    dash_(model, chunks("convolutions"), functional.cross_entropy, training=training)
    assert "1.running_var" in before
    assert "1.num_batches_tracked" in before
    assert equal_bits(before, dict(model.named_buffers()))
    assert places == {name: buffer.data_ptr() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize("modes", ["training", "evaluation", "mixed"])
def test_each_submodule_keeps_its_mode(modes: str, training: bool) -> None:
    model = network("convolutions").train(modes == "training")
    if modes == "mixed":
        for index in (1, 4, 8):
            model.get_submodule(str(index)).train()
    before = [module.training for module in model.modules()]
    dash_(model, chunks("convolutions"), functional.cross_entropy, training=training)
    assert [module.training for module in model.modules()] == before


def test_mixed_modes_do_not_reach_the_gradient_pass(training: bool) -> None:
    model = network("perceptron").train()
    mixed = copy.deepcopy(model).eval()
    mixed.get_submodule("3").train()
    for candidate in (model, mixed):
        torch.manual_seed(3)
        dash_(candidate, chunks("perceptron"), functional.cross_entropy, training=training)
    assert equal_bits(weights_of(model), weights_of(mixed))


def test_global_random_streams_stay_where_they_were(training: bool) -> None:
    model, data = network("perceptron"), chunks("perceptron")
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  (the global stream is what is watched)
    states = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    dash_(model, data, functional.cross_entropy, training=training)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert repr(np.random.get_state()) == states[2]  # noqa: NPY002


def test_dropout_in_training_mode_draws_from_the_state_of_the_global_stream() -> None:
    model, data = network("perceptron"), chunks("perceptron")
    cosines = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        report = dash_(copy.deepcopy(model), data, functional.cross_entropy, training=True)
        cosines.append(report["0.weight"].cosines)
    assert torch.equal(cosines[0], cosines[1])
    assert not torch.equal(cosines[0], cosines[2])


def test_a_missing_grad_stays_missing_and_an_existing_one_keeps_its_bits(training: bool) -> None:
    model = network("perceptron")
    model.get_parameter("0.weight").grad = torch.full((6, 4), 0.125, dtype=torch.float64)
    grads = [value.grad for value in model.parameters()]
    dash_(model, chunks("perceptron"), functional.cross_entropy, training=training)
    assert all(value.grad is grad for value, grad in zip(model.parameters(), grads, strict=True))
    assert [grad.unique().tolist() for grad in grads if grad is not None] == [[0.125]]


def test_parameters_stay_the_same_objects_in_the_same_place() -> None:
    model = network("convolutions")
    before = [(id(value), value.data_ptr(), value.is_leaf) for value in model.parameters()]
    dash_(model, chunks("convolutions"), functional.cross_entropy)
    assert [(id(value), value.data_ptr(), value.is_leaf) for value in model.parameters()] == before


def test_requires_grad_flags_stay() -> None:
    model = network("perceptron")
    model.get_submodule("0").requires_grad_(False)
    before = [value.requires_grad for value in model.parameters()]
    dash_(model, chunks("perceptron"), functional.cross_entropy)
    assert [value.requires_grad for value in model.parameters()] == before
    assert {True, False} == set(before)


def test_optimizer_state_stays_to_the_bit_and_training_goes_on() -> None:
    model, data = network("perceptron", torch.float32), chunks("perceptron", 3, torch.float32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    def train(num_steps: int) -> list[float]:
        model.train()
        losses = []
        for step in range(num_steps):
            inputs, labels = data[step % len(data)]
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    @torch.no_grad()
    def loss_without_dropout() -> float:
        model.eval()
        return float(np.mean([functional.cross_entropy(model(x), y).item() for x, y in data]))

    train(30)
    for _ in range(3):
        state = copy.deepcopy(optimizer.state_dict())
        report = dash_(model, data, functional.cross_entropy)
        assert report.mean_scale < 1
        after = optimizer.state_dict()
        assert state["param_groups"] == after["param_groups"]
        for index, entry in state["state"].items():
            assert all(torch.equal(entry[key], after["state"][index][key]) for key in entry)
        shrunk = loss_without_dropout()
        losses = train(100)
        assert np.isfinite(losses).all()
        assert min(losses) < shrunk  # dropout keeps the mean noisy, in another way with every version of torch


def test_batches_and_targets_are_not_changed() -> None:
    data = chunks("convolutions")
    before = [(x.clone(), y.clone()) for x, y in data]
    dash_(network("convolutions"), data, functional.cross_entropy)
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(before, data, strict=True))


def test_a_loss_that_refers_to_the_model_leaves_its_grad_untouched() -> None:
    model, data = network("perceptron"), chunks("perceptron")

    def penalized(output: Tensor, labels: Tensor) -> Tensor:
        penalty = sum((value**2).sum() for value in model.parameters())
        return functional.cross_entropy(output, labels) + penalty

    dash_(model, data, penalized)
    assert all(value.grad is None for value in model.parameters())


def test_an_error_inside_the_loss_leaves_the_weights_untouched() -> None:
    model, data = network("perceptron"), chunks("perceptron")
    before, modes, calls = weights_of(model), [module.training for module in model.modules()], iter(range(9))
    stream = torch.get_rng_state()

    def failing(output: Tensor, labels: Tensor) -> Tensor:
        if next(calls) == len(data) - 1:
            raise KeyError("last chunk")
        return functional.cross_entropy(output, labels)

    with pytest.raises(KeyError, match="last chunk"):
        dash_(model, data, failing, training=True)
    assert equal_bits(weights_of(model), before)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), stream)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_switched_off(context: Callable[[], AbstractContextManager[None]]) -> None:
    model, data = network("convolutions"), chunks("convolutions")
    plain = copy.deepcopy(model)
    dash_(plain, data, functional.cross_entropy)
    with context():
        descent, _ = smoothed_descent(model, data, functional.cross_entropy, alpha=0.3)
        report = dash_(model, data, functional.cross_entropy)
        assert not torch.is_grad_enabled()
    assert not any(value.is_inference() for value in descent.values())
    assert not any(layer.cosines.is_inference() or layer.scales.is_inference() for layer in report.layers)
    assert equal_bits(weights_of(model), weights_of(plain))
    model(data[0][0]).sum().backward()  # the weights can still be trained


def test_works_with_batches_made_in_inference_mode() -> None:
    model, plain = network("perceptron"), chunks("perceptron")
    twin = copy.deepcopy(model)
    with torch.inference_mode():
        data = [(x.clone(), y.clone()) for x, y in plain]
        assert data[0][0].is_inference()
    dash_(model, data, functional.cross_entropy)
    dash_(twin, plain, functional.cross_entropy)
    assert equal_bits(weights_of(model), weights_of(twin))


def test_refuses_weights_made_in_inference_mode() -> None:
    with torch.inference_mode():
        model = network("perceptron")
    with pytest.raises(ValueError, match=r"made in torch.inference_mode\(\), got 0.weight"):
        dash_(model, chunks("perceptron"), functional.cross_entropy)
