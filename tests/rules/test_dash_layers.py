"""DASH on every layout, precision and layer: what is shrunk once, left alone or refused."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from dashtheory.rules import dash_
from tests.oracles.shrink import NUM_CLASSES, chunks, dash_by_hand, entries, network, shrunk_parameters
from tests.rules.dash_cases import equal_bits, pair, weights_of

# ------------------------------------------------------------------------------------- layouts, dtypes, sharing


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("convolutions", torch.channels_last),
        ("transposed", torch.channels_last),
        ("three_dimensional", torch.channels_last_3d),
    ],
)
def test_channels_last_gives_the_numbers_of_contiguous(name: str, layout: torch.memory_format) -> None:
    model, data = network(name), chunks(name)
    before, plain = weights_of(model), copy.deepcopy(model)
    model = model.to(memory_format=layout)  # type: ignore[call-overload]
    strides = {key: value.stride() for key, value in model.named_parameters()}
    assert any(not value.is_contiguous() for value in model.parameters())
    dash_(plain, data, functional.cross_entropy, lam=0.05)
    dash_(model, [(x.contiguous(memory_format=layout), y) for x, y in data], functional.cross_entropy, lam=0.05)
    for key, value in plain.named_parameters():
        torch.testing.assert_close(model.get_parameter(key), value, rtol=1e-11, atol=1e-11, msg=key)
    for key, _, _ in shrunk_parameters(model):
        assert not torch.equal(model.get_parameter(key), before[key]), key
    assert strides == {key: value.stride() for key, value in model.named_parameters()}


def test_non_contiguous_weights_are_shrunk_in_place() -> None:
    model = network("convolutions")
    plain = copy.deepcopy(model)
    for name, value, _ in list(shrunk_parameters(model)):
        module = model.get_submodule(name.rpartition(".")[0])
        reversed_ = tuple(range(value.ndim))[::-1]
        odd = value.detach().permute(reversed_).contiguous().permute(reversed_)
        setattr(module, name.rpartition(".")[2], nn.Parameter(odd))
    strides = [value.stride() for value in model.parameters()]
    data = chunks("convolutions")
    dash_(plain, data, functional.cross_entropy, lam=0.05)
    dash_(model, data, functional.cross_entropy, lam=0.05)
    assert strides == [value.stride() for value in model.parameters()]
    assert strides != [value.stride() for value in plain.parameters()]
    for key, expected in plain.named_parameters():
        torch.testing.assert_close(model.get_parameter(key), expected, rtol=1e-11, atol=1e-11, msg=key)


@pytest.mark.parametrize("name", ["tied_linear", "tied_embedding"])
def test_a_tied_weight_is_shrunk_exactly_once(name: str) -> None:
    model = network(name)
    tied = next(value for value in model.parameters())
    before = tied.detach().clone()
    report = dash_(model, chunks(name), functional.cross_entropy, lam=0.5)
    layer = next(layer for layer in report.layers if model.get_parameter(layer.name) is tied)
    assert len([1 for other in report.layers if other.kind == "row"]) == len(
        {id(value) for _, value, axes in shrunk_parameters(model) if axes == 1}
    )
    assert torch.equal(tied, layer.scales[:, None] * before)
    assert len([1 for _, value in model.named_parameters(remove_duplicate=False) if value is tied]) == 2


def test_a_module_with_two_names_is_shrunk_exactly_once() -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    before = layer.weight.detach().clone()
    report = dash_(model, [(torch.ones(2, 4), torch.ones(2, 4))], functional.mse_loss, lam=0.5)
    assert [found.name for found in report.layers] == ["0.weight", "0.bias"]
    assert torch.equal(layer.weight, report["0.weight"].scales[:, None] * before)


def test_frozen_parameters_keep_their_bits_and_are_listed() -> None:
    model = network("convolutions")
    model.get_submodule("0").requires_grad_(False)
    model.get_parameter("8.bias").requires_grad_(False)
    before = weights_of(model)
    report = dash_(model, chunks("convolutions"), functional.cross_entropy)
    for name in ("0.weight", "0.bias", "8.bias"):
        assert torch.equal(model.get_parameter(name), before[name]), name
        assert name in report.untouched
    assert not torch.equal(model.get_parameter("8.weight"), before["8.weight"])


def test_a_wholly_frozen_model_is_refused() -> None:
    model = network("perceptron").requires_grad_(False)
    with pytest.raises(ValueError, match=r"model must have .* requires_grad=True"):
        dash_(model, chunks("perceptron"), functional.cross_entropy)


def test_embeddings_recurrent_layers_norms_and_bare_parameters_are_listed_as_untouched() -> None:
    model = network("attention")
    before = weights_of(model)
    report = dash_(model, chunks("attention"), functional.cross_entropy)
    expected = {"shift", *(name for name in before if name.split(".")[0] in ("embed", "recurrent", "norm"))}
    assert set(report.untouched) == expected
    for name in expected:
        assert torch.equal(model.get_parameter(name), before[name]), name


def test_attention_projections_are_shrunk_row_by_row() -> None:
    model = network("attention")
    before = model.get_parameter("attend.in_proj_weight").detach().clone()
    layer = dash_(model, chunks("attention"), functional.cross_entropy, lam=0.05)["attend.in_proj_weight"]
    assert (layer.kind, layer.cosines.shape) == ("row", (12,))
    assert len(set(layer.scales.tolist())) > 3
    assert torch.equal(model.get_parameter("attend.in_proj_weight"), layer.scales[:, None] * before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["convolutions", "perceptron"])
def test_half_precision_models_get_cosines_of_single_precision(name: str, dtype: torch.dtype) -> None:
    model, data = network(name, dtype), chunks(name, 3, dtype)
    expected = dash_by_hand(model, data, functional.cross_entropy, alpha=0.3, lam=0.05)
    report = dash_(model, data, functional.cross_entropy, alpha=0.3, lam=0.05)
    for layer in report.layers:
        oracle, parameter = expected[layer.name], model.get_parameter(layer.name)
        assert (layer.cosines.dtype, parameter.dtype) == (torch.float32, dtype)
        # As in single precision: the gradients are the same bits. Half precision would be off by 1e-3 or more.
        np.testing.assert_allclose(layer.cosines, oracle.cosines, atol=3e-5, err_msg=layer.name)
        # Two roundings, of the factor and of the product, by eps / 2 each, and a subnormal one in half.
        margin = float(torch.finfo(dtype).eps)
        np.testing.assert_allclose(
            entries(parameter), oracle.weights, rtol=1.1 * margin, atol=1e-6, err_msg=layer.name
        )


def test_layers_without_entries_are_no_obstacle() -> None:
    class Hollow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # torch: initialising no entries is a no-op
                self.full, self.no_input, self.no_output = nn.Linear(2, 2), nn.Linear(0, 2), nn.Linear(2, 0)

        def forward(self, value: Tensor) -> Tensor:
            out: Tensor = self.full(value) + self.no_input(value[:, :0]) + self.no_output(value).sum()
            return out

    report = dash_(Hollow(), [(torch.ones(3, 2), torch.ones(3, 2))], functional.mse_loss, lam=0.3)
    assert report["no_input.weight"].scales.tolist() == pytest.approx([0.3, 0.3])
    assert report["no_output.weight"].scales.tolist() == []
    assert 0.3 <= report.mean_scale <= 1
    assert 0 <= report.share_clamped <= 1


# ------------------------------------------------------ layers whose weight is computed, narrow, or passed through


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates it; models that use it remain
        return nn.utils.weight_norm(layer)


def pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", amount=0.5)  # type: ignore[no-any-return]


@pytest.mark.parametrize("compute", [parametrizations.weight_norm, old_weight_norm, pruned])
def test_a_layer_whose_weight_is_computed_is_refused_by_name(compute: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(4, 4), compute(nn.Linear(4, NUM_CLASSES)))
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"model must store .* got a computed 1\.weight"):
        dash_(model, chunks("perceptron", 1, torch.float32), functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_a_model_whose_copy_computes_with_the_original_is_refused() -> None:
    model, data = pair(), chunks("perceptron")
    layers = list(model.children())

    def through_the_original(value: Tensor) -> Tensor:
        for layer in layers:
            value = layer(value)
        return value

    model.forward = through_the_original  # type: ignore[method-assign]  # as a careless wrapper does
    before = weights_of(model)
    with pytest.raises(ValueError, match="model must compute its output with its own layers"):
        dash_(model, data, functional.cross_entropy)
    assert equal_bits(weights_of(model), before)


def test_a_layer_whose_weight_is_a_property_is_refused_by_name() -> None:
    class Doubled(nn.Linear):
        @property
        def weight(self) -> Tensor:
            return 2 * self.kernel

        @weight.setter
        def weight(self, value: Tensor) -> None:
            self.kernel = value

    layer = Doubled(3, 2)
    layer.kernel = nn.Parameter(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"got a computed 0\.weight"):
        dash_(nn.Sequential(layer), [(torch.ones(1, 3), torch.ones(1, 2))], functional.mse_loss)


def test_narrow_weights_are_rounded_once() -> None:
    layer = nn.Linear(64, 32).to(torch.bfloat16)
    before = layer.weight.detach().float()
    data = [(torch.randn(8, 64).to(torch.bfloat16), torch.randn(8, 32).to(torch.bfloat16))]
    report = dash_(layer, data, functional.mse_loss)
    exact = before * report["weight"].scales[:, None]
    assert torch.equal(layer.weight.detach(), exact.to(torch.bfloat16))
    twice = before.to(torch.bfloat16) * report["weight"].scales.to(torch.bfloat16)[:, None]
    assert not torch.equal(layer.weight.detach(), twice)  # the case tells the two apart


def test_recurrent_layers_are_left_alone_and_passed_through() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory, self.head = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, value: Tensor) -> Tensor:
            out: Tensor = self.head(self.memory(value)[0][:, -1])
            return out

    enabled = torch.backends.cudnn.enabled
    report = dash_(Tagger(), [(torch.randn(6, 7, 4), torch.arange(6) % 3)], functional.cross_entropy)
    assert [layer.name for layer in report] == ["head.weight", "head.bias"]
    assert set(report.untouched) == {
        f"memory.{kind}_{part}_l0" for kind in ("weight", "bias") for part in ("ih", "hh")
    }
    assert torch.backends.cudnn.enabled == enabled
