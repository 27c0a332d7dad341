"""Shrink and perturb: both forms against a transcription by hand, and what they must leave alone."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.rules import shrink_and_perturb_
from tests.oracles.shrink import (
    NETWORKS,
    chunks,
    entries,
    fresh_by_hand,
    network,
    noise_by_hand,
    shrunk_parameters,
)

NAN, INF = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=["noise", "fresh"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def apply(model: nn.Module, form: str, name: str = "convolutions") -> None:
    """Either form with its own source of randomness."""
    if form == "noise":
        shrink_and_perturb_(model, generator=stream())
    else:
        shrink_and_perturb_(model, shrink=0.4, perturb=0.1, fresh=network(name))


def everything(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# ------------------------------------------------------------------------------- the form of DASH's authors: noise


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


@pytest.mark.parametrize("name", ["convolutions", "attention"])
def test_shrink_one_and_perturb_zero_is_the_identity_to_the_bit(name: str, form: str) -> None:
    model = network(name)
    before = everything(model)
    if form == "noise":
        shrink_and_perturb_(model, shrink=1, perturb=0, generator=stream())
    else:
        fresh = network(name)
        fresh.load_state_dict(before)  # the same buffers
        with torch.no_grad():
            for value in fresh.parameters():
                value.add_(1)
        shrink_and_perturb_(model, shrink=1, perturb=0, fresh=fresh)
    assert same(everything(model), before)


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


# -------------------------------------------------------------------------------- Ash & Adams' form: fresh weights


@pytest.mark.parametrize(("shrink", "perturb"), [(0.4, 0.1), (0, 1), (0.5, 2)])
@pytest.mark.parametrize("name", NETWORKS)
def test_fresh_form_equals_the_transcription(name: str, shrink: float, perturb: float) -> None:
    model, fresh = network(name), network(name)
    next(value for value in model.parameters()).requires_grad_(False)
    expected = fresh_by_hand(model, fresh, shrink=shrink, perturb=perturb)
    before = everything(fresh)
    shrink_and_perturb_(model, shrink=shrink, perturb=perturb, fresh=fresh)
    found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert found.keys() == expected.keys()
    for key, value in found.items():
        np.testing.assert_allclose(entries(value), expected[key], rtol=0, atol=1e-14, err_msg=key)
    assert same(everything(fresh), before)


def test_fresh_form_changes_norms_and_embeddings_too() -> None:
    model, fresh = network("attention"), network("attention")
    before = everything(model)
    with torch.no_grad():
        for value in fresh.parameters():
            value.add_(1)  # some are zero at first
    shrink_and_perturb_(model, fresh=fresh)
    assert all(not torch.equal(value, before[key]) for key, value in everything(model).items())


def test_fresh_form_takes_the_buffers_of_the_fresh_model() -> None:
    model, fresh = network("convolutions"), NETWORKS["convolutions"][0]().double()
    assert model.get_buffer("1.num_batches_tracked").item() == 2
    shrink_and_perturb_(model, fresh=fresh)
    assert model.get_buffer("1.num_batches_tracked").item() == 0
    assert torch.equal(model.get_buffer("1.running_var"), torch.ones(6, dtype=torch.float64))
    assert model.get_buffer("1.running_var") is not fresh.get_buffer("1.running_var")


@pytest.mark.parametrize("removed", [0.2, 0.8])
def test_coefficients_of_other_papers_convert_as_documented(removed: float) -> None:
    model, initial = network("perceptron"), network("perceptron")
    before = everything(model)
    shrink_and_perturb_(model, shrink=1 - removed, perturb=removed, fresh=initial)
    for key, value in model.named_parameters():
        expected = (1 - removed) * before[key] + removed * initial.get_parameter(key)
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-14, msg=key)


def test_fresh_weights_are_converted_to_the_dtype_of_the_model() -> None:
    model, fresh = network("perceptron"), network("perceptron", torch.float32)
    expected = fresh_by_hand(model, fresh, shrink=0.4, perturb=0.1)
    shrink_and_perturb_(model, shrink=0.4, perturb=0.1, fresh=fresh)
    for key, value in model.named_parameters():
        assert value.dtype == torch.float64
        np.testing.assert_allclose(entries(value), expected[key], rtol=0, atol=1e-14, err_msg=key)


class Grown(nn.Module):
    """A layer and a buffer, and more of either if asked for."""

    def __init__(
        self, *, width: int = 3, more: bool = False, statistic: int | None = 3, other: bool = False
    ) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(2, 2), nn.Linear(2, width)
        if more:
            self.more = nn.Linear(2, 2)
        if statistic is not None:
            self.register_buffer("statistic", torch.ones(statistic))
        if other:
            self.register_buffer("other", torch.ones(1))


@pytest.mark.parametrize(
    ("model", "fresh", "culprit"),
    [
        ({}, {"width": 4}, r"layer\.weight"),
        ({}, {"width": 1}, r"layer\.weight"),
        ({"more": True}, {}, r"more\.weight"),
        ({}, {"more": True}, r"more\.weight"),
        ({}, {"statistic": None}, "statistic"),
        ({}, {"statistic": 4}, "statistic"),
        ({}, {"statistic": 1}, "statistic"),
        ({}, {"other": True}, "other"),
    ],
    ids=[
        *("wider", "narrower", "layer missing", "layer more"),
        *("buffer missing", "buffer wider", "buffer that would broadcast", "buffer more"),
    ],
)
def test_a_fresh_model_that_does_not_match_is_refused_before_any_change(
    model: dict[str, Any], fresh: dict[str, Any], culprit: str
) -> None:
    ours, theirs = Grown(**model), Grown(**fresh)
    before, theirs_before = everything(ours), everything(theirs)
    with pytest.raises(ValueError, match=rf"^fresh must .*{culprit}"):
        shrink_and_perturb_(ours, fresh=theirs)
    assert same(everything(ours), before)
    assert same(everything(theirs), theirs_before)


@pytest.mark.parametrize("shared", ["model", "layer", "buffer", "under another name"])
def test_a_fresh_model_that_shares_tensors_with_the_model_is_refused(shared: str) -> None:
    model, fresh = Grown(), Grown()
    if shared == "model":
        fresh = model
    if shared == "layer":
        fresh.layer = model.layer
    if shared == "buffer":
        fresh.statistic = model.statistic
    if shared == "under another name":
        model, fresh = Grown(more=True), Grown(more=True)
        fresh.more = model.first
    before = everything(model)
    with pytest.raises(ValueError, match="fresh"):
        shrink_and_perturb_(model, fresh=fresh)
    assert same(everything(model), before)


# ------------------------------------------------------------------------------------------- both forms: purity


@pytest.mark.parametrize("name", ["tied_linear", "tied_embedding"])
def test_a_shared_weight_is_changed_exactly_once(name: str, form: str) -> None:
    model = network(name)
    tied = next(value for value in model.parameters())
    before = tied.detach().clone()
    if form == "noise":
        shrink_and_perturb_(model, shrink=0.5, perturb=0, generator=stream())
    else:
        shrink_and_perturb_(model, shrink=0.5, perturb=0, fresh=network(name))
    assert torch.equal(tied, 0.5 * before)
    assert len([1 for _, value in model.named_parameters(remove_duplicate=False) if value is tied]) == 2


def test_frozen_parameters_keep_their_bits(form: str) -> None:
    model = network("convolutions")
    model.get_submodule("0").requires_grad_(False)
    before = everything(model)
    apply(model, form)
    assert torch.equal(model.get_parameter("0.weight"), before["0.weight"])
    assert torch.equal(model.get_parameter("0.bias"), before["0.bias"])
    assert not torch.equal(model.get_parameter("8.weight"), before["8.weight"])


def test_all_but_the_weights_stays_as_it_was(form: str) -> None:
    model = network("convolutions").train()
    model.get_submodule("1").eval()
    model.get_parameter("3.weight").grad = torch.ones(5, 6, 1, 1, dtype=torch.float64)

    def state() -> list[object]:
        return [
            [module.training for module in model.modules()],
            [(id(value), value.data_ptr(), value.requires_grad, value.is_leaf) for value in model.parameters()],
            [id(value.grad) for value in model.parameters()],
            [None if value.grad is None else value.grad.tolist() for value in model.parameters()],
            [(id(buffer), buffer.data_ptr()) for buffer in model.buffers()],
        ]

    before = state()
    apply(model, form)
    assert state() == before


def test_the_optimizer_state_stays_to_the_bit(form: str) -> None:
    model, data = network("convolutions"), chunks("convolutions")
    optimizer = torch.optim.Adam(model.parameters())
    functional.cross_entropy(model(data[0][0]), data[0][1]).backward()
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    apply(model, form)
    after = optimizer.state_dict()
    assert before["param_groups"] == after["param_groups"]
    for index, entry in before["state"].items():
        assert all(torch.equal(entry[key], after["state"][index][key]) for key in entry)


def test_global_random_streams_stay_where_they_were(form: str) -> None:
    model, fresh = network("perceptron"), network("perceptron")
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  (the global stream is what is watched)
    states = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    if form == "noise":
        shrink_and_perturb_(model, generator=stream())
    else:
        shrink_and_perturb_(model, fresh=fresh)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert repr(np.random.get_state()) == states[2]  # noqa: NPY002


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_works_in_every_gradient_mode(form: str, context: Callable[[], AbstractContextManager[None]]) -> None:
    model = network("perceptron")
    twin = copy.deepcopy(model)
    torch.manual_seed(1)
    apply(twin, form, "perceptron")
    torch.manual_seed(1)
    fresh = network("perceptron")
    with context():
        if form == "noise":
            shrink_and_perturb_(model, generator=stream())
        else:
            shrink_and_perturb_(model, shrink=0.4, perturb=0.1, fresh=fresh)
    assert same(everything(model), everything(twin))
    model(chunks("perceptron")[0][0]).sum().backward()


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("argument", "value", "interval"),
    [
        *(("shrink", value, r"\[0, 1\]") for value in (-0.1, 1.01, True, NAN, INF, "0.3", None, [0.3])),
        *(("perturb", value, r"\[0, inf\)") for value in (-0.1, False, NAN, INF, -INF, "0.01", None, 1j)),
    ],
)
def test_arguments_out_of_range_are_named_with_their_value(
    form: str, argument: str, value: Any, interval: str
) -> None:
    model = network("perceptron")
    before = everything(model)
    source: dict[str, Any] = {"generator": stream()} if form == "noise" else {"fresh": network("perceptron")}
    with pytest.raises(
        ValueError, match=rf"^{argument} must be a number in {interval}, got {re.escape(repr(value))}\."
    ):
        shrink_and_perturb_(model, **{argument: value}, **source)
    assert same(everything(model), before)


@pytest.mark.parametrize("both", [False, True])
def test_exactly_one_source_of_randomness_is_asked_for(both: bool) -> None:
    model = network("perceptron")
    before = everything(model)
    source: dict[str, Any] = {"generator": stream(), "fresh": network("perceptron")} if both else {}
    with pytest.raises(ValueError, match=rf"^generator must be given .* got generator={both}, fresh={both}\."):
        shrink_and_perturb_(model, **source)
    assert same(everything(model), before)


@pytest.mark.parametrize("build", [lambda: nn.Linear(2, 2).requires_grad_(False), lambda: nn.BatchNorm1d(2)])
def test_noise_form_refuses_a_model_with_nothing_to_shrink(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(ValueError, match="model must have a convolution or linear layer"):
        shrink_and_perturb_(build(), generator=stream())


def test_noise_form_refuses_a_parametrized_layer_before_any_change() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    before = everything(model)
    with pytest.raises(ValueError, match=r"computed 1\.weight"):
        shrink_and_perturb_(model, generator=stream())
    assert same(everything(model), before)
