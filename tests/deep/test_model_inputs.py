"""What image models take: sizes of images, batches of one, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dashtheory.deep.models import build_model
from tests.deep.model_cases import EVERY, SMALL, seeded, small

# Sizes of images


@pytest.mark.parametrize(
    ("name", "options", "smallest"),
    [
        ("convnet", {"depth": 1}, 1),
        ("convnet", {}, 3),
        ("convnet", {"depth": 4}, 5),
        ("narrow_resnet", {}, 3),
        ("resnet18", {}, 9),
        ("resnet18", {"max_pool": False}, 5),
        ("vgg16", {}, 32),
    ],
)
def test_the_smallest_image_works_and_a_smaller_one_is_refused(
    name: str, options: dict[str, object], smallest: int
) -> None:
    options = {"width": 2, **options}
    for shape in ((1, smallest, smallest), (1, smallest, smallest + 9), (1, smallest + 9, smallest)):
        network = build_model(name, shape, 3, seeded(), **options)
        assert network(torch.randn(2, *shape, generator=seeded())).isfinite().all()
    if smallest > 1:
        for shape in ((1, smallest - 1, smallest), (1, smallest, smallest - 1)):
            with pytest.raises(
                ValueError, match=r"input_shape must leave a map to halve \d times, got .* after \d\."
            ):
                build_model(name, shape, 3, seeded(), **options)


def test_the_message_says_where_the_map_vanished() -> None:
    with pytest.raises(
        ValueError, match=r"halve 5 times, got \(3, 28, 40\), whose map is 1 x 2 after 4\. Use larger"
    ):
        build_model("vgg16", (3, 28, 40), 10, seeded())


@pytest.mark.parametrize(("name", "map_size"), [("resnet18", 8), ("vgg16", 2), ("narrow_resnet", 16)])
def test_images_of_tiny_imagenet_are_averaged_over_what_is_left(name: str, map_size: int) -> None:
    network = build_model(
        name, (3, 64, 64), 200, seeded(), width=2, **({"max_pool": False} if map_size == 8 else {})
    )
    assert isinstance(network.features, nn.Sequential)
    maps = network.features[:-1](torch.randn(2, 3, 64, 64, generator=seeded()))
    assert maps.shape[2:] == (map_size, map_size)
    torch.testing.assert_close(network.features[-1](maps), maps.mean(3).mean(2))


# Batches of one


@pytest.mark.parametrize(
    ("name", "shape", "options", "refused"),
    [
        ("mlp", (6,), {}, True),
        ("mlp", (6,), {"batch_norm": False}, False),
        ("mlp", (6,), {"widths": ()}, False),
        ("convnet", (1, 4, 4), {}, True),
        ("convnet", (1, 4, 5), {}, False),
        ("convnet", (1, 1, 1), {"depth": 1}, True),
        ("narrow_resnet", (1, 4, 4), {"width": 2}, True),
        ("narrow_resnet", (1, 5, 4), {"width": 2}, False),
        ("resnet18", (1, 16, 16), {"width": 2}, True),
        ("resnet18", (1, 16, 16), {"width": 2, "max_pool": False}, False),
        ("resnet18", (1, 32, 32), {"width": 2}, False),
        ("vgg16", (1, 32, 32), {"width": 2}, False),
    ],
)
def test_a_batch_of_one_is_refused_in_training_exactly_where_torch_cannot_normalise_it(
    name: str, shape: tuple[int, ...], options: dict[str, object], refused: bool
) -> None:
    network = build_model(name, shape, 3, seeded(), **options)
    one = torch.randn(1, *shape, generator=seeded())
    if refused:
        with pytest.raises(ValueError, match="at least 2 examples in training mode with batch norm, got 1"):
            network(one)
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):  # torch's own words
            network.features(one)
    else:
        assert network(one).shape == (1, 3)
    assert network(one.expand(2, *shape)).shape == (2, 3)
    assert network.eval()(one).shape == (1, 3)


# Other shapes


@EVERY
def test_inputs_of_another_shape_are_refused(name: str) -> None:
    network, (channels, height, width) = small(name), SMALL[name][0]
    others = [(channels + 1, height, width), (channels, height + 1, width), (channels, height, width - 1)]
    for shape in [
        (),
        (2,),
        (channels, height, width),
        (2, height, width, channels),
        *((2, *other) for other in others),
    ]:
        with pytest.raises(ValueError, match=r"inputs must have shape \(batch, 3, \d+, \d+\), got"):
            network(torch.zeros(shape))
