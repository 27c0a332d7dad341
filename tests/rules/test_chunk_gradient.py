"""A chunk in parts, or as a DataLoader, gives the gradient of the chunk; and numbers that are complex."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from dashtheory.evaluate import cross_entropy
from dashtheory.measure import ActsElsewhere, compare, weight_spectra
from dashtheory.measure.network import gradient_norm, weight_norm
from dashtheory.rules import ShrinkReport, chunk_gradient, dash_, dash_factors, shrink_and_perturb_
from dashtheory.scoring import is_mean_loss
from dashtheory.stream import Examples


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(6, 8), nn.Linear(8, 16), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(16, 6)
    ).eval()


def chunk(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Padded sequences, sorted by length."""
    stream = torch.Generator().manual_seed(seed)
    inputs = torch.randint(6, (number, 5), generator=stream)
    lengths = torch.randint(1, 6, (number,), generator=stream).sort().values
    return inputs, ((inputs + 1) % 6).masked_fill(torch.arange(5) >= lengths[:, None], -100)


CHUNKS = [chunk(30, 1), chunk(23, 2)]


def near(one: ShrinkReport, other: ShrinkReport) -> None:
    assert one.num_batches == other.num_batches
    for ours, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(ours.cosines, theirs.cosines, rtol=1e-4, atol=1e-5)


def own_loss(output: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(output, target) * 2


@pytest.mark.parametrize("part_size", [1, 7, 30, 1000])
@pytest.mark.parametrize("loss_fn", [cross_entropy, own_loss])
def test_parts_add_up_to_the_gradient_of_the_chunk(
    part_size: int, loss_fn: Callable[[Tensor, Tensor], Tensor]
) -> None:
    model = network()
    whole = dash_factors(model, CHUNKS, loss_fn)
    near(dash_factors(model, CHUNKS, loss_fn, part_size=part_size), whole)


def test_large_chunks_are_cut_where_the_loss_is_a_plain_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = network(), []
    model.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    whole = dash_factors(model, CHUNKS, cross_entropy)
    monkeypatch.setattr(chunk_gradient, "WHOLE", 20)
    sizes.clear()
    near(dash_factors(model, CHUNKS, cross_entropy), whole)
    assert sizes == [20, 10, 20, 3]
    sizes.clear()
    dash_factors(model, CHUNKS[:1], own_loss)  # which may be anything
    assert sizes == [30]
    assert is_mean_loss(nn.CrossEntropyLoss())
    assert not is_mean_loss(nn.CrossEntropyLoss(weight=torch.ones(6)))
    assert not is_mean_loss(nn.CrossEntropyLoss(reduction="sum"))


@pytest.mark.parametrize("batch_size", [7, 64])
def test_a_loader_is_one_chunk(batch_size: int) -> None:
    def loader(part: tuple[Tensor, Tensor]) -> DataLoader[tuple[Tensor, ...]]:
        stream = torch.Generator().manual_seed(0)
        return DataLoader(TensorDataset(*part), batch_size=batch_size, shuffle=True, generator=stream)

    model = network()
    near(dash_factors(model, loader(CHUNKS[0]), cross_entropy), dash_factors(model, CHUNKS[:1], cross_entropy))
    both = [loader(part) for part in CHUNKS]
    near(dash_factors(model, both, cross_entropy), dash_factors(model, CHUNKS, cross_entropy))


class InADictionary(nn.Module):
    """A model whose outputs a loss of the user's takes apart."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits by name."""
        return {"logits": self.inner(x)}


def test_padding_weighs_nothing_where_the_outputs_are_not_known() -> None:
    def loss(output: dict[str, Tensor], target: Tensor) -> Tensor:
        return cross_entropy(output["logits"], target)

    loader: DataLoader[Any] = DataLoader(TensorDataset(*CHUNKS[0]), batch_size=7)  # sorted by length
    model = InADictionary().eval()
    near(dash_factors(model, [loader], loss), dash_factors(model, CHUNKS[:1], loss))


def test_sparse_gradients_are_as_dense_ones() -> None:
    def report(*, sparse: bool, loader: bool) -> ShrinkReport:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(9, 4, sparse=sparse), nn.Flatten(), nn.Linear(8, 3))
        part = torch.arange(12).reshape(6, 2) % 7, torch.arange(6) % 3
        chunks: Any = [DataLoader(TensorDataset(*part), batch_size=4)] if loader else [part]
        return dash_factors(model, chunks * 2, cross_entropy, layers={nn.Embedding: "row"})

    for loader in (False, True):
        near(report(sparse=True, loader=loader), report(sparse=False, loader=loader))


def test_parts_in_training_mode_are_refused() -> None:
    with pytest.raises(ValueError, match="part_size must not be given in training mode, got 3"):
        dash_factors(network(), CHUNKS, cross_entropy, part_size=3, training=True)
    with pytest.raises(ValueError, match="part_size must be an integer >= 1, got 0"):
        dash_factors(network(), CHUNKS, cross_entropy, part_size=0)


class Complex(nn.Module):
    """Complex linear layers; the modulus is the logit."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = (nn.Linear(*size, dtype=torch.complex64) for size in ((4, 8), (8, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.b(self.a(x.to(torch.complex64))).abs()
        return out


def plain(values: Tensor) -> Tensor:
    """Real and imaginary parts in a row, (groups, numbers)."""
    return torch.view_as_real(values.detach()).reshape(len(values), -1)


def test_complex_weights_are_vectors_of_their_parts() -> None:
    model = Complex()
    x, y = torch.randn(20, 4), torch.arange(20) % 3
    gradients = torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))
    length = math.sqrt(sum(float(g.abs().square().sum()) for g in gradients))
    assert gradient_norm(model, Examples(x, y), batch_size=7) == pytest.approx(length, rel=1e-5)
    parts = torch.cat([plain(value).flatten() for value in model.parameters()])
    assert weight_norm(model) == pytest.approx(float(parts.norm()), rel=1e-6)
    largest = float(torch.linalg.svdvals(model.a.weight.detach()).max())
    assert float(weight_spectra(model)["a.weight"].values.max()) == pytest.approx(largest, rel=1e-5)
    before = model.a.weight.detach().clone()
    report = dash_(model, [(x, y)], cross_entropy, lam=0.05)
    wanted = functional.cosine_similarity(plain(before), -plain(gradients[0]), dim=1)
    torch.testing.assert_close(report["a.weight"].cosines, wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model.a.weight.detach(), before * wanted.clamp(0.05, 1)[:, None])
    with pytest.warns(ActsElsewhere):
        compare(model, "l2_init", [(x, y)])


def test_noise_on_complex_weights_is_on_both_parts() -> None:
    model = nn.Linear(100, 100, dtype=torch.complex64)
    before = model.weight.detach().clone()
    shrink_and_perturb_(model, shrink=0.5, perturb=0.01, generator=torch.Generator().manual_seed(0))
    noise = model.weight.detach() - 0.5 * before
    for part in (noise.real, noise.imag):
        assert float(part.std()) == pytest.approx(0.01, rel=0.05)  # 10,000 draws: sd of the sd is 0.7%
