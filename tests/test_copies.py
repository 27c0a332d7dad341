"""Copies to measure on: of models that keep things of their last pass, and of none that the copy would not run."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dashtheory.batchnorm import reestimated
from dashtheory.copies import copied, overlapping
from dashtheory.measure import activations, compare
from dashtheory.measure.network import gradient_norm
from dashtheory.rules import dash_factors, shrink_and_perturb_
from dashtheory.stream import Examples


def data() -> Examples:
    stream = torch.Generator().manual_seed(0)
    return Examples(torch.randn(20, 4, generator=stream), torch.randint(3, (20,), generator=stream))


class Plain(nn.Module):
    """Two layers and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.norm, self.b = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.b(self.norm(self.a(x)).relu())
        return out


class Keeps(Plain):
    """Keeps tensors with a graph, bare and inside other things."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        self.features = self.norm(self.a(x)).relu()
        self.more = {"list": [self.features * 2], "auxiliary": types.SimpleNamespace(loss=self.features.sum())}
        out: Tensor = self.b(self.features)
        return out


class Checkpointed(Plain):
    """A reentrant checkpoint in the middle."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        hidden = self.norm(self.a(x)).relu()
        out: Tensor = self.b(checkpoint(torch.tanh, hidden, use_reentrant=True))
        return out


class Tanh(Plain):
    """The same without the checkpoint."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.b(torch.tanh(self.norm(self.a(x)).relu()))
        return out


def measured(model: nn.Module) -> list[Tensor]:
    """What everything that copies a model finds."""
    examples = data()
    report = dash_factors(model, [(examples.inputs, examples.targets)], functional.cross_entropy)
    again = reestimated(model, examples.inputs)
    table = compare(model, "dash", [examples])
    return [
        *(layer.cosines for layer in report),
        *(value for name, value in again.named_buffers() if name.startswith("norm.")),
        torch.tensor(gradient_norm(model, examples)),
        activations(model, examples.inputs, "a"),
        torch.tensor(table["after"].to_numpy()),
    ]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # torch's, of any pass without grad
@pytest.mark.parametrize("pair", [(Keeps, Plain), (Checkpointed, Tanh)])
def test_what_a_model_keeps_and_how_it_goes_backward_plays_no_part(
    pair: tuple[type[nn.Module], type[nn.Module]],
) -> None:
    ours, theirs = pair[0](), pair[1]()
    for model in (ours, theirs):
        functional.cross_entropy(model(data().inputs), data().targets).backward()
    grads = [value.grad.clone() for value in ours.parameters() if value.grad is not None]
    for found, wanted in zip(measured(ours), measured(theirs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6, equal_nan=True)
    after = [value.grad for value in ours.parameters() if value.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(grads, after, strict=True))


def test_a_copy_keeps_values_but_no_graph() -> None:
    model = Keeps()
    model(data().inputs)
    again = copied(model)
    assert isinstance(again, Keeps)
    assert torch.equal(again.features, model.features)
    assert model.features.requires_grad
    assert not again.features.requires_grad


def test_hooks_on_gradients_act_on_the_copy() -> None:
    model = Plain()
    model.a.weight.register_hook(lambda gradient: gradient * 0)
    examples = data()
    report = dash_factors(model, [(examples.inputs, examples.targets)], functional.cross_entropy)
    assert not report["a.weight"].cosines.any()
    assert report["b.weight"].cosines.any()


def closure_over(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    inner = layer.forward
    return lambda x: inner(x)


def bypassed(how: str) -> nn.Module:
    model = Plain()
    if how == "closure":
        model.b.forward = closure_over(model.b)  # type: ignore[method-assign,assignment]
    else:
        inner = model.b
        model.a.register_forward_hook(lambda module, given, output: output + inner(output).sum())
    return model


@pytest.mark.parametrize("how", ["closure", "hook"])
@pytest.mark.parametrize(
    "measure",
    [
        lambda model, x, y: dash_factors(model, [(x, y)], functional.cross_entropy),
        lambda model, x, y: gradient_norm(model, Examples(x, y)),
        lambda model, x, y: reestimated(model, x),
        lambda model, x, y: compare(model, "warm", [(x, y)]),
    ],
    ids=["dash", "gradient norm", "statistics", "compare"],
)
def test_a_layer_that_the_copy_does_not_run_is_named(
    how: str, measure: Callable[[nn.Module, Tensor, Tensor], object]
) -> None:
    examples = data()
    with pytest.raises(ValueError, match=r"own layers when it is copied, got .* the original's b\. Define"):
        measure(bypassed(how), examples.inputs, examples.targets)


def test_the_way_out_that_is_advised_works() -> None:
    model, examples = Plain(), data()
    model.b.forward = types.MethodType(lambda self, x: nn.Linear.forward(self, x) * 1, model.b)  # type: ignore[method-assign]
    batch = [(examples.inputs, examples.targets)]
    found = dash_factors(model, batch, functional.cross_entropy)
    want = dash_factors(Plain(), batch, functional.cross_entropy)
    assert all(torch.equal(a.cosines, b.cosines) for a, b in zip(found, want, strict=True))


def test_a_layer_that_the_loss_takes_from_the_original_is_named() -> None:
    class Body(Plain):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.norm(self.a(x)).relu()
            return out

    model, examples = Body(), data()
    batch = [(examples.inputs, examples.targets)]
    with pytest.raises(ValueError, match=r"loss_fn must take all from the output .* runs b of the original"):
        dash_factors(model, batch, lambda out, y: functional.cross_entropy(model.b(out), y))
    dash_factors(model, batch, lambda out, y: out.mean())  # a layer that nothing uses has cosine 0


def test_ties_by_memory_are_ties_in_the_copy() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 3))
    model[1].weight = nn.Parameter(model.get_parameter("0.weight").t())
    again = copied(model)
    assert [list(group) for group in overlapping(dict(again.named_parameters()))] == [["0.weight", "1.weight"]]
    assert torch.equal(again.get_parameter("1.weight"), model[1].weight)
    with torch.no_grad():
        again.get_parameter("0.weight").mul_(2)
    assert torch.equal(again.get_parameter("1.weight"), model[1].weight * 2)
    flat: nn.Module = nn.Linear(3, 5)
    vector = nn.utils.parameters_to_vector(flat.parameters()).detach()
    nn.utils.vector_to_parameters(vector, flat.parameters())
    assert overlapping(dict(flat.named_parameters())) == []  # one memory, no entry in common


def meta() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(4, 3))


def quantised() -> nn.Module:
    module = nn.Module()
    module.inner = type("Linear", (nn.Module,), {"__module__": "torch.ao.nn.quantized.dynamic.modules.linear"})()
    return module


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: nn.Sequential(nn.LazyLinear(3)), r"must know its shapes, got a lazy 0\.weight\. Pass one batch"),
        (meta, r"must have storage, got 0\.weight on the meta device\. Say model\.to_empty"),
        (quantised, r"floating-point weights, got a quantised inner\. Shrink the model of before"),
    ],
)
def test_models_without_weights_to_shrink_are_refused_in_one_line(
    build: Callable[[], nn.Module], words: str
) -> None:
    examples = data()
    stream = torch.Generator()
    calls: list[Callable[[nn.Module], object]] = [
        lambda model: dash_factors(model, [(examples.inputs, examples.targets)], functional.cross_entropy),
        lambda model: shrink_and_perturb_(model, generator=stream),
        lambda model: compare(model, "warm", [examples]),
        copied,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=words):
            call(build())


def test_what_cannot_be_copied_is_named() -> None:
    model = Plain()
    vars(model.a)["guard"] = threading.Lock()
    with pytest.raises(
        ValueError, match=r"Python can copy it, got cannot pickle .* at a\.guard\. Clear or delete"
    ):
        copied(model)
