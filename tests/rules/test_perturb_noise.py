"""Shrink and perturb in the form of DASH's authors: noise."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dashtheory.rules import shrink_and_perturb_
from tests.oracles.shrink import NETWORKS, entries, network, noise_by_hand, shrunk_parameters
from tests.rules.perturb_cases import everything, same, stream


@pytest.mark.parametrize(("shrink", "perturb"), [(0.3, 0.01), (0, 1), (1, 0.5), (0.7, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_noise_form_equals_the_transcription(name: str, dtype: torch.dtype, shrink: float, perturb: float) -> None:
    model = network(name, dtype)
    before = everything(model)
    expected = noise_by_hand(model, shrink=shrink, perturb=perturb, generator=stream(3))
    shrink_and_perturb_(model, shrink=shrink, perturb=perturb, generator=stream(3))
    eps = torch.finfo(dtype).eps
    for key, value in model.named_parameters(remove_duplicate=False):
        if key in expected:
            # Three roundings, by eps / 2 each, of numbers below 8.
            np.testing.assert_allclose(entries(value), expected[key], rtol=0, atol=8 * 1.5 * eps, err_msg=key)
        elif id(value) not in {id(model.get_parameter(target)) for target in expected}:
            assert torch.equal(value, before[key]), key
    assert all(torch.equal(buffer, before[key]) for key, buffer in model.named_buffers())


def test_defaults_are_the_published_ones() -> None:
    model = network("perceptron")
    twin = copy.deepcopy(model)
    shrink_and_perturb_(model, generator=stream())
    shrink_and_perturb_(twin, shrink=0.3, perturb=0.01, generator=stream())
    assert same(everything(model), everything(twin))


def test_noise_has_the_stated_mean_and_deviation_and_no_structure() -> None:
    perturb, shape = 0.25, (300, 400)
    model = nn.Linear(400, 300)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    shrink_and_perturb_(model, perturb=perturb, generator=stream())
    noise = model.weight.detach().double() / perturb
    num = noise.numel()
    # Six standard errors: the mean of n normals has 1 / sqrt(n), their deviation 1 / sqrt(2 n).
    assert abs(noise.mean()) < 6 / num**0.5
    assert abs(noise.std() - 1) < 6 / (2 * num) ** 0.5
    for axis, length in enumerate(shape):
        assert abs(noise.mean(dim=1 - axis).std() * (num / length) ** 0.5 - 1) < 6 / (2 * length) ** 0.5
    bias = model.bias.detach().double() / perturb
    assert abs(bias.std() - 1) < 6 / (2 * len(bias)) ** 0.5
    assert abs((bias * noise[:, 0]).mean()) < 6 / len(bias) ** 0.5


def test_the_same_generator_state_gives_the_same_bits_and_another_one_others() -> None:
    first, second, third = network("convolutions"), network("convolutions"), network("convolutions")
    for model, seed in ((second, 0), (third, 1), (first, 0)):
        model.load_state_dict(first.state_dict())
        if model is not first:
            shrink_and_perturb_(model, generator=stream(seed))
    shrink_and_perturb_(first, generator=stream(0))
    assert same(everything(first), everything(second))
    assert not same(everything(first), everything(third))


def test_one_generator_serves_call_after_call_with_new_noise() -> None:
    generator = stream()
    noise = []
    for _ in range(2):
        model = nn.Linear(20, 20)
        shrink_and_perturb_(model, shrink=0, generator=generator)
        noise.append(model.weight.detach().clone())
    assert not torch.equal(noise[0], noise[1])


def test_noise_does_not_depend_on_the_default_dtype_of_torch() -> None:
    model = nn.Linear(20, 20)
    twin = copy.deepcopy(model)
    shrink_and_perturb_(model, generator=stream())
    torch.set_default_dtype(torch.float64)
    try:
        shrink_and_perturb_(twin, generator=stream())
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(everything(model), everything(twin))


def test_noise_does_not_depend_on_the_memory_format() -> None:
    model = network("convolutions")
    twin = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    strides = [value.stride() for value in twin.parameters()]
    shrink_and_perturb_(model, generator=stream())
    shrink_and_perturb_(twin, generator=stream())
    assert same(everything(model), everything(twin))
    assert strides == [value.stride() for value in twin.parameters()]
    assert strides != [value.stride() for value in model.parameters()]


@settings(max_examples=40)
@given(
    weights=st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4),
    shrink=st.floats(0, 1),
)
def test_without_noise_every_weight_is_multiplied_by_shrink(weights: list[float], shrink: float) -> None:
    model = nn.Linear(2, 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weights).reshape(2, 2))
    shrink_and_perturb_(model, shrink=shrink, perturb=0, generator=stream())
    assert model.weight.flatten().tolist() == [shrink * weight for weight in weights]


def test_noise_is_not_scaled_by_shrink() -> None:
    model, twin = nn.Linear(20, 20), nn.Linear(20, 20)
    for candidate, shrink in ((model, 0.0), (twin, 0.5)):
        with torch.no_grad():
            candidate.weight.zero_()
        shrink_and_perturb_(candidate, shrink=shrink, generator=stream())
    assert torch.equal(model.weight, twin.weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_keep_their_dtype(dtype: torch.dtype) -> None:
    model = network("convolutions", dtype)
    expected = noise_by_hand(model, shrink=0.3, perturb=0.1, generator=stream())
    shrink_and_perturb_(model, perturb=0.1, generator=stream())
    for key, value, _ in shrunk_parameters(model):
        assert value.dtype == dtype
        margin = 4 * torch.finfo(dtype).eps  # three roundings of numbers of size one
        np.testing.assert_allclose(entries(value), expected[key], rtol=0, atol=margin, err_msg=key)
