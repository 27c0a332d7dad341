"""Shrink and perturb in Ash & Adams' form: a fresh model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dashtheory.rules import shrink_and_perturb_
from tests.oracles.shrink import NETWORKS, entries, fresh_by_hand, network
from tests.rules.perturb_cases import everything, same


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


def test_masks_and_other_buffers_are_kept_and_running_statistics_taken() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(8, 3), nn.BatchNorm1d(3)
            self.register_buffer("mask", torch.rand(3, 8) < 0.5)
            self.norm.get_buffer("running_mean").normal_()

    model, fresh = Masked(), Masked()
    mask = model.get_buffer("mask").clone()
    assert not torch.equal(mask, fresh.get_buffer("mask"))
    shrink_and_perturb_(model, shrink=0.4, perturb=0.1, fresh=fresh)
    assert torch.equal(model.get_buffer("mask"), mask)
    assert torch.equal(model.get_buffer("norm.running_mean"), fresh.get_buffer("norm.running_mean"))
