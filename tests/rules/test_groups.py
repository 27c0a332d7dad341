"""Which parameters the rules shrink, and which entries share a factor."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from dashtheory.rules import Target, shrink_and_perturb_, targets
from dashtheory.rules.groups import Kind, by_group, scale_groups_, untouched

LAYERS: dict[str, tuple[Callable[[], nn.Module], list[tuple[str, Kind, tuple[int, ...]]]]] = {
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3), [("weight", "kernel", (6, 4)), ("bias", "vector", ())]),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (2, 3)), [("weight", "kernel", (6, 4)), ("bias", "vector", ())]),
    "Conv2d in groups": (
        lambda: nn.Conv2d(4, 6, 3, groups=2),
        [("weight", "kernel", (6, 2)), ("bias", "vector", ())],
    ),
    "Conv2d 1x1": (lambda: nn.Conv2d(4, 6, 1, bias=False), [("weight", "kernel", (6, 4))]),
    "Conv3d": (lambda: nn.Conv3d(4, 6, 2, bias=False), [("weight", "kernel", (6, 4))]),
    "ConvTranspose1d": (
        lambda: nn.ConvTranspose1d(4, 6, 3),
        [("weight", "kernel", (4, 6)), ("bias", "vector", ())],
    ),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
        [("weight", "kernel", (4, 3)), ("bias", "vector", ())],
    ),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 6, 2, bias=False), [("weight", "kernel", (4, 6))]),
    "Linear": (lambda: nn.Linear(4, 6), [("weight", "row", (6,)), ("bias", "vector", ())]),
    "Linear without bias": (lambda: nn.Linear(4, 6, bias=False), [("weight", "row", (6,))]),
    "MultiheadAttention": (
        lambda: nn.MultiheadAttention(4, 2),
        [
            ("in_proj_weight", "row", (12,)),
            ("in_proj_bias", "vector", ()),
            ("out_proj.weight", "row", (4,)),
            ("out_proj.bias", "vector", ()),
        ],
    ),
    "MultiheadAttention with other keys": (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5, bias=False, add_bias_kv=True),
        [
            ("q_proj_weight", "row", (4,)),
            ("k_proj_weight", "row", (4,)),
            ("v_proj_weight", "row", (4,)),
            ("out_proj.weight", "row", (4,)),
        ],
    ),
}
LEFT_ALONE: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm1d": lambda: nn.BatchNorm1d(3),
    "BatchNorm2d": lambda: nn.BatchNorm2d(3),
    "LayerNorm": lambda: nn.LayerNorm(3),
    "GroupNorm": lambda: nn.GroupNorm(1, 3),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(3, affine=True),
    "RMSNorm": lambda: nn.RMSNorm(3),
    "PReLU": lambda: nn.PReLU(3),
    "Embedding": lambda: nn.Embedding(5, 3),
    "EmbeddingBag": lambda: nn.EmbeddingBag(5, 3),
    "Bilinear": lambda: nn.Bilinear(3, 3, 2),
    "RNN": lambda: nn.RNN(3, 3),
    "LSTM": lambda: nn.LSTM(3, 3),
    "GRU": lambda: nn.GRU(3, 3),
    "GRUCell": lambda: nn.GRUCell(3, 3),
    "bare parameters": lambda: nn.ParameterList([nn.Parameter(torch.ones(3))]),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_type_groups_as_documented(layer: str) -> None:
    build, expected = LAYERS[layer]
    found = targets(build())
    assert [(target.name, target.kind, tuple(target.group_shape)) for target in found] == expected


@pytest.mark.parametrize("layer", LEFT_ALONE)
def test_other_layers_are_left_alone_and_listed(layer: str) -> None:
    model = nn.ModuleDict({"other": LEFT_ALONE[layer](), "head": nn.Linear(3, 2)})
    assert [target.name for target in targets(model)] == ["head.weight", "head.bias"]
    assert untouched(model) == tuple(name for name, _ in model.named_parameters() if name.startswith("other."))


def test_targets_and_untouched_share_out_all_parameters() -> None:
    model = nn.TransformerEncoderLayer(4, 2, 8)
    model.linear2.requires_grad_(False)
    chosen = [target.name for target in targets(model)]
    assert sorted([*chosen, *untouched(model)]) == sorted(name for name, _ in model.named_parameters())
    assert {"linear2.weight", "linear2.bias", "norm1.weight"} <= set(untouched(model))


def test_targets_hold_the_parameters_of_their_names_in_model_order() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), nn.Linear(3, 2))
    found = targets(model)
    assert [target.name for target in found] == [
        *("0.weight", "0.bias", "1.0.weight", "1.0.bias", "2.weight", "2.bias")
    ]
    assert all(model.get_parameter(target.name) is target.parameter for target in found)


def test_a_tied_weight_counts_once_under_its_first_layer() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    assert [target.name for target in targets(model)] == ["0.weight", "0.bias", "2.bias"]
    assert untouched(model) == ()


def test_an_embedding_tied_to_a_linear_layer_counts_as_linear() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["embed"].weight
    assert [(target.name, target.kind) for target in targets(model)] == [("head.weight", "row")]
    assert untouched(model) == ()


def test_a_module_with_two_names_counts_once() -> None:
    layer = nn.Linear(3, 3)
    assert [target.name for target in targets(nn.Sequential(layer, nn.ReLU(), layer))] == ["0.weight", "0.bias"]


def test_frozen_parameters_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    model[1].bias.requires_grad_(False)
    assert [target.name for target in targets(model)] == ["1.weight"]
    assert untouched(model) == ("0.weight", "0.bias", "1.bias")


@pytest.mark.parametrize(
    "build",
    [lambda: nn.Linear(3, 2).requires_grad_(False), lambda: nn.LSTM(3, 3), nn.Identity],
    ids=["all frozen", "no such layer", "no parameter"],
)
def test_a_model_with_nothing_to_shrink_is_refused(build: Callable[[], nn.Module]) -> None:
    model = build()
    with pytest.raises(ValueError, match=rf"model must have .* requires_grad=True, got {type(model).__name__}\."):
        targets(model)


@pytest.mark.parametrize(
    "parametrize", [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal]
)
def test_a_parametrized_layer_is_refused_by_name(parametrize: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(parametrize(nn.Linear(3, 3))))
    with pytest.raises(ValueError, match=r"model must store .* got a computed 1\.0\.weight"):
        targets(model)


def test_refusing_a_parametrized_layer_moves_no_buffer() -> None:
    model = parametrizations.spectral_norm(nn.Linear(60, 40), n_power_iterations=1).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with pytest.raises(ValueError, match="computed weight"):
        shrink_and_perturb_(model, generator=torch.Generator().manual_seed(0))
    assert before.keys() == dict(model.named_buffers()).keys() != set()
    for name, buffer in model.named_buffers():
        assert torch.equal(before[name], buffer), name


def layouts(shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The same numbers 0, 1, 2, ... (plus one) of the given shape, in several layouts of memory."""
    plain = torch.arange(1.0, 1 + torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)
    axes = tuple(range(len(shape)))[::-1]
    found = {"contiguous": plain, "reversed axes": plain.permute(axes).contiguous().permute(axes)}
    wide = torch.zeros((*shape[:-1], 2 * shape[-1]), dtype=torch.float64)
    found["every other entry"] = wide[..., ::2]
    found["every other entry"].copy_(plain)
    if len(shape) == 4:
        found["channels_last"] = plain.contiguous(memory_format=torch.channels_last)
    if len(shape) == 5:
        found["channels_last_3d"] = plain.contiguous(memory_format=torch.channels_last_3d)
    return found


SHAPES: list[tuple[Kind, tuple[int, ...]]] = [
    ("kernel", (3, 2, 4)),
    ("kernel", (3, 2, 2, 3)),
    ("kernel", (3, 2, 1, 1)),
    ("kernel", (2, 3, 2, 1, 2)),
    ("row", (3, 5)),
    ("vector", (4,)),
]
NUM_AXES = {"kernel": 2, "row": 1, "vector": 0}


@pytest.mark.parametrize(("kind", "shape"), SHAPES)
def test_groups_list_their_entries_in_logical_order_in_every_layout(kind: Kind, shape: tuple[int, ...]) -> None:
    num_groups = torch.Size(shape[: NUM_AXES[kind]]).numel()
    for layout, values in layouts(shape).items():
        indices = itertools.product(*(range(length) for length in shape))
        expected = torch.tensor([values[index] for index in indices]).reshape(num_groups, -1)
        assert by_group(values, kind).tolist() == expected.tolist(), layout


@pytest.mark.parametrize(("kind", "shape"), SHAPES)
def test_scaling_multiplies_each_group_by_its_number_in_every_layout(kind: Kind, shape: tuple[int, ...]) -> None:
    for layout, values in layouts(shape).items():
        before, parameter = values.clone(), nn.Parameter(values)
        target = Target("weight", parameter, kind)
        factors = 2.0 ** torch.arange(target.group_shape.numel()).reshape(target.group_shape)
        strides, place = parameter.stride(), parameter.data_ptr()
        scale_groups_(target, factors)
        for index in itertools.product(*(range(length) for length in shape)):
            factor = factors[index[: NUM_AXES[kind]]].item()
            assert parameter[index].item() == factor * before[index].item(), (layout, index)
        assert (parameter.stride(), parameter.data_ptr()) == (strides, place), layout
