"""Layers made known by their class, and what the report says of the rest."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.rules import PartlyShrunk, dash_, layers, register_layers, shrink_and_perturb_, targets
from dashtheory.rules.layers import known_layers


class Conv1D(nn.Module):
    """The linear layer of GPT-2: its weight is stored (in, out)."""

    def __init__(self, out: int, inside: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inside, out)), nn.Parameter(torch.randn(out))

    def forward(self, x: Tensor) -> Tensor:
        """Affine."""
        return x @ self.weight + self.bias


class Kernels(nn.Module):
    """A convolution of one's own, its parameters under other names."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.shift = nn.Parameter(torch.randn(2, 1, 3)), nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        """Convolution."""
        return functional.conv1d(x, self.kernels, self.shift)


def transposed_twin(model: nn.Sequential) -> nn.Sequential:
    """The same model with linear layers."""
    twin = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    for ours, theirs in zip(model, twin, strict=True):
        if isinstance(theirs, nn.Linear):
            theirs.weight.data, theirs.bias.data = ours.weight.data.t().clone(), ours.bias.data.clone()  # type: ignore[operator]
    return twin


@pytest.mark.parametrize("granularity", ["authors", "row", "filter", "tensor"])
def test_a_weight_stored_in_columns_shrinks_as_its_transpose_does(granularity: str) -> None:
    model = nn.Sequential(Conv1D(6, 4), nn.Tanh(), Conv1D(3, 6))
    twin, data = transposed_twin(model), [(torch.randn(20, 4), torch.arange(20) % 3)]
    dash_(model, data, functional.cross_entropy, granularity=granularity, layers={Conv1D: "column"})
    dash_(twin, data, functional.cross_entropy, granularity=granularity)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.t() if ours.ndim == 2 else ours, theirs)


def test_the_conv1d_of_transformers_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conv1D, "__module__", "transformers.pytorch_utils")
    found = targets(nn.Sequential(Conv1D(6, 4)))
    assert [(one.name, one.kind, tuple(one.group_shape)) for one in found] == [
        ("0.weight", "column", (6,)),
        ("0.bias", "vector", ()),
    ]


def test_registration_holds_for_subclasses_everywhere_and_the_nearest_class_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layers, "_FOR_GOOD", {})

    class Wide(Kernels):
        pass

    class Fixed(nn.Linear):
        pass

    model = nn.ModuleList([Wide(), Fixed(2, 2), nn.Linear(2, 2)])
    register_layers({Kernels: {"kernels": "kernel", "shift": "vector"}, Fixed: None})
    assert [one.name for one in targets(model)] == ["0.kernels", "0.shift", "2.weight", "2.bias"]
    before = {name: value.clone() for name, value in model.named_parameters()}
    shrink_and_perturb_(model, shrink=0.5, perturb=0, generator=torch.Generator())
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name] * (1 if name.startswith("1.") else 0.5)), name


def test_a_tie_to_an_embedding_is_shrunk_or_left_by_choice() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "body": nn.Linear(3, 3), "head": nn.Linear(3, 5)})
    model["head"].weight = model["embed"].weight
    assert "head.weight" in [one.name for one in targets(model)]
    assert [one.name for one in targets(model, layers={nn.Embedding: None})] == [
        *("body.weight", "body.bias", "head.bias")
    ]
    first = targets(model, layers={nn.Embedding: "row"})[0]
    assert (first.name, first.kind) == ("embed.weight", "row")


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({Kernels: "rows"}, "layers must be one of kernel"),
        ({"Kernels": "row"}, "layers must have classes of modules as keys, got 'Kernels'"),
        ({Kernels: "row"}, "layers must name parameters of Kernels, got weight. It has: kernels, shift"),
        ({Kernels: {"shift": "kernel"}}, r"layers must have a layout .* got kernel for 0.shift of shape \(2,\)"),
    ],
)
def test_a_registration_that_does_not_fit_is_refused(known: dict[type[nn.Module], str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        targets(nn.Sequential(Kernels(), nn.Linear(2, 2)), layers=known)


class Mixed(nn.Module):
    """One of each that is left alone, and a linear layer of 12 entries."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.frozen = nn.Embedding(10, 3), nn.LayerNorm(3), nn.Linear(3, 3, bias=False)
        self.frozen.requires_grad_(False)
        self.own, self.head = Conv1D(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.head(self.own(self.frozen(self.norm(self.embed(x)))))
        return out


def test_the_report_says_which_share_was_shrunk_and_why_the_rest_was_not() -> None:
    model, data = Mixed(), [(torch.arange(10), torch.arange(10) % 3)]
    with pytest.warns(PartlyShrunk, match=r"only 17% of the model's weights .* embedding \(43%\), Conv1D is not"):
        report = dash_(model, data, functional.cross_entropy)
    assert {one.name: (one.why, one.num_entries) for one in report.left} == {
        "embed.weight": ("embedding", 30),
        "norm.weight": ("normalization", 3),
        "norm.bias": ("normalization", 3),
        "frozen.weight": ("frozen", 9),
        "own.weight": ("Conv1D is not known", 9),
        "own.bias": ("Conv1D is not known", 3),
    }
    assert report.untouched == tuple(one.name for one in report.left)
    assert report.share_shrunk == pytest.approx(12 / 69)
    with pytest.warns(PartlyShrunk, match="only 17%"):
        shrink_and_perturb_(model, generator=torch.Generator())


def test_one_half_is_enough() -> None:
    model = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 3, bias=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = dash_(model, [(torch.arange(4), torch.arange(4) % 3)], functional.cross_entropy)
    assert report.share_shrunk == 0.5


def test_a_decoder_over_the_transpose_shrinks_once_by_the_gradient_of_both() -> None:
    class Auto(nn.Module):
        def __init__(self, *, shared: bool) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.a, self.b = nn.Linear(5, 4, bias=False), nn.Linear(4, 5, bias=False)
            self.b.weight = nn.Parameter(self.a.weight.t() if shared else self.b.weight.detach())
            self.shared = shared

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.a(x).tanh()
            return functional.linear(hidden, self.b.weight if self.shared else self.a.weight.t())

    tied, twin = Auto(shared=True), Auto(shared=False)
    twin.b.requires_grad_(False)
    data, before = [(torch.randn(20, 5), torch.randn(20, 5))], tied.a.weight.detach().clone()
    report = dash_(tied, data, functional.mse_loss, lam=0.3)
    want = dash_(twin, data, functional.mse_loss, lam=0.3)
    torch.testing.assert_close(report["a.weight"].cosines, want["a.weight"].cosines)
    factors = (tied.a.weight / before).detach()
    torch.testing.assert_close(factors, report["a.weight"].scales[:, None].expand(4, 5))
    assert float(factors.min()) >= 0.3 * (1 - 1e-6)
    assert report["b.weight"] is report["a.weight"]
    assert (report.untouched, dict(report.shared)) == ((), {"b.weight": "a.weight"})
    other = Auto(shared=True)
    value = other.a.weight.detach().clone()
    shrink_and_perturb_(other, shrink=0.5, perturb=0.0, generator=torch.Generator())
    assert torch.equal(other.a.weight, value * 0.5)
    fresh = Auto(shared=True)
    shrink_and_perturb_(other, shrink=0.5, perturb=1.0, fresh=fresh)
    assert torch.equal(other.a.weight, value * 0.25 + fresh.a.weight)


def test_weights_that_overlap_in_part_are_refused() -> None:
    whole, model = torch.randn(6, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].weight, model[1].weight = nn.Parameter(whole[:4]), nn.Parameter(whole[2:])
    with pytest.raises(ValueError, match=r"overlap in part, got 0\.weight and 1\.weight"):
        targets(model)


def test_known_layers_end_with_their_block() -> None:
    model = nn.Sequential(Conv1D(3, 2), nn.Linear(3, 2))
    with known_layers({Conv1D: "column"}):
        assert len(targets(model)) == 4
    assert len(targets(model)) == 2


class Cosine(nn.Linear):
    """Rows divided by their lengths."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
        """Cosines with the rows."""
        return functional.linear(input, functional.normalize(self.weight, dim=1))


class Standardized(nn.Conv2d):
    """Filters of mean 0 and variance 1."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
        """Convolution."""
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return functional.conv2d(input, weight / weight.std(dim=(1, 2, 3), keepdim=True), self.bias)


def test_weights_whose_scale_the_loss_does_not_see_are_told() -> None:
    model = nn.Sequential(
        *(Standardized(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Tanh(), nn.Flatten()),
        *(nn.Linear(16, 8), nn.Tanh(), Cosine(8, 3, bias=False)),
    )
    data = [(torch.randn(30, 1, 6, 6), torch.arange(30) % 3)]
    before = model(data[0][0])
    report = dash_(model, data, functional.cross_entropy)
    assert report.scale_free == ("0.weight", "7.weight")
    for name in ("2.weight", "5.weight"):
        assert not (report[name].cosines.abs() < 1e-5).all()
    assert not torch.equal(before, model(data[0][0]))
