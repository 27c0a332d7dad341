"""DASH: its arithmetic against a transcription by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional

from dashtheory.rules import dash_, smoothed_descent
from tests.oracles.shrink import (
    NETWORKS,
    chunks,
    dash_by_hand,
    entries,
    network,
    shrunk_parameters,
    smoothed_by_hand,
)
from tests.rules.dash_cases import ENTRIES, MATRICES, equal_bits, holding, minus_inner, toward, weights_of


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
