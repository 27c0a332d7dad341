"""The image models: sizes, arithmetic, initial weights, and what they refuse."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.deep.models import MODELS, Classifier, build_model
from dashtheory.deep.models.classifier import convolutional
from dashtheory.deep.models.initialize import drawn
from dashtheory.protocol import Task, TrainConfig, run_stages
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules import Dash, dash_, targets
from dashtheory.stream import Examples, Stream

SMALL: dict[str, tuple[tuple[int, ...], dict[str, object]]] = {
    "mlp": ((3, 4, 4), {"widths": (12, 8)}),
    "convnet": ((3, 8, 8), {"width": 4}),
    "narrow_resnet": ((3, 8, 8), {"width": 4}),
    "resnet18": ((3, 32, 32), {"width": 2}),
    "vgg16": ((3, 32, 32), {"width": 2}),
}
EVERY = pytest.mark.parametrize("name", SMALL)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(name: str, seed: int = 0, options: dict[str, object] | None = None) -> Classifier:
    shape, defaults = SMALL[name]
    return build_model(name, shape, 5, seeded(seed), **{**defaults, **(options or {})})


def images(name: str, batch: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(batch, *SMALL[name][0], generator=seeded(seed))


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


# Arithmetic: each network written out once more, in float64, from its tensors in order


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


# Use


@EVERY
def test_channels_last_computes_the_same(name: str) -> None:
    network, inputs = small(name), images(name)
    other = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    last = inputs.to(memory_format=torch.channels_last)
    torch.testing.assert_close(other(last), network(inputs), rtol=1e-3, atol=1e-4)
    network.double()(inputs.double()).logsumexp(1).sum().backward()
    other.double()(last.double()).logsumexp(1).sum().backward()
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-6, atol=1e-8, check_stride=False)


@EVERY
def test_autocast_to_bfloat16_gives_near_logits_and_float32_gradients(name: str) -> None:
    network, inputs = small(name), images(name, batch=8)
    exact = network(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(inputs)
        functional.cross_entropy(logits, torch.arange(8) % 5).backward()
    assert logits.dtype == torch.bfloat16
    assert (logits - exact).norm() < 0.1 * exact.norm()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


@EVERY
def test_weights_save_and_load_without_pickled_code(name: str) -> None:
    network, other, inputs = small(name), small(name, seed=1), images(name)
    network(inputs)  # moves the running statistics
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(network.eval()(inputs), other.eval()(inputs))


@EVERY
def test_rules_shrink_every_convolution_and_linear_layer(name: str) -> None:
    network, inputs = small(name), images(name)
    shrunk = {target.name for target in targets(network)}
    norms = {
        f"{prefix}.{local}"
        for prefix, module in network.named_modules()
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        for local in ("weight", "bias")
    }
    assert shrunk | norms == {key for key, _ in network.named_parameters()}
    before = copy.deepcopy(network.state_dict())
    dash_(network, [(inputs, torch.arange(4))], functional.cross_entropy, alpha=0.3, lam=0.3)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]) == (key not in shrunk or not before[key].any()), key


@EVERY
def test_networks_learn_random_labels(name: str) -> None:
    network, inputs, labels = small(name), images(name, batch=10), torch.arange(10) % 5
    optimizer = make_optimizer("sgd", network.parameters(), learning_rate=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(inputs), labels)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1


def test_the_protocol_trains_them_reproducibly() -> None:
    def weights() -> list[bytes]:
        data = [
            Examples(torch.randn(20, 1, 4, 5, generator=seeded(index)), torch.arange(20) % 3) for index in range(3)
        ]
        task = Task(
            make_model=lambda generator: build_model("narrow_resnet", (1, 4, 5), 3, generator, width=2),
            make_optimizer=lambda parameters: make_optimizer("sgd", parameters, learning_rate=0.01),
        )
        results = run_stages(
            Stream(chunks=tuple(data[:2]), test=data[2]),
            Dash(alpha=0.3, lam=0.3),
            task,
            TrainConfig(batch_size=8, max_epochs=2),
            seed=0,
        )
        *_, last = results
        assert last.stage == 2
        return [value.numpy().tobytes() for value in last.learner.model.state_dict().values()]

    assert weights() == weights()


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
