"""The image models compute what networks written out again, in float64 from their tensors in order, compute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.deep.model_cases import SMALL, images, seeded, small


def normalise(values: Tensor, weights: Iterator[Tensor]) -> Tensor:
    """Batch norm in training mode."""
    axes = [axis for axis in range(values.ndim) if axis != 1]
    shape = [1, -1] + [1] * (values.ndim - 2)
    mean = values.mean(axes, keepdim=True)
    variance = ((values - mean) ** 2).mean(axes, keepdim=True)
    scaled = (values - mean) / torch.sqrt(variance + 1e-5)
    return scaled * next(weights).view(shape) + next(weights).view(shape)


def conv(maps: Tensor, weights: Iterator[Tensor], *, stride: int = 1, bias: bool = False) -> Tensor:
    kernel = next(weights)
    out = functional.conv2d(maps, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    return normalise(out + next(weights).view(1, -1, 1, 1) if bias else out, weights)


def basic_block(maps: Tensor, weights: Iterator[Tensor], *, stride: int, project: bool) -> Tensor:
    inner = conv(conv(maps, weights, stride=stride).clamp(min=0), weights)
    return (inner + (conv(maps, weights, stride=stride) if project else maps)).clamp(min=0)


def resnet(maps: Tensor, weights: Iterator[Tensor], blocks: list[int], *, max_pool: bool) -> Tensor:
    maps = conv(maps, weights).clamp(min=0)
    if max_pool:
        maps = functional.max_pool2d(maps, 3, 2, 1)
    for stage, index in [(stage, index) for stage, num in enumerate(blocks) for index in range(num)]:
        first = stage > 0 and index == 0
        maps = basic_block(maps, weights, stride=2 if first else 1, project=first)
    return maps.flatten(2).mean(2)


def vgg(maps: Tensor, weights: Iterator[Tensor]) -> Tensor:
    for num in (2, 2, 3, 3, 3):
        for _ in range(num):
            maps = conv(maps, weights, bias=True).clamp(min=0)
        maps = functional.max_pool2d(maps, 2, 2)
    return maps.flatten(2).mean(2)


def convnet(maps: Tensor, weights: Iterator[Tensor], depth: int) -> Tensor:
    for index in range(depth):
        maps = conv(maps, weights, stride=min(index + 1, 2)).clamp(min=0)
    return maps.flatten(2).mean(2)


def mlp(inputs: Tensor, weights: Iterator[Tensor], *, num_hidden: int, batch_norm: bool) -> Tensor:
    hidden = inputs.reshape(len(inputs), -1)
    for _ in range(num_hidden):
        hidden = hidden @ next(weights).T + next(weights)
        hidden = (normalise(hidden, weights) if batch_norm else hidden).clamp(min=0)
    return hidden


def written_out(name: str, options: dict[str, object], inputs: Tensor, weights: Iterator[Tensor]) -> Tensor:
    if name == "mlp":
        widths, norm = options.get("widths", (12, 8)), options.get("batch_norm", True)
        assert isinstance(widths, tuple)
        hidden = mlp(inputs, weights, num_hidden=len(widths), batch_norm=bool(norm))
    elif name == "convnet":
        depth = options.get("depth", 3)
        assert isinstance(depth, int)
        hidden = convnet(inputs, weights, depth)
    elif name == "vgg16":
        hidden = vgg(inputs, weights)
    else:
        blocks = options.get("blocks", 1)
        assert isinstance(blocks, int)
        plan = [2] * 4 if name == "resnet18" else [blocks] * 3
        pool = name == "resnet18" and bool(options.get("max_pool", True))
        hidden = resnet(inputs, weights, plan, max_pool=pool)
    return hidden @ next(weights).T + next(weights)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in SMALL),
        ("mlp", {"batch_norm": False}),
        ("mlp", {"widths": ()}),
        ("convnet", {"depth": 1}),
        ("narrow_resnet", {"blocks": 2}),
        ("resnet18", {"max_pool": False}),
    ],
)
def test_logits_and_gradients_are_those_of_the_network_written_out(name: str, options: dict[str, object]) -> None:
    network, inputs = small(name, options=options).double(), images(name, batch=6).double()
    for index, parameter in enumerate(network.parameters()):  # away from 0 and 1, where parts could hide
        with torch.no_grad():
            parameter.add_(torch.randn(parameter.shape, generator=seeded(index), dtype=torch.float64), alpha=0.1)
    weights = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
    remaining = iter(weights)
    expected = written_out(name, options, inputs, remaining)
    assert next(remaining, None) is None
    logits = network(inputs)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    probe = torch.randn(logits.shape, generator=seeded(99), dtype=torch.float64)
    gradients = torch.autograd.grad((expected * probe).sum(), weights)
    (logits * probe).sum().backward()
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-8)
