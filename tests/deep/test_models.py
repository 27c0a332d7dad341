"""The image models: sizes counted by hand, initial weights, the table by name, and errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from dashtheory.deep.models import MODELS, Classifier, build_model
from dashtheory.deep.models.classifier import convolutional
from dashtheory.deep.models.initialize import drawn
from tests.deep.model_cases import EVERY, SMALL, seeded, small


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# Sizes


def conv_norm(inputs: int, outputs: int, kernel: int = 9) -> int:
    return kernel * inputs * outputs + 2 * outputs


def block(inputs: int, outputs: int) -> int:
    shortcut = 0 if inputs == outputs else conv_norm(inputs, outputs, kernel=1)
    return conv_norm(inputs, outputs) + conv_norm(outputs, outputs) + shortcut


def resnet18_count(width: int, channels: int, classes: int) -> int:
    stages = [
        block(width * a, width * b) + block(width * b, width * b) for a, b in ((1, 1), (1, 2), (2, 4), (4, 8))
    ]
    return conv_norm(channels, width) + sum(stages) + (8 * width + 1) * classes


VGG_PAIRS = ((64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)) + (
    ((256, 512), (512, 512), (512, 512)) + ((512, 512),) * 3
)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options", "count", "stated"),
    [
        ("mlp", (3, 32, 32), 10, {}, 3073 * 256 + 512 + 257 * 256 + 512 + 2570, True),
        ("mlp", (7,), 2, {"widths": (5, 4, 3)}, 8 * 5 + 6 * 4 + 5 * 3 + 2 * 12 + 4 * 2, False),
        ("mlp", (7,), 2, {"widths": [5, 4], "batch_norm": False}, 8 * 5 + 6 * 4 + 5 * 2, False),
        ("mlp", (2, 3), 4, {"widths": ()}, 7 * 4, False),
        (
            "convnet",
            (3, 16, 16),
            10,
            {},
            conv_norm(3, 16) + conv_norm(16, 32) + conv_norm(32, 64) + 650,
            True,
        ),
        ("convnet", (1, 8, 8), 3, {"depth": 1, "width": 5}, conv_norm(1, 5) + 18, False),
        ("narrow_resnet", (3, 8, 8), 10, {}, 78_042, True),
        (
            "narrow_resnet",
            (1, 8, 8),
            7,
            {"width": 6, "blocks": 2},
            conv_norm(1, 6) + 2 * block(6, 6) + block(6, 12) + block(12, 12) + block(12, 24) + block(24, 24) + 175,
            False,
        ),
        ("resnet18", (3, 32, 32), 10, {}, 11_173_962, True),
        ("resnet18", (3, 32, 32), 10, {"max_pool": False}, resnet18_count(64, 3, 10), True),
        ("resnet18", (1, 64, 64), 200, {"width": 8}, resnet18_count(8, 1, 200), False),
        (
            "vgg16",
            (3, 32, 32),
            10,
            {},
            30 * 64 + sum((9 * a + 1 + 2) * b for a, b in VGG_PAIRS) + 513 * 10,
            True,
        ),
    ],
)
def test_parameters_are_as_many_as_counted_by_hand_and_as_stated(
    name: str, shape: tuple[int, ...], classes: int, options: dict[str, object], count: int, stated: bool
) -> None:
    network = build_model(name, shape, classes, seeded(), **options)
    assert num_parameters(network) == count
    assert not stated or f"{count:,}" in str(MODELS[name].factory.__doc__)
    assert network(torch.zeros(2, *shape)).shape == (2, classes)


# Initial weights


@EVERY
def test_every_number_is_drawn_from_the_generator_in_module_order(name: str) -> None:
    network, generator = small(name, seed=3), seeded(3)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            outputs, _, height, width = module.weight.shape
            normal = torch.empty(module.weight.shape).normal_(generator=generator)
            torch.testing.assert_close(module.weight.data, normal * math.sqrt(2 / (outputs * height * width)))
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            for parameter in (module.weight, module.bias):
                uniform = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                torch.testing.assert_close(parameter.data, uniform)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            found = [module.weight, module.bias, module.running_mean, module.running_var]
            assert [set(values.tolist()) for values in found if values is not None] == [{1.0}, {0.0}, {0.0}, {1.0}]
            assert module.num_batches_tracked == 0
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in network.parameters())
    assert network.training


@EVERY
def test_the_generator_decides_all_and_the_global_stream_nothing(name: str) -> None:
    def weights(global_seed: int, seed: int, threads: int = 1) -> list[bytes]:
        with torch.random.fork_rng():
            torch.manual_seed(global_seed)
            before = torch.get_rng_state()
            torch.set_num_threads(threads)
            try:
                network = small(name, seed)
            finally:
                torch.set_num_threads(1)
            assert torch.equal(torch.get_rng_state(), before)
        return [value.numpy().tobytes() for value in network.state_dict().values()]

    assert weights(0, seed=5) == weights(1, seed=5) == weights(2, seed=5, threads=2)
    assert weights(0, seed=5) != weights(0, seed=6)


def test_a_generator_goes_on_where_it_was() -> None:
    generator = seeded()
    first, second = (build_model("mlp", (4,), 2, generator) for _ in range(2))
    assert not torch.equal(first.head.weight, second.head.weight)


def test_a_layer_without_a_rule_of_initialisation_is_refused() -> None:
    def make() -> Classifier:
        return convolutional([nn.GroupNorm(1, 3)], 3, 2, input_shape=(3, 4, 4), norm_map=(4, 4))

    with pytest.raises(TypeError, match="no rule to initialise GroupNorm"):
        drawn(make, seeded())


# The table of models, and errors


def test_the_table_names_models_options_and_defaults() -> None:
    assert {name: model.options for name, model in MODELS.items()} == {
        "mlp": {"widths": (256, 256), "batch_norm": True},
        "convnet": {"depth": 3, "width": 16},
        "narrow_resnet": {"width": 16, "blocks": 1},
        "resnet18": {"max_pool": True, "width": 64},
        "vgg16": {"width": 64},
    }
    assert list(MODELS) == list(SMALL)
    for model in MODELS.values():
        assert len(model.description) > 10
        assert "\n" not in model.description


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options", "message"),
    [
        ("resnet19", (3, 32, 32), 10, {}, "name must be one of mlp, convnet, narrow_resnet, resnet18, vgg16"),
        ("mlp", (3, 32, 32), 10, {"depth": 2}, r"options of model mlp must be among \['batch_norm', 'widths'\]"),
        ("mlp", (3, 32, 32), 10, {"widths": 100}, "widths must be a sequence of sizes, got 100"),
        ("mlp", (3, 32, 32), 10, {"widths": "100"}, "widths must be a sequence of sizes, got '100'"),
        ("mlp", (3, 32, 32), 10, {"widths": (5, 0)}, "widths must be an integer >= 1, got 0"),
        ("mlp", (3, 32, 32), 10, {"batch_norm": 1}, "batch_norm must be True or False, got 1"),
        ("mlp", (), 10, {}, r"input_shape must be a sequence of sizes, got \(\)"),
        ("mlp", 5, 10, {}, "input_shape must be a sequence of sizes, got 5"),
        ("mlp", "345", 10, {}, "input_shape must be a sequence of sizes, got '345'"),
        ("mlp", (3, 0), 10, {}, "input_shape must be an integer >= 1, got 0"),
        ("mlp", (3, 4), 1, {}, "num_classes must be an integer >= 2, got 1"),
        ("convnet", (3, 32), 10, {}, r"input_shape must be \(channels, height, width\), got \(3, 32\)"),
        ("convnet", (3, 32, 32), 10, {"depth": 0}, "depth must be an integer >= 1, got 0"),
        ("convnet", (3, 32, 32), 10, {"width": 0}, "width must be an integer >= 1, got 0"),
        ("narrow_resnet", (3, 8, 8), 10, {"blocks": 0}, "blocks must be an integer >= 1, got 0"),
        ("narrow_resnet", (3, 8, 8), 10, {"width": 1.5}, "width must be an integer >= 1, got 1.5"),
        ("resnet18", (3, 32, 32), 10, {"max_pool": "no"}, "max_pool must be True or False, got 'no'"),
        ("resnet18", (3, 32, 32), 0, {}, "num_classes must be an integer >= 2, got 0"),
        ("vgg16", (3, 32, 32), 10, {"width": -1}, "width must be an integer >= 1, got -1"),
    ],
)
def test_wrong_arguments_are_named(
    name: str, shape: tuple[int, ...], classes: int, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(name, shape, classes, seeded(), **options)


@pytest.mark.parametrize("generator", [None, 0, np.random.default_rng(0)])
def test_only_a_generator_of_torch_will_do(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match=r"generator must be a torch\.Generator of the CPU"):
        build_model("mlp", (4,), 2, generator)
