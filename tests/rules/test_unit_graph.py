"""Which layers have hidden units, who takes them, and where in the takers' inputs they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from dashtheory.deep.models import CharTransformer, TransformerConfig, build_model
from dashtheory.deep.models.picture import PictureNetwork
from dashtheory.deep.models.small_maps import take_products_
from dashtheory.rules import PartialReset, ReDo, UnitGraph, parse_rule, unit_graph
from dashtheory.rules.unit_weights import units_in
from tests.rules.unit_cases import CLASSES, NETWORKS, TwoHeads, batch, network


def arrows(graph: UnitGraph) -> list[str]:
    """Each layer with its norm, activation and takers."""
    return [
        f"{one.name}, {one.norm}, {one.activation} > {' '.join(taker.name for taker in one.consumers)}"
        for one in graph
    ]


def built(name: str, **options: Any) -> nn.Module:
    return build_model(name, (3, 32, 32), 10, torch.Generator().manual_seed(0), **options)


# ---------------------------------------------------------------------------------- networks of the package


def test_of_residual_blocks_the_inner_layer_alone_has_units() -> None:
    model = built("narrow_resnet", width=4)
    graph = unit_graph(model)
    blocks = [f"features.{place}.residual" for place in (3, 4, 5)]
    assert arrows(graph) == [f"{one}.0, {one}.1, {one}.2 > {one}.3" for one in blocks]
    assert [one.num_units for one in graph] == [4, 8, 16]
    sums = ["features.0", *(f"{one}.3" for one in blocks), "features.4.shortcut.0", "features.5.shortcut.0"]
    assert graph.left_out == {
        **dict.fromkeys(sums, "its units reach function add"),
        "head": "its units are the output",
    }
    eighteen = unit_graph(built("resnet18", width=4))
    inner = [f"features.{place}.residual" for place in range(4, 12)]
    assert arrows(eighteen) == [f"{one}.0, {one}.1, {one}.2 > {one}.3" for one in inner]
    assert [one.num_units for one in eighteen] == [4, 4, 8, 8, 16, 16, 32, 32]


def test_wrapped_networks_have_the_same_graph_under_their_names() -> None:
    model = built("narrow_resnet", width=128)
    inner = unit_graph(model)
    wrapped = unit_graph(take_products_(PictureNetwork(model, [0.0] * 3, [1.0] * 3, precision="bfloat16")))
    assert any("SmallMap" in type(module).__name__ for module in model.modules())
    assert [f"network.{line.split(',')[0]}" for line in arrows(inner)] == [one.name for one in wrapped]
    assert {f"network.{name}": why for name, why in inner.left_out.items()} == wrapped.left_out
    assert wrapped.layers[0].watched == "network.features.3.residual.2"


def test_chains_of_the_package_are_followed_to_the_head() -> None:
    assert arrows(unit_graph(built("mlp", widths=(8, 6)))) == [
        "features.1, features.2, features.3 > features.4",
        "features.4, features.5, features.6 > head",
    ]
    assert arrows(unit_graph(built("mlp", widths=(8,), batch_norm=False))) == ["features.1, , features.2 > head"]
    assert arrows(unit_graph(built("convnet", width=4)))[-1] == "features.6, features.7, features.8 > head"
    vgg = unit_graph(built("vgg16", width=4))
    assert len(vgg) == 13
    assert list(vgg.left_out) == ["head"]


def test_of_a_transformer_the_hidden_layer_of_each_block() -> None:
    model = CharTransformer(TransformerConfig(), 11, torch.Generator().manual_seed(0))
    graph = unit_graph(model)
    assert arrows(graph) == [f"blocks.{i}.mlp.0, , blocks.{i}.mlp.1 > blocks.{i}.mlp.2" for i in (0, 1)]
    assert graph.left_out["blocks.0.query_key_value"] == "its units reach method view"
    assert graph.left_out["blocks.1.projection"] == "its units reach function add"


# ---------------------------------------------------------------------------------- against brute force


def run(model: nn.Module, inputs: Tensor, taken: str, made: str, pushed: int | None) -> tuple[Tensor, Tensor]:
    """What a taker gets, and what the network says, when a unit is pushed up where it is made."""
    seen: list[Tensor] = []

    def push(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        axis = -1 if isinstance(module, nn.Linear) else 1
        moved = output.clone()
        if pushed is not None:
            moved.select(axis, pushed).add_(3 + torch.rand_like(moved.select(axis, pushed)))
        return moved

    handles = [
        model.get_submodule(made).register_forward_hook(push),
        model.get_submodule(taken).register_forward_pre_hook(lambda module, given: seen.append(given[0])),
    ]
    with torch.no_grad():
        said = model.eval()(inputs)
    for handle in handles:
        handle.remove()
    return seen[0], said


@pytest.mark.parametrize("name", NETWORKS)
def test_a_unit_s_columns_are_those_that_move_with_it(name: str) -> None:
    model, (inputs, _) = network(name), batch(name)
    for layer in unit_graph(model):
        for taker in layer.consumers:
            still, _ = run(model, inputs, taker.name, layer.name, None)
            axis = -1 if isinstance(model.get_submodule(taker.name), nn.Linear) else 1
            found = []
            for unit in range(layer.num_units):
                moved = run(model, inputs, taker.name, layer.name, unit)[0] != still
                columns = moved.movedim(axis, 0).flatten(1).any(dim=1).nonzero().flatten().tolist()
                assert columns == list(taker.columns(unit)), (layer.name, unit)
                found += columns
            assert sorted(found) == list(range(taker.num_inputs))


@pytest.mark.parametrize("name", NETWORKS)
def test_without_its_outgoing_weights_a_unit_is_heard_no_more_and_others_are(name: str) -> None:
    model, (inputs, _) = network(name), batch(name)
    for layer in unit_graph(model):
        units = units_in(model, layer)
        first = layer.consumers[0].name
        for unit in range(layer.num_units):
            which = torch.arange(layer.num_units) == unit
            kept = [block.parameter.detach().clone() for block in units.outgoing]
            for block in units.outgoing:
                rows = block.rows(block.parameter.detach()).clone()
                assert torch.equal(block.spread(rows), block.parameter)
                with torch.no_grad():
                    block.parameter.mul_(~block.spread(which[:, None]))
            still = run(model, inputs, first, layer.name, None)[1]
            assert torch.equal(run(model, inputs, first, layer.name, unit)[1], still)
            other = run(model, inputs, first, layer.name, (unit + 1) % layer.num_units)[1]
            assert not torch.equal(other, still)
            with torch.no_grad():
                for block, value in zip(units.outgoing, kept, strict=True):
                    block.parameter.copy_(value)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_unit_s_incoming_weights_make_it_and_no_other(name: str) -> None:
    model, (inputs, _) = network(name), batch(name)
    for layer in unit_graph(model):
        block, maker = units_in(model, layer).incoming, model.get_submodule(layer.name)
        seen: list[Tensor] = []
        with maker.register_forward_hook(lambda module, given, output, seen=seen: seen.append(output)):
            for unit in range(layer.num_units):
                with torch.no_grad():
                    model.eval()(inputs)
                    block.parameter.add_(block.spread((torch.arange(layer.num_units) == unit).double()[:, None]))
                    model.eval()(inputs)
                axis = -1 if isinstance(maker, nn.Linear) else 1
                moved = (seen[-1] != seen[-2]).movedim(axis, 0).flatten(1).any(dim=1)
                assert moved.nonzero().flatten().tolist() == [unit]


# ---------------------------------------------------------------------------------- what is left out


class Through(nn.Module):
    """Two layers with something between them."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.first, self.second = parts.pop("first", nn.Linear(4, 4)), parts.pop("second", nn.Linear(4, 4))
        self.good, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)
        for name, part in parts.items():
            self.add_module(name, part)
        self.between = between

    def forward(self, inputs: Tensor) -> Tensor:
        """The last layer but one has units in any case."""
        hidden = self.second(self.between(self, self.first(inputs)))
        out: Tensor = self.head(torch.relu(self.good(hidden)))
        return out


def tied() -> nn.Module:
    model = Through(lambda m, x: x.relu())
    model.second.weight = model.first.weight
    return model


class LowRank(nn.Linear):
    """A linear layer with a part of its own."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.extra = nn.Parameter(torch.zeros(4, 4))


LEFT_OUT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a shared layer": (lambda: Through(lambda m, x: m.first(x).relu()), "it is used twice"),
    "a taker used twice": (lambda: Through(lambda m, x: m.second(x.relu())), "Linear second is used twice"),
    "a tied weight": (tied, "it shares its weight with another layer"),
    "a computed weight": (
        lambda: Through(lambda m, x: x, first=weight_norm(nn.Linear(4, 4))),
        "its weight is computed",
    ),
    "a computed taker": (
        lambda: Through(lambda m, x: x, second=weight_norm(nn.Linear(4, 4))),
        "ParametrizedLinear second: its weight is computed",
    ),
    "a part of its own": (
        lambda: Through(lambda m, x: x, first=LowRank()),
        "it has more than a weight and a bias",
    ),
    "a sum": (lambda: Through(lambda m, x: x.relu() + x), "its units reach function add"),
    "a constant": (lambda: Through(lambda m, x: x * 2), "its units reach function mul"),
    "a concatenation": (
        lambda: Through(lambda m, x: torch.cat([x.relu(), (-x).relu()], 1), second=nn.Linear(8, 4)),
        "its units reach function cat",
    ),
    "a softmax": (lambda: Through(lambda m, x: x.softmax(-1)), "its units reach method softmax"),
    "a recurrent layer": (lambda: Through(lambda m, x: m.gru(x)[0], gru=nn.GRU(4, 4)), "its units reach GRU gru"),
    "a norm behind": (
        lambda: Through(lambda m, x: m.norm(x.relu()), norm=nn.LayerNorm(4)),
        "LayerNorm norm comes after relu",
    ),
    "a second activation": (lambda: Through(lambda m, x: x.relu().tanh()), "method tanh is a second activation"),
    "a view of unknown size": (lambda: Through(lambda m, x: x.view(-1, 4)), "its units reach method view"),
    "a second signal": (lambda: Through(lambda m, x: x.to(m.good.weight)), "its units reach method to"),
    "a transpose": (lambda: Through(lambda m, x: x.transpose(0, 1)), "its units reach method transpose"),
    "a way that ends elsewhere": (
        lambda: Through(lambda m, x: m.other(x) + x.relu(), other=nn.Linear(4, 4)),
        "its units reach function add",
    ),
}


@pytest.mark.parametrize("what", LEFT_OUT)
def test_what_is_not_known_is_left_out_with_the_reason_and_refused_by_name(what: str) -> None:
    make, why = LEFT_OUT[what]
    model = make()
    model(torch.randn(4, 4))
    graph = unit_graph(model)
    assert graph.left_out["first"] == why
    assert [layer.name for layer in graph][-1] == "good"
    with pytest.raises(ValueError, match=r"^units must name layers of hidden units, got first \([^\n]+$"):
        unit_graph(model, "good,first")


def test_different_ways_before_the_activation_are_left_out() -> None:
    class Ways(TwoHeads):
        def forward(self, inputs: Tensor) -> Tensor:
            hidden = self.first(inputs)
            out: Tensor = self.left(hidden.relu()) + self.right(hidden.tanh())
            return out

    with pytest.raises(ValueError, match="first: its units go different ways before their activation"):
        unit_graph(Ways())


def test_without_any_layer_of_units_a_network_is_refused_in_one_line() -> None:
    for model in (nn.Sequential(nn.Linear(4, 3)), nn.Linear(4, 3), nn.Sequential(nn.ReLU())):
        with pytest.raises(ValueError, match=r"^model must have a layer of hidden units, got none \([^\n]+$"):
            unit_graph(model)

    class Branching(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs if inputs.sum() > 0 else -inputs

    with pytest.raises(
        ValueError, match=r"^model must be one that torch.fx can trace, got '[^\n]+units='conv1>conv2"
    ):
        unit_graph(Branching())


def test_following_a_network_that_draws_moves_no_stream() -> None:
    model = Through(lambda m, x: x + 0.1 * torch.randn(4))
    state = torch.get_rng_state()
    assert [layer.name for layer in unit_graph(model)] == ["second", "good"]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_shared_activation_is_looked_at_where_it_is_taken() -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 5), act, nn.Linear(5, 4), act, nn.Linear(4, 3))
    assert [(one.watched, one.watched_input) for one in unit_graph(model)] == [("2", True), ("4", True)]


# ---------------------------------------------------------------------------------- what the user says


def test_names_choose_among_what_is_found() -> None:
    model = network("chain")
    assert [one.name for one in unit_graph(model)] == ["0", "4", "7"]
    for units in ("4,", "4 ,", ("4",), ["4"]):
        assert [one.name for one in unit_graph(model, units)] == ["4"]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "two heads"])
def test_what_the_user_says_is_what_is_found(name: str) -> None:
    model = network(name)
    found = unit_graph(model)
    pairs = {one.name: [taker.name for taker in one.consumers] for one in found}
    text = ",".join(f"{one}>{taker}" for one, takers in pairs.items() for taker in takers)
    for said in (unit_graph(model, pairs), unit_graph(model, text)):
        for ours, theirs in zip(said, found, strict=True):
            assert (ours.name, ours.num_units) == (theirs.name, theirs.num_units)
            for a, b in zip(ours.consumers, theirs.consumers, strict=True):
                assert [list(a.columns(u)) for u in range(a.num_units)] == [
                    list(b.columns(u)) for u in range(b.num_units)
                ]
            assert (ours.watched, ours.watched_input) == (ours.consumers[0].name, True)


def test_of_two_takers_each_has_its_pair() -> None:
    (layer,) = unit_graph(TwoHeads(), "first>left,first>right")
    assert layer.consumers == unit_graph(TwoHeads()).layers[0].consumers


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("first>nothing", r"units must be one of .*, got 'nothing'"),
        (
            "second>first,",
            r"units must name a taker whose inputs are a multiple of the units, got second>first, of 6",
        ),
        ("hidden>hidden", r"units must name a taker whose inputs are a multiple"),
        ("hidden>second", r"units must name a taker whose inputs are a multiple of the units, got hidden>second"),
        ("first>second,hidden", r"units must name takers of all layers or of none, got"),
        ("first>", r"units must name layers and their takers, got"),
        ({"first": ()}, r"units must name layers and their takers, got"),
        (3, r"units must be text, names or a mapping, got 3"),
        ([], r"units must be text, names or a mapping, got \[\]"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(units: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}[^\n]*$"):
        unit_graph(network("functional"), units)


def test_a_rule_s_text_says_it_too() -> None:
    rule = parse_rule("redo:units=first>second,second>hidden:tau=0.1")
    assert isinstance(rule, ReDo)
    assert [units.name for units in rule.layers(network("functional"))] == ["first", "second"]
    assert [units.name for units in PartialReset(units="4,").layers(network("chain"))] == ["4"]
    with pytest.raises(ValueError, match=r"^units must be text .*, got 4\. .* comma: units=0,$"):
        parse_rule("redo:units=4")


def test_a_tied_layer_cannot_be_said_either() -> None:
    with pytest.raises(ValueError, match="must name layers whose weights are their own, it shares its weight"):
        unit_graph(tied(), "first>second")
