"""Frozen running statistics: the same outputs, and they come back."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from dashtheory.batchnorm import frozen_running_statistics
from tests.protocol.optimizer_cases import batches, bits, net

LAYERS: list[Callable[[], nn.Module]] = [
    lambda: nn.BatchNorm2d(3),
    lambda: nn.BatchNorm2d(3, momentum=None),
    lambda: nn.BatchNorm2d(3, track_running_stats=False),
    lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
]


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_frozen_layers_compute_the_same_and_keep_their_statistics(
    make: Callable[[], nn.Module], training: bool
) -> None:
    inputs = 3 + 2 * torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(make(), nn.Conv2d(3, 3, 1))
    model(inputs)  # away from mean 0, variance 1
    free, frozen = copy.deepcopy(model).train(training), copy.deepcopy(model).train(training)
    buffers = dict(frozen[0].named_buffers())
    expected = free(inputs)
    with frozen_running_statistics(frozen):
        found = frozen(inputs)
    assert torch.equal(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for one, two in zip(frozen.parameters(), free.parameters(), strict=True):
        assert one.grad is not None
        assert two.grad is not None
        assert torch.equal(one.grad, two.grad)
    assert bits(frozen) == bits(model)
    assert all(value is buffers[name] for name, value in frozen[0].named_buffers())
    assert (bits(free) != bits(model)) == (training and bool(buffers))


def test_statistics_come_back_after_an_error_and_move_again() -> None:
    model, (inputs, _) = net(), batches(1)[0]
    before = bits(model)

    def fail_inside() -> None:
        with frozen_running_statistics(model):
            model(inputs)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert bits(model) == before
    model(inputs)
    assert model[1].num_batches_tracked == 1


def test_freezing_twice_freezes_once() -> None:
    model, (inputs, _) = net(), batches(1)[0]
    before = bits(model)
    with frozen_running_statistics(model), frozen_running_statistics(model):
        model(inputs)
    assert bits(model) == before
