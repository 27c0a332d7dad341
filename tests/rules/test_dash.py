"""DASH: its arithmetic against a transcription by hand, and everything that it must leave alone."""

from __future__ import annotations

import copy
import random
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from dashtheory.errors import Diverged
from dashtheory.rules import ShrinkReport, dash_, group_cosines, smoothed_descent
from dashtheory.rules.groups import Kind
from tests.oracles.shrink import (
    NETWORKS,
    NUM_CLASSES,
    Chunk,
    chunks,
    cosine,
    dash_by_hand,
    entries,
    network,
    shrunk_parameters,
    smoothed_by_hand,
)

NAN, INF = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def pair(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Two linear layers, the smallest network with something before and something after."""
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, NUM_CLASSES)).to(dtype)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def equal_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[name].nan_to_num(7.0), right[name].nan_to_num(7.0)) for name in left
    )


class OnlyFirst(nn.Module):
    """A network that never calls its second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(2, 2), nn.Conv1d(2, 2, 2)

    def forward(self, value: Tensor) -> Tensor:
        """Output of the first layer."""
        out: Tensor = self.used(value)
        return out


# A linear layer on the rows of a matrix D, with the loss -sum_i <w_i, d_i>: its descent is D itself.


def holding(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    layer.weight = nn.Parameter(weight.clone())
    return layer


def toward(descent: Tensor) -> Chunk:
    return descent, torch.eye(len(descent), dtype=descent.dtype)


def minus_inner(output: Tensor, target: Tensor) -> Tensor:
    return -(output * target).sum()


# --------------------------------------------------------------------------------------------- the arithmetic


@pytest.mark.parametrize("lam", [0, 0.05, 0.3, 1])
@pytest.mark.parametrize("alpha", [0.1, 0.3, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_transcription_in_double_precision(name: str, alpha: float, lam: float) -> None:
    model = network(name)
    before, data = weights_of(model), chunks(name)
    expected = dash_by_hand(model, data, functional.cross_entropy, alpha=alpha, lam=lam)
    report = dash_(model, data, functional.cross_entropy, alpha=alpha, lam=lam)
    assert [layer.name for layer in report.layers] == list(expected)
    for layer in report.layers:
        oracle = expected[layer.name]
        np.testing.assert_allclose(layer.cosines, oracle.cosines, atol=1e-12, err_msg=layer.name)
        np.testing.assert_allclose(layer.scales, oracle.scales, atol=1e-12, err_msg=layer.name)
        after = entries(model.get_parameter(layer.name))
        np.testing.assert_allclose(after, oracle.weights, rtol=1e-12, atol=1e-12, err_msg=layer.name)
    for name_ in report.untouched:
        assert torch.equal(model.get_parameter(name_), before[name_]), name_
    assert report.num_batches == len(data)


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_transcription_in_single_precision(name: str) -> None:
    model = network(name, torch.float32)
    data = chunks(name, 3, torch.float32)
    expected = dash_by_hand(model, data, functional.cross_entropy, alpha=0.3, lam=0.05)
    report = dash_(model, data, functional.cross_entropy, alpha=0.3, lam=0.05)
    for layer in report.layers:
        # The gradients are the same bits on both sides. Three updates of G round by 2^-24 of the largest term
        # each, and terms can cancel to a hundredth of it; the cosine adds a few roundings per entry (<= 216).
        oracle = expected[layer.name]
        np.testing.assert_allclose(layer.cosines, oracle.cosines, atol=3e-5, err_msg=layer.name)
        after = entries(model.get_parameter(layer.name))
        np.testing.assert_allclose(after, oracle.weights, atol=3e-5, err_msg=layer.name)


@pytest.mark.parametrize("name", ["convolutions", "perceptron"])
def test_training_mode_equals_the_transcription_in_training_mode(name: str) -> None:
    model, data = network(name), chunks(name)
    expected = dash_by_hand(model, data, functional.cross_entropy, alpha=0.3, lam=0.05, training=True)
    report = dash_(model, data, functional.cross_entropy, alpha=0.3, lam=0.05, training=True)
    for layer in report.layers:
        np.testing.assert_allclose(layer.cosines, expected[layer.name].cosines, atol=1e-12, err_msg=layer.name)


@pytest.mark.parametrize("name", ["convolutions", "perceptron"])
def test_training_mode_differs_from_evaluation_mode(name: str) -> None:
    data = chunks(name)
    evaluation, training = (
        dash_(network(name), data, functional.cross_entropy, training=training) for training in (False, True)
    )
    assert (
        max(
            float((a.cosines - b.cosines).abs().max())
            for a, b in zip(evaluation.layers, training.layers, strict=True)
        )
        > 0.1
    )


def test_two_rows_worked_by_hand() -> None:
    model = holding(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    report = dash_(model, [toward(torch.tensor([[5.0, 0.0], [1.0, -1.0]]))], minus_inner, alpha=0.3, lam=0.25)
    assert report["weight"].cosines.tolist() == pytest.approx([0.6, -(0.5**0.5)])
    assert report["weight"].scales.tolist() == pytest.approx([0.6, 0.25])
    assert model.weight.tolist() == [pytest.approx([1.8, 2.4]), pytest.approx([0.0, 0.5])]


def test_two_chunks_worked_by_hand() -> None:
    model = holding(torch.tensor([[1.0, 1.0]]))
    data = [toward(torch.tensor([[8.0, 0.0]])), toward(torch.tensor([[0.0, 2.0]]))]
    # alpha = 1/4: G = 1/4 * 3/4 * (8, 0) + 1/4 * (0, 2) = (1.5, 0.5), cos = 2 / sqrt(2 * 2.5)
    report = dash_(model, data, minus_inner, alpha=0.25, lam=0.3)
    assert report["weight"].cosines.tolist() == pytest.approx([2 / 5**0.5])


# Two decimals: a random direction, whose norm is never so small that cancellation drowns it.
ENTRIES = st.integers(-999, 999).map(lambda n: n / 100)
MATRICES = arrays(np.float64, (2, 3), elements=ENTRIES)
ALPHAS = st.floats(0.01, 1)
LAMS = st.floats(0, 1)


@settings(max_examples=60)
@given(weight=MATRICES, directions=arrays(np.float64, (3, 2, 3), elements=ENTRIES), alpha=ALPHAS, lam=LAMS)
def test_weights_after_are_weights_before_times_the_clipped_cosines(
    weight: Any, directions: Any, alpha: float, lam: float
) -> None:
    model = holding(torch.tensor(weight))
    data = [toward(torch.tensor(descent)) for descent in directions]
    layer = dash_(model, data, minus_inner, alpha=alpha, lam=lam)["weight"]
    assert torch.equal(layer.scales, layer.cosines.clip(lam, 1))
    assert ((layer.scales >= lam) & (layer.scales <= 1)).all()
    assert torch.equal(model.weight, layer.scales[:, None] * torch.tensor(weight))


@settings(max_examples=60)
@given(directions=arrays(np.float64, (4, 2, 3), elements=ENTRIES), alpha=ALPHAS)
def test_smoothed_descent_is_the_closed_form_of_the_chunks(directions: Any, alpha: float) -> None:
    model = holding(torch.ones(2, 3, dtype=torch.float64))
    descent, num_batches = smoothed_descent(
        model, [toward(torch.tensor(d)) for d in directions], minus_inner, alpha=alpha
    )
    share = [alpha * (1 - alpha) ** (4 - chunk) for chunk in (1, 2, 3, 4)]
    closed = sum(s * d for s, d in zip(share, directions, strict=True))
    np.testing.assert_allclose(descent["weight"], closed, rtol=0, atol=1e-13 * 10)
    assert num_batches == 4


def test_smoothed_descent_is_the_same_combination_of_the_gradients_of_a_network() -> None:
    model, data, alpha = network("convolutions"), chunks("convolutions"), 0.3
    alone = [smoothed_by_hand(model, [chunk], functional.cross_entropy, alpha=1) for chunk in data]
    descent, _ = smoothed_descent(model, data, functional.cross_entropy, alpha=alpha)
    assert list(descent) == [name for name, _, _ in shrunk_parameters(model)]
    for name, value in descent.items():
        closed = sum(alpha * (1 - alpha) ** (2 - chunk) * alone[chunk][name] for chunk in range(3))
        np.testing.assert_allclose(value, closed, rtol=1e-11, atol=1e-14, err_msg=name)


def test_alpha_one_uses_only_the_newest_chunk() -> None:
    data = chunks("convolutions")
    one, all_ = network("convolutions"), network("convolutions")
    one.load_state_dict(all_.state_dict())
    dash_(all_, data, functional.cross_entropy, alpha=1)
    dash_(one, data[-1:], functional.cross_entropy, alpha=1)
    assert equal_bits(weights_of(all_), weights_of(one))


def test_the_order_of_chunks_matters() -> None:
    model, data = network("perceptron"), chunks("perceptron")
    backward = copy.deepcopy(model)
    first = dash_(model, data, functional.cross_entropy)
    second = dash_(backward, data[::-1], functional.cross_entropy)
    assert (first["0.weight"].cosines - second["0.weight"].cosines).abs().max() > 0.1


def test_a_single_chunk_needs_no_alpha() -> None:
    model, data = network("perceptron"), chunks("perceptron", 1)
    twin = copy.deepcopy(model)
    first = dash_(model, data, functional.cross_entropy, alpha=0.1)
    second = dash_(twin, data, functional.cross_entropy, alpha=1)
    for a, b in zip(first.layers, second.layers, strict=True):
        torch.testing.assert_close(a.cosines, b.cosines, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["convolutions", "attention"])
def test_lam_one_is_the_identity_to_the_bit(name: str) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        model = network(name, dtype)
        before = weights_of(model)
        report = dash_(model, chunks(name, 2, dtype), functional.cross_entropy, lam=1)
        assert equal_bits(weights_of(model), before)
        assert report.mean_scale == report.share_clamped == 1


# ------------------------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("power", [-20, -1, 1, 20])
def test_a_power_of_two_before_the_loss_changes_no_bit(power: int) -> None:
    model, data = network("convolutions", torch.float32), chunks("convolutions", 3, torch.float32)
    scaled = copy.deepcopy(model)
    dash_(model, data, functional.cross_entropy, lam=0.05)
    dash_(scaled, data, lambda out, y: functional.cross_entropy(out, y) * 2.0**power, lam=0.05)
    assert equal_bits(weights_of(model), weights_of(scaled))


@pytest.mark.parametrize("factor", [1e-30, 1e-6, 1e-3, 0.3, 7, 1e3, 1e6, 1e30])
@pytest.mark.parametrize("name", ["convolutions", "attention"])
def test_a_positive_factor_before_the_loss_keeps_the_cosines(name: str, factor: float) -> None:
    model, data = network(name, torch.float32), chunks(name, 3, torch.float32)
    scaled = copy.deepcopy(model)
    report = dash_(model, data, functional.cross_entropy, lam=0.05)
    other = dash_(scaled, data, lambda out, y: functional.cross_entropy(out, y) * factor, lam=0.05)
    for a, b in zip(report.layers, other.layers, strict=True):
        # The factor rounds every product of the backward pass anew, by 2^-24 each.
        torch.testing.assert_close(a.cosines, b.cosines, rtol=0, atol=3e-5, msg=a.name)


def test_turning_the_loss_around_turns_the_cosines_around() -> None:
    model, data = network("perceptron"), chunks("perceptron")
    report = dash_(copy.deepcopy(model), data, functional.cross_entropy)
    other = dash_(model, data, lambda out, y: -functional.cross_entropy(out, y))
    for a, b in zip(report.layers, other.layers, strict=True):
        torch.testing.assert_close(a.cosines, -b.cosines, rtol=0, atol=1e-12)


@settings(max_examples=40)
@given(weight=MATRICES, descent=MATRICES, powers=st.tuples(st.integers(-60, 60), st.integers(-60, 60)))
def test_lengthening_a_group_keeps_its_scale(weight: Any, descent: Any, powers: tuple[int, int]) -> None:
    factors = 2.0 ** torch.tensor(powers, dtype=torch.float64)[:, None]
    short, long = holding(torch.tensor(weight)), holding(factors * torch.tensor(weight))
    data = [toward(torch.tensor(descent))]
    first, second = dash_(short, data, minus_inner)["weight"], dash_(long, data, minus_inner)["weight"]
    assert torch.equal(first.scales, second.scales)
    assert torch.equal(factors * short.weight, long.weight)


@settings(max_examples=80)
@given(
    weight=MATRICES,
    descent=MATRICES,
    sizes=st.tuples(*[st.sampled_from([1e-36, 1e-20, 1e-3, 1.0, 1e3, 1e20, 1e36])] * 2),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_cosines_are_right_at_every_size_of_their_arguments(
    weight: Any, descent: Any, sizes: tuple[float, float], dtype: torch.dtype
) -> None:
    w, g = torch.tensor(weight * sizes[0], dtype=dtype), torch.tensor(descent * sizes[1], dtype=dtype)
    found = group_cosines(w, g, "row")
    assert found.dtype == dtype
    assert (found.abs() <= 1).all()
    expected = [cosine(a.double().tolist(), b.double().tolist()) for a, b in zip(w, g, strict=True)]
    # Three entries: a dozen roundings.
    np.testing.assert_allclose(found, expected, rtol=0, atol=12 * torch.finfo(dtype).eps)


@settings(max_examples=40)
@given(weight=arrays(np.float64, (2, 2, 3), elements=ENTRIES), kind=st.sampled_from(["kernel", "row", "vector"]))
def test_a_group_has_cosine_one_with_itself_and_minus_one_with_its_negative(weight: Any, kind: Kind) -> None:
    values = torch.tensor(weight)
    axes = {"kernel": 2, "row": 1, "vector": 0}[kind]
    nonzero = (values != 0).reshape(*values.shape[:axes], -1).any(dim=-1).flatten().double()
    np.testing.assert_allclose(group_cosines(values, 3 * values, kind), nonzero, rtol=0, atol=1e-15)
    np.testing.assert_allclose(group_cosines(values, -values / 3, kind), -nonzero, rtol=0, atol=1e-15)


@pytest.mark.parametrize("zero", ["weights", "gradient"])
@pytest.mark.parametrize("lam", [0, 0.3])
def test_a_zero_group_or_gradient_has_cosine_zero_and_scale_lam(zero: str, lam: float) -> None:
    weight, descent = torch.ones(2, 3), torch.ones(2, 3)
    (weight if zero == "weights" else descent)[1] = 0
    model = holding(weight)
    layer = dash_(model, [toward(descent)], minus_inner, lam=lam)["weight"]
    assert layer.cosines.tolist() == pytest.approx([1, 0])
    assert layer.scales.tolist() == pytest.approx([1, lam])
    assert layer.share_clamped == 0.5
    assert model.weight[1].tolist() == pytest.approx([0, 0, 0] if zero == "weights" else [lam, lam, lam])


def test_a_layer_unused_in_the_forward_pass_gets_scale_lam() -> None:
    only_first = OnlyFirst()
    before = only_first.unused.weight.detach().clone()
    report = dash_(only_first, [(torch.ones(3, 2), torch.ones(3, 2))], functional.mse_loss, lam=0.25)
    assert report["unused.weight"].cosines.tolist() == [[0, 0], [0, 0]]
    assert report["unused.bias"].scales.item() == 0.25
    assert torch.equal(only_first.unused.weight, 0.25 * before)


def test_a_parameter_used_by_one_chunk_only_keeps_its_part_of_the_average() -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)

        def forward(self, value: Tensor) -> Tensor:
            out: Tensor = self.first(value) if value[0, 0] > 0 else self.second(value)
            return out

    plus, minus = torch.tensor([[1.0, 2.0], [1.0, 3.0]]), torch.tensor([[-1.0, 2.0], [1.0, 3.0]])
    descent, _ = smoothed_descent(Either(), [toward(plus), toward(minus)], minus_inner, alpha=0.25)
    torch.testing.assert_close(descent["first.weight"], 0.25 * 0.75 * plus)
    torch.testing.assert_close(descent["second.weight"], 0.25 * minus)


# ------------------------------------------------------------------------------------- layouts, dtypes, sharing


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("convolutions", torch.channels_last),
        ("transposed", torch.channels_last),
        ("three_dimensional", torch.channels_last_3d),
    ],
)
def test_channels_last_gives_the_numbers_of_contiguous(name: str, layout: torch.memory_format) -> None:
    model, data = network(name), chunks(name)
    before, plain = weights_of(model), copy.deepcopy(model)
    model = model.to(memory_format=layout)  # type: ignore[call-overload]
    strides = {key: value.stride() for key, value in model.named_parameters()}
    assert any(not value.is_contiguous() for value in model.parameters())
    dash_(plain, data, functional.cross_entropy, lam=0.05)
    dash_(model, [(x.contiguous(memory_format=layout), y) for x, y in data], functional.cross_entropy, lam=0.05)
    for key, value in plain.named_parameters():
        torch.testing.assert_close(model.get_parameter(key), value, rtol=1e-11, atol=1e-11, msg=key)
    for key, _, _ in shrunk_parameters(model):
        assert not torch.equal(model.get_parameter(key), before[key]), key
    assert strides == {key: value.stride() for key, value in model.named_parameters()}


def test_non_contiguous_weights_are_shrunk_in_place() -> None:
    model = network("convolutions")
    plain = copy.deepcopy(model)
    for name, value, _ in list(shrunk_parameters(model)):
        module = model.get_submodule(name.rpartition(".")[0])
        reversed_ = tuple(range(value.ndim))[::-1]
        odd = value.detach().permute(reversed_).contiguous().permute(reversed_)
        setattr(module, name.rpartition(".")[2], nn.Parameter(odd))
    strides = [value.stride() for value in model.parameters()]
    data = chunks("convolutions")
    dash_(plain, data, functional.cross_entropy, lam=0.05)
    dash_(model, data, functional.cross_entropy, lam=0.05)
    assert strides == [value.stride() for value in model.parameters()]
    assert strides != [value.stride() for value in plain.parameters()]
    for key, expected in plain.named_parameters():
        torch.testing.assert_close(model.get_parameter(key), expected, rtol=1e-11, atol=1e-11, msg=key)


@pytest.mark.parametrize("name", ["tied_linear", "tied_embedding"])
def test_a_tied_weight_is_shrunk_exactly_once(name: str) -> None:
    model = network(name)
    tied = next(value for value in model.parameters())
    before = tied.detach().clone()
    report = dash_(model, chunks(name), functional.cross_entropy, lam=0.5)
    layer = next(layer for layer in report.layers if model.get_parameter(layer.name) is tied)
    assert len([1 for other in report.layers if other.kind == "row"]) == len(
        {id(value) for _, value, axes in shrunk_parameters(model) if axes == 1}
    )
    assert torch.equal(tied, layer.scales[:, None] * before)
    assert len([1 for _, value in model.named_parameters(remove_duplicate=False) if value is tied]) == 2


def test_a_module_with_two_names_is_shrunk_exactly_once() -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    before = layer.weight.detach().clone()
    report = dash_(model, [(torch.ones(2, 4), torch.ones(2, 4))], functional.mse_loss, lam=0.5)
    assert [found.name for found in report.layers] == ["0.weight", "0.bias"]
    assert torch.equal(layer.weight, report["0.weight"].scales[:, None] * before)


def test_frozen_parameters_keep_their_bits_and_are_listed() -> None:
    model = network("convolutions")
    model.get_submodule("0").requires_grad_(False)
    model.get_parameter("8.bias").requires_grad_(False)
    before = weights_of(model)
    report = dash_(model, chunks("convolutions"), functional.cross_entropy)
    for name in ("0.weight", "0.bias", "8.bias"):
        assert torch.equal(model.get_parameter(name), before[name]), name
        assert name in report.untouched
    assert not torch.equal(model.get_parameter("8.weight"), before["8.weight"])


def test_a_wholly_frozen_model_is_refused() -> None:
    model = network("perceptron").requires_grad_(False)
    with pytest.raises(ValueError, match=r"model must have .* requires_grad=True"):
        dash_(model, chunks("perceptron"), functional.cross_entropy)


def test_embeddings_recurrent_layers_norms_and_bare_parameters_are_listed_as_untouched() -> None:
    model = network("attention")
    before = weights_of(model)
    report = dash_(model, chunks("attention"), functional.cross_entropy)
    expected = {"shift", *(name for name in before if name.split(".")[0] in ("embed", "recurrent", "norm"))}
    assert set(report.untouched) == expected
    for name in expected:
        assert torch.equal(model.get_parameter(name), before[name]), name


def test_attention_projections_are_shrunk_row_by_row() -> None:
    model = network("attention")
    before = model.get_parameter("attend.in_proj_weight").detach().clone()
    layer = dash_(model, chunks("attention"), functional.cross_entropy, lam=0.05)["attend.in_proj_weight"]
    assert (layer.kind, layer.cosines.shape) == ("row", (12,))
    assert len(set(layer.scales.tolist())) > 3
    assert torch.equal(model.get_parameter("attend.in_proj_weight"), layer.scales[:, None] * before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["convolutions", "perceptron"])
def test_half_precision_models_get_cosines_of_single_precision(name: str, dtype: torch.dtype) -> None:
    model, data = network(name, dtype), chunks(name, 3, dtype)
    expected = dash_by_hand(model, data, functional.cross_entropy, alpha=0.3, lam=0.05)
    report = dash_(model, data, functional.cross_entropy, alpha=0.3, lam=0.05)
    for layer in report.layers:
        oracle, parameter = expected[layer.name], model.get_parameter(layer.name)
        assert (layer.cosines.dtype, parameter.dtype) == (torch.float32, dtype)
        # As in single precision: the gradients are the same bits. Half precision would be off by 1e-3 or more.
        np.testing.assert_allclose(layer.cosines, oracle.cosines, atol=3e-5, err_msg=layer.name)
        # Two roundings, of the factor and of the product, by eps / 2 each, and a subnormal one in half.
        margin = float(torch.finfo(dtype).eps)
        np.testing.assert_allclose(
            entries(parameter), oracle.weights, rtol=1.1 * margin, atol=1e-6, err_msg=layer.name
        )


def test_layers_without_entries_are_no_obstacle() -> None:
    class Hollow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # torch: initialising no entries is a no-op
                self.full, self.no_input, self.no_output = nn.Linear(2, 2), nn.Linear(0, 2), nn.Linear(2, 0)

        def forward(self, value: Tensor) -> Tensor:
            out: Tensor = self.full(value) + self.no_input(value[:, :0]) + self.no_output(value).sum()
            return out

    report = dash_(Hollow(), [(torch.ones(3, 2), torch.ones(3, 2))], functional.mse_loss, lam=0.3)
    assert report["no_input.weight"].scales.tolist() == pytest.approx([0.3, 0.3])
    assert report["no_output.weight"].scales.tolist() == []
    assert 0.3 <= report.mean_scale <= 1
    assert 0 <= report.share_clamped <= 1


# --------------------------------------------------------------------------------- what must stay as it was


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


# ------------------------------------------------------------------------------------------------------ report


def test_report_counts_groups_and_entries_by_hand() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.shift = holding(torch.tensor([[3.0, 4.0], [1.0, 0.0]])), nn.Linear(2, 4)

        def forward(self, value: Tensor) -> tuple[Tensor, Tensor]:
            return self.rows(value), self.shift(torch.zeros(1, 2))

    def loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        return minus_inner(output[0], target) - output[1].sum()

    both = Both()
    both.shift.weight.requires_grad_(False)
    with torch.no_grad():
        both.shift.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    # The rows meet (1, 0) at cosines 0.6 and 1, the bias meets (1, 1, 1, 1) at 0.5.
    report = dash_(both, [toward(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))], loss, lam=0.7)
    assert isinstance(report, ShrinkReport)
    assert [(layer.name, layer.kind, layer.num_entries, layer.lam) for layer in report.layers] == [
        ("rows.weight", "row", 4, 0.7),
        ("shift.bias", "vector", 4, 0.7),
    ]
    assert report["rows.weight"].cosines.tolist() == pytest.approx([0.6, 1])
    assert report["rows.weight"].scales.tolist() == pytest.approx([0.7, 1])
    assert report["rows.weight"].share_clamped == 0.5
    assert report["rows.weight"].mean_scale == pytest.approx(0.85)
    assert report["shift.bias"].cosines.item() == pytest.approx(0.5)
    assert report["shift.bias"].cosines.shape == ()
    assert report["shift.bias"].share_clamped == 1
    assert report.mean_scale == pytest.approx((4 * 0.85 + 4 * 0.7) / 8)
    assert report.share_clamped == 0.75
    assert report.untouched == ("shift.weight",)
    assert report.num_batches == 1
    with pytest.raises(KeyError, match=r"shift\.weight"):
        report["shift.weight"]


def test_report_means_weigh_by_entries() -> None:
    model = network("convolutions")
    before = weights_of(model)
    report = dash_(model, chunks("convolutions"), functional.cross_entropy, lam=0.05)
    shrunk = [name for name, _, _ in shrunk_parameters(model)]
    ratios = torch.cat([(model.get_parameter(name).detach() / before[name]).flatten() for name in shrunk])
    assert report.mean_scale == pytest.approx(float(ratios.mean()))
    assert report.share_clamped == pytest.approx(float((ratios < 0.05 + 1e-9).double().mean()))


def test_report_does_not_change_when_the_model_does() -> None:
    model = network("perceptron")
    report = dash_(model, chunks("perceptron"), functional.cross_entropy)
    before = [(layer.cosines.clone(), layer.scales.clone()) for layer in report.layers]
    dash_(model, chunks("perceptron", seed=4), functional.cross_entropy)
    for layer, (cosines, scales) in zip(report.layers, before, strict=True):
        assert torch.equal(layer.cosines, cosines)
        assert torch.equal(layer.scales, scales)
        assert not layer.cosines.requires_grad
        assert not layer.scales.requires_grad


# --------------------------------------------------------------------------------------------------- bad input


class Branches(nn.Module):
    """Two layers on two halves of the input: a bad value in one half spoils one layer's gradient only."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)

    def forward(self, value: Tensor) -> Tensor:
        """Sum of both layers."""
        out: Tensor = self.left(value[:, :2]) + self.right(value[:, 2:])
        return out


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(("half", "layer"), [(0, "left.weight"), (2, "right.weight")])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_non_finite_gradient_names_batch_and_layer_before_any_weight_moves(
    index: int, half: int, layer: str, value: float
) -> None:
    model = Branches()
    before = weights_of(model)
    data = [(torch.ones(3, 4), torch.ones(3, 2)) for _ in range(3)]
    data[index][0][1, half] = value

    with pytest.raises(Diverged, match=rf"batches must give finite gradients, .*{layer} at batch {index}\b"):
        dash_(model, data, minus_inner)
    assert equal_bits(weights_of(model), before)


def test_a_non_finite_gradient_is_refused_though_the_loss_is_finite() -> None:
    model, data = Branches(), [(torch.ones(3, 4), torch.ones(3, 2))]
    before = weights_of(model)
    with pytest.raises(Diverged, match=r"left\.weight at batch 0 \(loss 0\)"):
        dash_(model, data, lambda out, y: (0 * out.sum()).abs().sqrt())
    assert equal_bits(weights_of(model), before)


def test_nan_weights_are_refused_before_any_weight_moves() -> None:
    model, data = network("convolutions"), chunks("convolutions")
    with torch.no_grad():
        model.get_parameter("8.weight")[1, 1] = NAN
    before = weights_of(model)
    with pytest.raises(Diverged, match=r"8\.weight|at batch 0 \(loss nan\)"):
        dash_(model, data, functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_infinite_weights_are_refused_though_loss_and_gradients_are_finite() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, NUM_CLASSES))
    with torch.no_grad():
        model.get_parameter("0.bias")[1] = -INF  # a unit switched off for good
    before, data = weights_of(model), chunks("perceptron", 1, torch.float32)
    assert functional.cross_entropy(model(data[0][0]), data[0][1]).isfinite()
    with pytest.raises(Diverged, match=r"0\.bias"):
        dash_(model, data, functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_nan_weights_of_an_unused_layer_are_refused() -> None:
    model = OnlyFirst()
    with torch.no_grad():
        model.unused.weight[1, 1] = NAN
    before = weights_of(model)
    with pytest.raises(Diverged, match=r"unused\.weight"):
        dash_(model, [(torch.ones(3, 2), torch.ones(3, 2))], functional.mse_loss)
    assert equal_bits(weights_of(model), before)


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_non_finite_loss_is_refused_though_its_gradient_is_finite(value: float) -> None:
    model, data = pair(), chunks("perceptron")
    before = weights_of(model)
    with pytest.raises(Diverged, match=r"loss.* batch 0\b"):
        dash_(model, data, lambda out, y: functional.cross_entropy(out, y) + value)
    assert equal_bits(weights_of(model), before)


def test_a_chunk_without_samples_is_refused_by_number() -> None:
    model, data = pair(), chunks("perceptron")
    data[1] = (data[1][0][:0], data[1][1][:0])
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"batch 1\b"):
        dash_(model, data, functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_no_batches_are_refused() -> None:
    model = pair()
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"batches must yield one \(input, target\) per chunk, got none"):
        dash_(model, iter(()), functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


@pytest.mark.parametrize(
    ("item", "got"),
    [
        (torch.zeros(2, 4), "Tensor"),
        ((torch.zeros(2, 4),), "tuple"),
        ((torch.zeros(2, 4), torch.zeros(2), torch.zeros(2)), "tuple"),
        ({"input": 1, "target": 2}, "dict"),
        ("xy", "str"),
        (None, "NoneType"),
    ],
)
def test_batches_that_are_not_pairs_are_refused(item: Any, got: str) -> None:
    model = pair()
    before = weights_of(model)
    with pytest.raises(ValueError, match=rf"batches must yield \(input, target\) pairs, got {got} at batch 1\."):
        dash_(model, [*chunks("perceptron", 1), item], functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_a_pair_may_be_a_list() -> None:
    model, data = pair(), chunks("perceptron")
    twin = copy.deepcopy(model)
    lists: Any = [list(chunk) for chunk in data]
    dash_(model, data, functional.cross_entropy)
    dash_(twin, lists, functional.cross_entropy)
    assert equal_bits(weights_of(model), weights_of(twin))


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (lambda out, y: functional.cross_entropy(out, y, reduction="none"), r"shape \(5,\)"),
        (lambda out, y: functional.cross_entropy(out, y).reshape(1), r"shape \(1,\)"),
        (lambda out, y: functional.cross_entropy(out, y).item(), "float"),
        (lambda out, y: None, "NoneType"),
        (lambda out, y: functional.cross_entropy(out, y).detach(), ""),
    ],
    ids=["per sample", "one entry", "number", "nothing", "detached"],
)
def test_a_loss_that_is_no_differentiable_scalar_is_refused(loss: Callable[..., Any], got: str) -> None:
    model = pair()
    before = weights_of(model)
    with pytest.raises(ValueError, match=rf"loss_fn must .*{got}.* at batch 0\."):
        dash_(model, chunks("perceptron"), loss)
    assert equal_bits(weights_of(model), before)


@pytest.mark.parametrize(
    ("argument", "value", "interval"),
    [
        *(("alpha", value, r"\(0, 1\]") for value in (0, -0.1, 1.5, True, NAN, INF, 10**400, "0.3", None)),
        *(("lam", value, r"\[0, 1\]") for value in (-0.1, 1.01, False, NAN, -INF, "0.3", None, [0.3])),
    ],
)
def test_arguments_out_of_range_are_named_with_their_value(argument: str, value: Any, interval: str) -> None:
    model = pair()
    before = weights_of(model)
    seen = []

    def data() -> Iterator[Chunk]:
        seen.append(1)
        yield from chunks("perceptron")

    with pytest.raises(
        ValueError, match=rf"^{argument} must be a number in {interval}, got {re.escape(repr(value))}\."
    ):
        dash_(model, data(), functional.cross_entropy, **{argument: value})
    assert equal_bits(weights_of(model), before)
    assert not seen


@pytest.mark.parametrize("alpha", [np.float32(0.25), np.float64(0.25), 1])
def test_any_real_number_is_taken(alpha: Any) -> None:
    model = pair()
    twin = copy.deepcopy(model)
    dash_(model, chunks("perceptron"), functional.cross_entropy, alpha=alpha, lam=alpha)
    dash_(twin, chunks("perceptron"), functional.cross_entropy, alpha=float(alpha), lam=float(alpha))
    assert equal_bits(weights_of(model), weights_of(twin))


def test_a_generator_of_batches_is_consumed_once_and_before_any_weight_moves() -> None:
    model, data = network("perceptron"), chunks("perceptron")
    twin = copy.deepcopy(model)
    before, served = weights_of(model), []

    def stream() -> Iterator[Chunk]:
        for chunk in data:
            assert equal_bits(weights_of(model), before)
            served.append(chunk)
            yield chunk

    report = dash_(model, stream(), functional.cross_entropy)
    assert len(served) == report.num_batches == len(data)
    dash_(twin, data, functional.cross_entropy)
    assert equal_bits(weights_of(model), weights_of(twin))


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates it; models that use it remain
        return nn.utils.weight_norm(layer)


def pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", amount=0.5)  # type: ignore[no-any-return]


@pytest.mark.parametrize("compute", [parametrizations.weight_norm, old_weight_norm, pruned])
def test_a_layer_whose_weight_is_computed_is_refused_by_name(compute: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(4, 4), compute(nn.Linear(4, NUM_CLASSES)))
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"model must store .* got a computed 1\.weight"):
        dash_(model, chunks("perceptron", 1, torch.float32), functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_a_model_whose_copy_computes_with_the_original_is_refused() -> None:
    model, data = pair(), chunks("perceptron")
    layers = list(model.children())

    def through_the_original(value: Tensor) -> Tensor:
        for layer in layers:
            value = layer(value)
        return value

    model.forward = through_the_original  # type: ignore[method-assign]  # as a careless wrapper does
    before = weights_of(model)
    with pytest.raises(ValueError, match="model must compute its output with its own layers"):
        dash_(model, data, functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_a_layer_whose_weight_is_a_property_is_refused_by_name() -> None:
    class Doubled(nn.Linear):
        @property
        def weight(self) -> Tensor:
            return 2 * self.kernel

        @weight.setter
        def weight(self, value: Tensor) -> None:
            self.kernel = value

    layer = Doubled(3, 2)
    layer.kernel = nn.Parameter(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"got a computed 0\.weight"):
        dash_(nn.Sequential(layer), [(torch.ones(1, 3), torch.ones(1, 2))], functional.mse_loss)


def test_a_report_can_be_read_by_name_and_in_order() -> None:
    model = pair()
    report = dash_(model, chunks("perceptron"), functional.cross_entropy)
    names = [layer.name for layer in report]
    assert names == [layer.name for layer in report.layers]
    assert all(name in report and report[name].name == name for name in names)
    assert "no such layer" not in report


def test_narrow_weights_are_rounded_once() -> None:
    layer = nn.Linear(64, 32).to(torch.bfloat16)
    before = layer.weight.detach().float()
    data = [(torch.randn(8, 64).to(torch.bfloat16), torch.randn(8, 32).to(torch.bfloat16))]
    report = dash_(layer, data, functional.mse_loss)
    exact = before * report["weight"].scales[:, None]
    assert torch.equal(layer.weight.detach(), exact.to(torch.bfloat16))
    twice = before.to(torch.bfloat16) * report["weight"].scales.to(torch.bfloat16)[:, None]
    assert not torch.equal(layer.weight.detach(), twice)  # the case tells the two apart


def test_recurrent_layers_are_left_alone_and_passed_through() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory, self.head = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, value: Tensor) -> Tensor:
            out: Tensor = self.head(self.memory(value)[0][:, -1])
            return out

    enabled = torch.backends.cudnn.enabled
    report = dash_(Tagger(), [(torch.randn(6, 7, 4), torch.arange(6) % 3)], functional.cross_entropy)
    assert [layer.name for layer in report] == ["head.weight", "head.bias"]
    assert set(report.untouched) == {
        f"memory.{kind}_{part}_l0" for kind in ("weight", "bias") for part in ("ih", "hh")
    }
    assert torch.backends.cudnn.enabled == enabled
