"""Networks of bytes: normalised on the device, in parts, layouts and precisions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dashtheory.deep.models import PictureNetwork
from dashtheory.evaluate import cross_entropy
from dashtheory.rules import dash_
from tests.protocol.fast_cases import MEAN, STD, network, pictures, same


def test_normalisation_is_that_of_the_float_stream_to_the_bit() -> None:
    images = pictures(5).inputs
    shift, scale = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    model = network(channels_last=False).eval()
    assert torch.equal(model(images), model.network(images.float().sub_(shift).div_(scale)))


def test_memory_layout_and_precision_change_rounding_alone() -> None:
    images = pictures(9).inputs
    plain = network(channels_last=False).eval()(images)
    torch.testing.assert_close(network().eval()(images), plain, rtol=1e-4, atol=1e-5)
    rough = network(precision="bfloat16").eval()(images)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, plain)
    assert (rough - plain).norm() < 0.05 * plain.norm()  # bfloat16 has 8 bits; some 20 layers


@pytest.mark.parametrize("number", [1, 4, 9])
def test_parts_give_the_logits_and_gradients_of_the_whole(number: int) -> None:
    batch = pictures(number)
    found = []
    for part in (4, 100):
        model = network(part=part).eval()
        loss = cross_entropy(model(batch.inputs), batch.targets)
        loss.backward()
        with torch.no_grad():
            torch.testing.assert_close(model(batch.inputs), network().eval()(batch.inputs))
        found.append([p.grad for p in model.parameters()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)  # sums in another order


def test_training_mode_never_takes_parts() -> None:
    batch = pictures(9)
    ours, theirs = network(part=4), network(part=100)
    assert torch.equal(ours(batch.inputs), theirs(batch.inputs))


def test_dash_acts_on_bytes_as_on_normalised_pictures() -> None:
    batch = pictures(20)
    shift, scale = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    ours, plain = network(), network(channels_last=False).network
    dash_(ours, [(batch.inputs, batch.targets)], cross_entropy)
    dash_(plain, [(((batch.inputs - shift) / scale), batch.targets)], cross_entropy)
    for mine, other in zip(ours.network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)  # layouts round differently


def test_a_copy_and_a_checkpoint_hold_the_network_alone() -> None:
    model = network()
    assert all(name.startswith("network.") for name in model.state_dict())
    assert same(model, copy.deepcopy(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (1.0,), "std": (1.0, 1.0)}, "mean and std must be one number per channel"),
        ({"mean": (1.0,), "std": (0.0,)}, "mean and std must be one number per channel"),
        ({"precision": "half"}, "precision must be one of float32, tf32, bfloat16"),
        ({"part": 0}, "part must be"),
    ],
)
def test_bad_networks_name_the_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PictureNetwork(nn.Identity(), **{"mean": MEAN, "std": STD, **options})
