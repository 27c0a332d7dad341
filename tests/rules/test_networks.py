"""Rules that train another network: what an activation becomes, what stays, and what is refused."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from dashtheory.deep.models import CharTransformer, PictureNetwork, TransformerConfig, build_model
from dashtheory.rules import AID, CReLU, Fourier, make_rule, parse_rule
from dashtheory.rules.layer_norm import ChannelNorm
from tests.rules.control_cases import run

SWAPS = ("crelu", "fourier", "aid", "layer_norm", "nap_norm")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def adapted(model: nn.Module, rule: str) -> Any:
    return parse_rule(rule).adapted(model, generator(1))


# --------------------------------------------------------------------------------------------- the activations


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), p=st.floats(0, 1))
def test_interval_dropout_keeps_one_side_of_each_unit(seed: int, p: float) -> None:
    layer, inputs = AID(p), torch.randn(40, 7, generator=generator(seed), dtype=torch.float64)
    out = layer(inputs)
    either = torch.stack([inputs.relu(), -(-inputs).relu()])
    assert bool((either == out).any(dim=0).all())


def test_its_evaluation_is_the_mean_of_its_training() -> None:
    """20,000 draws: within five standard errors of each mean, those of a Bernoulli variable times |x|."""
    inputs, p, number = torch.linspace(-2, 2, 9, dtype=torch.float64), 0.8, 20_000
    layer = AID(p)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mean = layer(inputs.expand(number, -1)).mean(dim=0)
    error = inputs.abs() * math.sqrt(p * (1 - p) / number)
    assert bool(((mean - layer.eval()(inputs)).abs() <= 5 * error).all())


def test_with_p_one_it_is_a_rectifier_to_the_bit_and_draws_nothing() -> None:
    inputs = torch.tensor([-math.inf, -1.0, -0.0, 0.0, 2.0, math.inf, math.nan], requires_grad=True)
    before = torch.get_rng_state()
    for mode in (True, False):
        layer = AID(1).train(mode)
        out, expected = layer(inputs), inputs.relu()
        assert torch.equal(out.detach().view(torch.int32), expected.detach().view(torch.int32))
        (slope,), (known,) = (torch.autograd.grad(one[:6].sum(), inputs) for one in (out, expected))
        assert torch.equal(slope, known)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(AID(0.5)(torch.randn(99)), AID(0.5)(torch.randn(99)))
    assert not torch.equal(torch.get_rng_state(), before)


@given(seed=st.integers(0, 10**6))
def test_concatenated_rectifiers_are_never_both_silent_and_keep_the_norm(seed: int) -> None:
    inputs = torch.randn(5, 4, 3, generator=generator(seed), dtype=torch.float64)
    for axis in (1, -1):
        out = CReLU(axis)(inputs)
        first, second = out.chunk(2, dim=axis)
        assert bool(((first == 0) != (second == 0)).all())
        assert torch.equal(first - second, inputs)
        torch.testing.assert_close(out.norm(), inputs.norm())


@given(seed=st.integers(0, 10**6))
def test_fourier_features_lie_on_circles_and_one_of_them_has_a_slope(seed: int) -> None:
    inputs = 5 * torch.randn(6, 4, generator=generator(seed), dtype=torch.float64)
    inputs.requires_grad_()
    sine, cosine = Fourier(-1)(inputs).chunk(2, dim=-1)
    torch.testing.assert_close(sine.square() + cosine.square(), torch.ones_like(sine))
    slopes = [torch.autograd.grad(one.sum(), inputs, retain_graph=True)[0].abs() for one in (sine, cosine)]
    assert bool((torch.maximum(*slopes) >= math.sqrt(0.5) - 1e-9).all())


# --------------------------------------------------------------------------------------------- in a network


def plain() -> nn.Sequential:
    """A convolution, a norm, a linear layer; even widths."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3)),
    )


INPUTS = torch.randn(5, 2, 6, 6, generator=generator(2))


def test_halved_layers_keep_their_first_half_and_all_others_their_bits() -> None:
    before, model = plain(), adapted(plain(), "crelu")
    for name, value in before.state_dict().items():
        after = model.state_dict()[name]
        expected = value[: len(value) // 2] if name.split(".")[0] in "015" and value.ndim else value
        assert torch.equal(after, expected), name
    x = model[1](model[0](INPUTS))
    assert x.shape[1] == 3
    x = functional.max_pool2d(torch.cat([x.relu(), (-x).relu()], 1), 2).flatten(1)
    x = model[5](x)
    expected = model[7](torch.cat([x.relu(), (-x).relu()], 1))
    torch.testing.assert_close(model(INPUTS), expected)


def test_interval_dropout_and_layer_norm_sit_where_rectifiers_were() -> None:
    model, before = adapted(plain(), "aid:p=0.7").eval(), plain().eval()
    x = before[1](before[0](INPUTS))
    x = 0.7 * x.relu() - 0.3 * (-x).relu()
    x = before[5](functional.max_pool2d(x, 2).flatten(1))
    torch.testing.assert_close(model(INPUTS), before[7](0.7 * x.relu() - 0.3 * (-x).relu()))
    normed = adapted(plain(), "layer_norm").eval()
    x = functional.group_norm(before[1](before[0](INPUTS)), 1)
    x = before[5](functional.max_pool2d(x.relu(), 2).flatten(1))
    torch.testing.assert_close(normed(INPUTS), before[7](functional.layer_norm(x, (8,)).relu()))
    assert {"2.0.weight", "6.0.bias"} <= set(dict(normed.named_parameters()))
    assert len([*adapted(plain(), "layer_norm:affine=no").parameters()]) == len([*before.parameters()])


def test_a_layer_norm_may_follow_a_norm_without_weights() -> None:
    model = nn.Sequential(nn.Linear(2, 6), nn.LayerNorm(6, elementwise_affine=False), nn.ReLU()).double()
    assert adapted(model, "layer_norm").get_parameter("2.0.weight").dtype == torch.float64


def test_channels_can_be_normalized_place_by_place() -> None:
    maps = torch.randn(3, 4, 5, 5, generator=generator(3))
    out = ChannelNorm(4)(maps).detach()
    assert out.shape == maps.shape
    torch.testing.assert_close(out.mean(dim=1), torch.zeros(3, 5, 5), rtol=0, atol=1e-5)
    assert float(out.mean(dim=(1, 2, 3)).abs().max()) < 1e-5
    assert not torch.allclose(out, functional.group_norm(maps, 1))


@pytest.mark.parametrize(("over", "axes"), [("map", (1, 2, 3)), ("channels", (1,))])
def test_norms_may_leave_the_mean_where_it_is(over: str, axes: tuple[int, ...]) -> None:
    model = adapted(plain(), f"layer_norm:kind=rms:over={over}").eval()
    before = plain().eval()
    x = before[1](before[0](INPUTS))
    x = x / (x.square().mean(dim=axes, keepdim=True) + 1e-5).sqrt()
    x = before[5](functional.max_pool2d(x.relu(), 2).flatten(1))
    x = x / (x.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(model(INPUTS), before[7](x.relu()))
    assert [name for name, _ in model.named_parameters() if name.startswith("2.")] == ["2.0.weight"]
    assert not [name for name, _ in adapted(plain(), "nap_norm:kind=rms").named_parameters() if name[0] in "26"]


def test_normalized_and_projected_weights_have_no_size_and_keep_it() -> None:
    model = adapted(plain(), "nap_norm")
    assert not [name for name, _ in model.named_parameters() if name.startswith(("2.", "6."))]
    before = model(INPUTS).detach()
    with torch.no_grad():
        for name in ("0.weight", "0.bias", "5.weight", "5.bias"):
            model.get_parameter(name).mul_(3.0)
    torch.testing.assert_close(model(INPUTS).detach(), before, rtol=1e-3, atol=1e-3)  # up to epsilons
    norms = []
    for result in run(make_rule("nap_norm", scales="joint"), "SGD with momentum"):
        weights = dict(result.learner.model.named_parameters())
        norms.append([float(weights[name].detach().norm()) for name in ("0.weight", "4.weight")])
        ours = torch.cat([weights["2.0.weight"], weights["2.0.bias"]]).detach()
        assert float(ours.norm()) == pytest.approx(math.sqrt(6))
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)
    free = [*run(make_rule("layer_norm"), "SGD with momentum")][1].learner.model
    assert float(free.get_parameter("0.weight").detach().norm()) != pytest.approx(norms[0][0], rel=1e-6)


def _picture(name: str, side: int, **options: int) -> Callable[[], nn.Module]:
    return lambda: PictureNetwork(
        build_model(name, (3, side, side), 4, generator(), **options), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0)
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (_picture("mlp", 8), (3, 8, 8)),
    "convnet": (_picture("convnet", 8), (3, 8, 8)),
    "narrow_resnet": (_picture("narrow_resnet", 8, width=4), (3, 8, 8)),
    "resnet18": (_picture("resnet18", 16, width=4), (3, 16, 16)),
    "vgg16": (_picture("vgg16", 32, width=4), (3, 32, 32)),
    "transformer": (lambda: CharTransformer(TransformerConfig(num_layers=1), 9, generator()), (8,)),
}
REFUSED = {
    **dict.fromkeys(
        ((rule, net) for rule in ("crelu", "fourier") for net in ("narrow_resnet", "resnet18")),
        r"must have activations after layers of an even width, got network\.features\.\d\.activation_1 after ",
    ),
    ("aid", "transformer"): "must have ReLUs, got GELU alone",
}


@pytest.mark.parametrize("net", MODELS)
@pytest.mark.parametrize("rule", SWAPS)
def test_the_package_s_networks_are_taken_or_refused_in_one_line(rule: str, net: str) -> None:
    make, shape = MODELS[net]
    if (rule, net) in REFUSED:
        with pytest.raises(ValueError, match=rf"^model {REFUSED[rule, net]}[^\n]*$"):
            adapted(make(), rule)
        if rule == "aid":
            return
        rule += ":partly=yes"
    before, state = make(), torch.get_rng_state()
    count = sum(value.numel() for value in before.parameters())
    model = adapted(before, rule)
    assert torch.equal(torch.get_rng_state(), state)
    inputs = torch.randint(9, (4, *shape)) if net == "transformer" else torch.randn(4, *shape)
    model(inputs).square().sum().backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in model.parameters())
    after = sum(value.numel() for value in model.parameters())
    assert (after < count) if rule.startswith(("crelu", "fourier")) else after >= count
    assert adapted(make(), rule).state_dict().keys() == model.state_dict().keys()
    copied = copy.deepcopy(model).eval()
    assert torch.equal(copied(inputs), model.eval()(inputs))


def test_a_residual_block_keeps_its_names_and_what_it_computes() -> None:
    make = MODELS["narrow_resnet"][0]
    before, model = make().eval(), adapted(make(), "aid:p=1").eval()
    assert before.state_dict().keys() == model.state_dict().keys()
    inputs = torch.randn(3, 3, 8, 8)
    assert torch.equal(before(inputs), model(inputs))
    assert sum(isinstance(part, AID) for part in model.modules()) == 7


# --------------------------------------------------------------------------------------------- anyone's network


class Mine(nn.Module):
    """Functions, a method, and one module for two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.last, self.act = nn.Linear(8, 2), nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        hidden = self.act(self.first(functional.relu(inputs)))
        hidden = self.drop(self.act(self.second(hidden)))
        return self.last(self.third(hidden).relu())  # type: ignore[no-any-return]


class Modal(Mine):
    """Asks for the mode in its forward."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        hidden = functional.dropout(functional.relu(self.first(inputs)), training=self.training)
        return self.last(hidden)  # type: ignore[no-any-return]


class Winding(Mine):
    """Asks for values in its forward."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        hidden = functional.relu(self.first(inputs))
        return self.last(hidden if hidden.sum() > 0 else -hidden)  # type: ignore[no-any-return]


def test_functions_and_modules_used_again_are_swapped_each() -> None:
    torch.manual_seed(0)
    before = Mine().eval()
    assert not any(part.training for part in adapted(copy.deepcopy(before), "aid").modules())
    model = adapted(copy.deepcopy(before), "aid:p=1").eval()
    inputs = torch.randn(7, 6)
    assert torch.equal(model(inputs.clone()), before(inputs.clone()))
    assert sum(isinstance(part, AID) for part in model.modules()) == 4
    assert model.state_dict().keys() == before.state_dict().keys()
    before.train().drop.eval()
    assert {part.training for part in adapted(copy.deepcopy(before), "aid").modules()} == {True, False}
    model.train()
    assert not torch.equal(model(inputs.clone()), model(inputs.clone()))  # dropout still knows the mode
    with pytest.raises(ValueError, match=r"after inputs, which is no layer\. partly=True leaves"):
        adapted(copy.deepcopy(before), "crelu")
    halved = adapted(copy.deepcopy(before), "crelu:partly=yes")
    assert [halved.get_parameter(f"{name}.weight").shape[0] for name in ("first", "second", "third")] == [4, 4, 4]
    assert halved(inputs).shape == (7, 2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Modal, r"model must have its activations as modules, got Modal, which asks for self\.training\. Make"),
        (Winding, r"model must have its activations as modules, got Winding, which cannot be traced "),
        (lambda: nn.Sequential(nn.Linear(6, 2)), r"model must have activations, got Sequential, where none"),
        (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU()), r"model must have .*, got 1 after a width of 5\."),
        (lambda: nn.Sequential(*[nn.Linear(6, 6), nn.ReLU()] * 2), r"model must use every activation once"),
        (
            lambda: nn.Sequential(weight_norm(nn.Linear(6, 6)), nn.ReLU()),
            r"model must have .*, got 1 after 0, whose weight is computed\.",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_line(make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ValueError, match=rf"^{said}[^\n]*$"):
        adapted(make(), "crelu")


class Noting(Mine):
    """Keeps things of its last pass."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        self.count = getattr(self, "count", 0) + 1
        self.hidden = functional.relu(self.first(inputs))
        return self.last(self.hidden)  # type: ignore[no-any-return]


def test_looking_at_a_network_leaves_nothing_in_it() -> None:
    before = Noting()
    model = nn.Sequential(before, nn.Linear(2, 2), nn.ReLU())
    assert sum(isinstance(part, AID) for part in adapted(model, "aid").modules()) == 2
    assert not {"count", "hidden"} & set(vars(before))


def test_a_block_in_two_places_is_swapped_in_both_or_refused() -> None:
    block = Mine()
    model = nn.Sequential(block, nn.Linear(2, 6), block)
    with pytest.raises(ValueError, match=r"^model must use every activation once"):
        adapted(model, "aid")
    encoder = nn.Sequential(nn.TransformerEncoderLayer(4, 2), nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(ValueError, match=r"^model must have its .* modules, got TransformerEncoderLayer 0\."):
        adapted(encoder, "aid")


def test_a_layer_whose_outputs_go_elsewhere_too_is_not_halved() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = nn.Linear(6, 6), nn.ReLU()

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = self.layer(inputs)
            return hidden + self.act(hidden)  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match=r"got act after layer, which is used elsewhere too\."):
        adapted(Fork(), "fourier")


def test_wrong_options_are_refused() -> None:
    for name, option, value in (
        ("aid", "p", 1.5),
        ("crelu", "partly", 1),
        ("layer_norm", "over", "batch"),
        ("layer_norm", "affine", "no"),
        ("nap_norm", "scales", "some"),
        ("nap_norm", "every", 0),
    ):
        with pytest.raises(ValueError, match=rf"^{option} must be "):
            make_rule(name, **{option: value})
