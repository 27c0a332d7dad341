"""Convolutions as products per output pixel: the numbers of `nn.Conv2d`, in all three directions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dashtheory.deep.config import RunConfig
from dashtheory.deep.models import resnet18, small_maps, vgg16
from dashtheory.deep.models.small_maps import MOST_PIXELS, SmallMapConv2d, sights, take_products_
from dashtheory.deep.task import make_source, make_task
from dashtheory.rules import targets


def pair(*arguments: Any, dtype: torch.dtype = torch.float64, **options: Any) -> tuple[nn.Conv2d, SmallMapConv2d]:
    """A convolution, and one that takes products with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = nn.Conv2d(*arguments, **options).to(dtype)
    made = copy.deepcopy(plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_maps, "FEWEST_WEIGHTS", 1)
        take_products_(made)
    assert isinstance(made, SmallMapConv2d)
    return plain, made


def outcome(layer: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Output, and gradients of a sum of its squares by data, weight and bias."""
    given_inputs = inputs.clone().requires_grad_()
    out = layer(given_inputs)
    found = torch.autograd.grad((out.double() ** 2).sum(), [given_inputs, *layer.parameters()])
    return [out.detach(), *found]


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.tuples(st.integers(1, 3), st.integers(2, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    bias=st.booleans(),
)
def test_output_and_gradients_are_those_of_the_convolution(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    bias: bool,
) -> None:
    """At any size: larger outputs are the convolution itself, and so is what has none."""
    if any(length + 2 * pad < width for length, pad, width in zip(size, padding, kernel, strict=True)):
        return
    plain, made = pair(2, 3, kernel, stride=stride, padding=padding, bias=bias)
    inputs = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for expected, found in zip(outcome(plain, inputs), outcome(made, inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        assert found.shape == expected.shape


def test_gradients_are_right_by_finite_differences() -> None:
    _, made = pair(2, 3, 3, padding=1)
    inputs = torch.randn(2, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.autograd.gradcheck(made, (inputs.requires_grad_(),))


def test_pixels_that_the_kernel_does_not_reach_are_left_out() -> None:
    seen = sights((2, 2), (3, 3), (1, 1), (1, 1))
    assert len(seen) == 4
    assert seen[0].inputs == (slice(0, 2), slice(0, 2))
    assert [one.kernel for one in seen] == [
        (slice(1, 3), slice(1, 3)),
        (slice(1, 3), slice(0, 2)),
        (slice(0, 2), slice(1, 3)),
        (slice(0, 2), slice(0, 2)),
    ]
    beyond = sights((1, 1), (1, 1), (2, 2), (1, 1))  # all four over the padding alone: nothing meets
    assert [len(range(1)[one.inputs[0]]) for one in beyond] == [len(range(1)[one.kernel[0]]) for one in beyond]
    assert [len(range(1)[one.inputs[0]]) for one in beyond] == [0] * 4


def test_only_small_outputs_take_products(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def note(self: nn.Conv2d, inputs: Tensor) -> Tensor:
        calls.append(inputs.shape[-1])
        return inputs

    monkeypatch.setattr(nn.Conv2d, "forward", note)
    _, made = pair(2, 2, 3, padding=1)
    side = int(MOST_PIXELS**0.5)
    for length in (side, side + 1):
        made(torch.zeros(1, 2, length, length, dtype=torch.float64))
    made(torch.zeros(2, side, side, dtype=torch.float64))  # one picture, without a batch
    assert calls == [side + 1, side]


def test_in_bfloat16_it_is_as_near_to_float32_as_the_convolution_is() -> None:
    plain, made = pair(64, 64, 3, padding=1, dtype=torch.float32)
    inputs = torch.randn(16, 64, 2, 2, generator=torch.Generator().manual_seed(3))
    exact = outcome(plain, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        rounded, found = outcome(plain, inputs), outcome(made, inputs)
    assert found[0].dtype == torch.bfloat16
    for wanted, other, ours in zip(exact, rounded, found, strict=True):
        assert ours.dtype == other.dtype
        off = [float((value.float() - wanted).norm() / wanted.norm()) for value in (other, ours)]
        assert 0 < off[1] < 1.5 * off[0]  # each of up to four parts is rounded before they are added


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow layers take products too."""
    monkeypatch.setattr(small_maps, "FEWEST_WEIGHTS", 1)


def test_autocast_leaves_float64_as_it_is() -> None:
    """As it does for convolutions: a copy in float64 tells which weights are scale-invariant."""
    plain, made = pair(3, 5, 3, padding=1)
    inputs = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = [layer(inputs) for layer in (plain, made)]
    assert outputs[0].dtype == outputs[1].dtype == torch.float64
    torch.testing.assert_close(outputs[1], outputs[0])


def test_narrow_layers_stay() -> None:
    assert type(take_products_(nn.Conv2d(64, 64, 3))) is nn.Conv2d
    assert type(take_products_(nn.Conv2d(128, 128, 3))) is SmallMapConv2d


@pytest.mark.usefixtures("always")
def test_names_parameters_and_what_rules_shrink_stay() -> None:
    network = resnet18((3, 32, 32), 10, torch.Generator().manual_seed(0), width=4)
    other = copy.deepcopy(network)
    assert take_products_(other) is other
    assert list(other.state_dict()) == list(network.state_dict())
    assert [(one.name, one.kind) for one in targets(other)] == [(one.name, one.kind) for one in targets(network)]
    kinds = {type(module) for module in other.modules() if isinstance(module, nn.Conv2d)}
    assert kinds == {SmallMapConv2d, nn.Conv2d}  # kernels of 1x1 stay


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(4, 4, 1),
    ],
)
def test_other_convolutions_stay(layer: nn.Module) -> None:
    assert type(take_products_(layer)) is nn.Conv2d


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("make", [resnet18, vgg16])
def test_a_whole_network_gives_the_same_up_to_rounding(make: Any) -> None:
    network = make((3, 32, 32), 10, torch.Generator().manual_seed(0), width=4).double()
    other = take_products_(copy.deepcopy(network))
    inputs = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for expected, found in zip(outcome(network, inputs), outcome(other, inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("engine", ["plain", "fast"])
def test_the_fast_engine_takes_them_and_the_plain_one_does_not(engine: str) -> None:
    config = RunConfig.of(num_chunks=1, chunk_size=20, engine=engine)
    task = make_task(config, make_source(config, 0))
    model = task.make_model(torch.Generator().manual_seed(0))
    taken = any(isinstance(module, SmallMapConv2d) for module in model.modules())
    assert taken == (engine == "fast")
