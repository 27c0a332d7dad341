"""Augmentation changes pictures as said, by draws that are uniform."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dashtheory.deep.data import PictureAugmentation
from dashtheory.protocol import TrainConfig, train
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules import Learner
from dashtheory.seeds import torch_stream
from tests.protocol.fast_cases import network, pictures


def naive(image: Tensor, down: int, right: int, mirrored: bool, angle: float) -> Tensor:
    """Crop, mirror, rotate one picture, pixel by pixel."""
    _, height, width = image.shape
    cropped = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                cropped[:, y, x] = image[:, y + down, x + right]
    if mirrored:
        cropped = cropped.flip(2)
    result = torch.zeros_like(image)
    cos, sin = math.cos(angle), math.sin(angle)
    for y in range(height):
        for x in range(width):
            v, u = y - (height - 1) / 2, x - (width - 1) / 2
            row, column = (
                round(cos * v + sin * u + (height - 1) / 2),
                round(cos * u - sin * v + (width - 1) / 2),
            )
            if 0 <= row < height and 0 <= column < width:
                result[:, y, x] = cropped[:, row, column]
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.booleans()),
    st.sampled_from([0.0, 0.1, -0.2, 0.26, 1.0]),
    st.sampled_from([(5, 6), (6, 5), (7, 7)]),
)
def test_a_picture_is_changed_as_one_by_one(
    moves: tuple[int, int, bool], angle: float, shape: tuple[int, int]
) -> None:
    images = torch.arange(1, 2 * 3 * math.prod(shape) + 1).view(2, 3, *shape).to(torch.uint8)
    down, right, mirrored = moves
    augmentation = PictureAugmentation(pad=3, rotation=60.0)
    draws = torch.tensor([[0.0, 0.0, 0.0, 0.0], [down, right, mirrored, angle]])
    changed = augmentation(images, draws)
    assert changed.dtype == torch.uint8
    assert torch.equal(changed[0], images[0])
    assert torch.equal(changed[1], naive(images[1], down, right, mirrored, angle))


def test_draws_are_uniform_over_what_they_may_be() -> None:
    draws = PictureAugmentation(pad=2, rotation=90.0).draw(20_000, torch_stream(0, "augmentation"))
    for column in (0, 1):
        values, counts = draws[:, column].unique(return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert counts.min() > 3700  # 4000 expected; 5 standard deviations are 283
    assert draws[:, 2].mean() == pytest.approx(0.5, abs=0.02)
    assert draws[:, 3].abs().max() <= math.pi / 2
    assert draws[:, 3].abs().mean() == pytest.approx(math.pi / 4, abs=0.02)
    off = PictureAugmentation(pad=0, flip=False).draw(10, torch_stream(0, "augmentation"))
    assert not off.any()


@pytest.mark.parametrize(
    ("options", "message"), [({"pad": -1}, "pad must be"), ({"rotation": 200.0}, "rotation must be")]
)
def test_bad_augmentations_name_the_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PictureAugmentation(**options)


def test_an_augmentation_needs_its_stream() -> None:
    model = network()
    learner = Learner(model, make_optimizer("sgd", model.parameters(), learning_rate=0.01))
    with pytest.raises(ValueError, match="draws must be a generator"):
        train(learner, pictures(4), TrainConfig(), torch_stream(0, "order"), augmentation=PictureAugmentation())
