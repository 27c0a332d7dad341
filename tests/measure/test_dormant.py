"""Dormant units by hand, and a measure that leaves nothing behind."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dashtheory.deep.models.picture import PictureNetwork
from dashtheory.measure import dormant_units


def ladder() -> nn.Module:
    """Four units whose activations are 0, 1, 2 and 5 times the input."""
    model = nn.Sequential(nn.Linear(1, 4, bias=False), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[-1.0], [1], [2], [5]]))  # type: ignore[operator]
    return model


def test_scores_are_shares_of_the_layer_s_mean() -> None:
    inputs = torch.tensor([[1.0], [3.0]])
    found = dormant_units(ladder(), inputs)
    torch.testing.assert_close(found.scores["0"], torch.tensor([0, 0.5, 1, 2.5]))
    assert found.silent["0"].tolist() == [True, False, False, False]
    assert (found.share, found.silent_share, found.layers) == (0.25, 0.25, {"0": 0.25})
    assert found.left_out == {"3": "its units are the output"}
    assert dormant_units(ladder(), inputs, tau=0.5).share == 0.5
    assert dormant_units(ladder(), -inputs).layers == {"0": 0.75}


def test_places_of_a_map_count_like_examples() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1])[:, None, None, None])  # type: ignore[operator]
    found = dormant_units(model, torch.tensor([[[[4.0, 0], [0, 0]]], [[[0, 0], [0, -2]]]]))
    torch.testing.assert_close(found.scores["0"], torch.tensor([0.5 / 0.375, 0.25 / 0.375]))
    assert not found.silent["0"].any()


def test_it_leaves_the_network_and_the_streams_as_they_were() -> None:
    model = ladder()
    model[2].eval()  # type: ignore[index]
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    modes = [part.training for part in model.modules()]
    dormant_units(model, torch.randn(3, 1, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert all(value.grad is None for value in model.parameters())


def test_a_network_that_takes_inputs_in_parts_is_looked_at_whole() -> None:
    core = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2))
    pictures = torch.randn(10, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    model = PictureNetwork(core, [0.0] * 3, [1.0] * 3, channels_last=False, part=3)
    ours, theirs = dormant_units(model, pictures), dormant_units(core, pictures)
    torch.testing.assert_close(ours.scores["network.1"], theirs.scores["1"])


def test_what_it_cannot_look_at_is_refused_in_one_line() -> None:
    for model, inputs, words in (
        (nn.Sequential(nn.Linear(1, 2)), torch.ones(1, 1), "model must have a layer of hidden units"),
        (ladder(), torch.ones(0, 1), "inputs must hold an example"),
    ):
        with pytest.raises(ValueError, match=rf"^{words}[^\n]+$"):
            dormant_units(model, inputs)
    with pytest.raises(ValueError, match=r"^tau must be "):
        dormant_units(ladder(), torch.ones(1, 1), tau=-1)
