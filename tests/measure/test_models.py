"""Measures for any model: canaries, spectra, representations, alignment."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.evaluate import Scores, evaluate
from dashtheory.measure import (
    activations,
    alignment_histograms,
    approximate_rank,
    canary_gap,
    cosines,
    effective_rank,
    feature_rank,
    matrix_rank,
    mean_cosines,
    memorization_gap,
    participation_ratio,
    random_labels,
    representation_spectrum,
    sample_alignment,
    singular_values,
    srank,
    stable_rank,
    weight_spectra,
)
from dashtheory.measure.network import alignment
from dashtheory.rules import dash_factors
from dashtheory.stream import Examples
from tests.measure.model_cases import CHUNKS, net, traces

F64 = torch.float64


@pytest.mark.parametrize("train_mode", [True, False])
def test_measures_leave_no_trace(train_mode: bool) -> None:
    model = net().train(train_mode)
    functional.cross_entropy(model(CHUNKS[0].inputs), CHUNKS[0].targets).backward()
    mask = torch.arange(28) % 3 == 0
    before = traces(model)
    canary_gap(model, CHUNKS[0], mask[:12])
    weight_spectra(model)
    representation_spectrum(model, CHUNKS[0].inputs, "3")
    alignment_histograms(model, CHUNKS)
    sample_alignment(model, CHUNKS, mask)
    assert all(map(torch.equal, before, traces(model)))
    assert len(before) == len(traces(model))


# ----------------------------------------------------------------------------------------------------------- gap


def test_the_memorization_gap_by_hand() -> None:
    targets = torch.tensor([1, -1, 1, -1])
    found = memorization_gap(targets, torch.tensor([[1, -1, -1, -1], [1, 1, -1, -1]]), targets)
    assert (found.training, found.swapped, found.gap) == (1.0, 5 / 8, 3 / 8)
    assert memorization_gap(-targets, targets, targets).gap == -1
    with pytest.raises(
        ValueError, match=r"^predicted, swapped and targets must be .* got \(4, 2\), \(4,\) and \(4,\)"
    ):
        memorization_gap(torch.zeros(4, 2), targets, targets)


class Memory(nn.Module):
    """Knows the class of an input by its first entry, and the samples of a list by heart."""

    def __init__(self, known: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.known, self.labels = known, labels

    def forward(self, inputs: Tensor) -> Tensor:
        learned = inputs[:, 0].long()
        same = (inputs[:, None, :] == self.known).all(dim=2)
        recalled = torch.where(same.any(dim=1), self.labels[same.int().argmax(dim=1)], learned)
        return functional.one_hot(recalled, 4).double()


def test_a_network_that_memorized_a_share_of_the_canaries_is_told_that_share() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.randint(4, (4000,), generator=generator)
    inputs = torch.cat([own[:, None].double(), torch.arange(4000.0, dtype=F64)[:, None]], dim=1)
    targets, canary = random_labels(own, share=0.5, num_classes=4, generator=generator)
    places = canary.nonzero().squeeze(1)
    for share in (0.0, 0.25, 1.0):
        known = places[: round(share * len(places))]
        model = Memory(inputs[known], targets[known]) if len(known) else Memory(-inputs[:1], targets[:1])
        found = canary_gap(model, Examples(inputs, targets), canary)
        assert found.clean.accuracy == 1
        assert abs(found.memorized_share - share) < 0.03
        assert math.isclose(found.gap, 1 - found.canary.accuracy, rel_tol=1e-12)
        assert abs(found.gap - 0.75 * (1 - share)) < 0.03


def test_random_labels_are_uniform_and_touch_only_canaries() -> None:
    targets = torch.zeros(9000, dtype=torch.int64)
    new, mask = random_labels(targets, share=0.5, num_classes=3, generator=torch.Generator().manual_seed(0))
    assert int(mask.sum()) == 4500
    assert not bool(new[~mask].any())
    counts = torch.bincount(new[mask], minlength=3)
    assert int((counts - 1500).abs().max()) < 120  # four standard deviations
    assert not bool(targets.any())
    again, _ = random_labels(targets, share=0.5, num_classes=3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(new, again)
    none, mask = random_labels(targets, share=0, num_classes=3, generator=torch.Generator())
    assert torch.equal(none, targets)
    assert not bool(mask.any())


def test_the_canary_gap_is_two_evaluations() -> None:
    model, chunk = net(), CHUNKS[0]
    mask = torch.arange(12) < 5
    found = canary_gap(model, chunk, mask, batch_size=2)
    expected: list[Scores] = [
        evaluate(model, Examples(chunk.inputs[part], chunk.targets[part])) for part in (slice(5, 12), slice(5))
    ]
    for mine, theirs in zip((found.clean, found.canary), expected, strict=True):
        assert mine.accuracy == theirs.accuracy
        assert math.isclose(mine.loss, theirs.loss, rel_tol=1e-6)
    assert found.num_classes == 3
    assert -0.5 <= found.memorized_share <= 1


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(12, dtype=torch.bool), "canary must mark some samples and not all, got 12 of 12"),
        (torch.zeros(12, dtype=torch.bool), "canary must mark some samples and not all, got 0 of 12"),
        (torch.ones(11, dtype=torch.bool), r"canary must be a bool tensor \(12,\), got torch.bool \(11,\)"),
        (torch.ones(12), r"canary must be a bool tensor \(12,\), got torch.float32"),
    ],
)
def test_bad_masks_are_named(mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        canary_gap(net(), CHUNKS[0], mask)
    with pytest.raises(ValueError, match=f"^{message}"):
        sample_alignment(net(), CHUNKS[:1], mask)


# ------------------------------------------------------------------------------------------------------- spectra


def test_ranks_by_hand() -> None:
    flat, one = torch.ones(4, dtype=F64), torch.tensor([5.0, 0, 0], dtype=F64)
    for rank in (effective_rank, stable_rank, participation_ratio, srank):
        assert math.isclose(float(rank(flat)), 4, rel_tol=1e-12)
        assert math.isclose(float(rank(one)), 1, rel_tol=1e-12)
        assert float(rank(torch.zeros(3))) == 0
    values = torch.tensor([3.0, 1.0], dtype=F64)
    assert math.isclose(float(effective_rank(values)), math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    assert math.isclose(float(stable_rank(values)), 10 / 9)
    assert math.isclose(float(participation_ratio(values)), 100 / 82)
    assert [int(srank(values, delta=delta)) for delta in (0.3, 0.25, 0.2, 0.01)] == [1, 1, 2, 2]
    with pytest.raises(ValueError, match=r"^delta must be a number in \[0, 1\]"):
        srank(values, delta=-0.1)


def test_ranks_of_squares_of_rounding_and_of_sizes_are_counts() -> None:
    values = torch.tensor([8.0, 4.0, 1.0, 1e-7, 0.0], dtype=torch.float64)  # squares 64, 16 and 1: 79%, 99%, 100%
    assert [int(approximate_rank(values, delta=delta)) for delta in (0.5, 0.1, 0.01)] == [1, 2, 3]
    assert int(approximate_rank(torch.zeros(3))) == 0
    assert [int(matrix_rank(values, size=10, eps=eps)) for eps in (2e-2, 1e-3, 1e-10)] == [2, 3, 4]
    assert [int(feature_rank(values, num_inputs=10_000, tau=tau)) for tau in (0.05, 0.01, 0.0)] == [1, 2, 4]
    shrunk = values / 10
    assert int(approximate_rank(shrunk)) == int(approximate_rank(values))
    assert int(matrix_rank(shrunk, size=10)) == int(matrix_rank(values, size=10))
    assert int(feature_rank(shrunk, num_inputs=10_000)) < int(feature_rank(values, num_inputs=10_000))
    batched = torch.stack([values, shrunk])
    assert approximate_rank(batched).tolist() == [3, 3]
    assert matrix_rank(batched, size=10, eps=1e-3).tolist() == [3, 3]


@given(
    matrix=hnp.arrays(
        np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-5, 5, width=16)
    ),
    log_scale=st.floats(-150, 150),
    delta=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_ranks_lie_between_1_and_the_rank_and_ignore_scale_and_rotation(
    matrix: np.ndarray[Any, Any], log_scale: float, delta: float
) -> None:
    values = singular_values(torch.from_numpy(matrix))
    naive = np.linalg.svd(matrix, compute_uv=False)
    assert np.allclose(values, naive, atol=1e-12)
    if not matrix.any():
        return
    shares = naive[naive > 0] / naive.sum()
    least = next(k for k in range(1, 7) if naive[:k].sum() >= (1 - delta) * naive.sum() * (1 - 1e-12))
    expected = {
        effective_rank: math.exp(-(shares * np.log(shares)).sum()),
        stable_rank: np.linalg.norm(matrix) ** 2 / np.linalg.norm(matrix, 2) ** 2,
        participation_ratio: (naive**2).sum() ** 2 / (naive**4).sum(),
    }
    turned = singular_values(torch.from_numpy(matrix).T.flip(0))
    for rank, value in expected.items():
        found = float(rank(values))
        assert math.isclose(found, value, rel_tol=1e-9)
        assert 1 - 1e-12 <= found <= min(matrix.shape) + 1e-9
        assert math.isclose(float(rank(values * 10**log_scale)), found, rel_tol=1e-9)
        assert math.isclose(float(rank(turned)), found, rel_tol=1e-7)
    assert int(srank(values, delta=delta)) == least
    assert int(srank(values * 10**log_scale, delta=delta)) == least


def test_weights_are_matrices_of_outputs_whatever_the_layer() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, (2, 3), groups=2), nn.ConvTranspose2d(6, 4, 2), nn.Linear(5, 3)).double()
    spectra = weight_spectra(model)
    first, second, last = (model.get_parameter(f"{i}.weight").detach().numpy() for i in range(3))
    matrices = {
        "0.weight": first.reshape(6, 2 * 2 * 3),
        "1.weight": second.transpose(1, 0, 2, 3).reshape(4, 6 * 2 * 2),
        "2.weight": last,
    }
    assert list(spectra) == list(matrices)
    for name, matrix in matrices.items():
        naive = np.linalg.svd(matrix, compute_uv=False)
        assert np.allclose(spectra[name].values, naive, rtol=1e-12)
        summary = spectra[name].summary()
        assert list(summary) == ["spectral_norm", "effective_rank", "stable_rank", "participation_ratio", "srank"]
        assert math.isclose(summary["spectral_norm"], naive[0], rel_tol=1e-12)
        assert math.isclose(summary["stable_rank"], (naive**2).sum() / naive[0] ** 2, rel_tol=1e-12)
    strided = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, spectrum in weight_spectra(strided).items():
        assert torch.allclose(spectrum.values, spectra[name].values, rtol=1e-12)


@pytest.mark.parametrize("bad", [torch.ones(3), torch.tensor([[math.nan]])])
def test_what_is_no_finite_matrix_has_no_spectrum(bad: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^matrix must"):
        singular_values(bad)


def test_a_representation_is_what_the_layer_puts_out_in_evaluation_mode() -> None:
    model, inputs = net(), CHUNKS[0].inputs
    again = copy.deepcopy(model).eval()
    hidden = again.get_submodule("1")(again.get_submodule("0")(inputs)).flatten(1).detach()
    assert torch.allclose(activations(model, inputs, "1", batch_size=5), hidden, atol=1e-6)
    plain, centered = (
        representation_spectrum(model, inputs, "1", centered=centered).values for centered in (False, True)
    )
    assert np.allclose(plain, np.linalg.svd(hidden.double().numpy(), compute_uv=False), atol=1e-5)
    middle = (hidden - hidden.mean(dim=0)).double().numpy()
    assert np.allclose(centered, np.linalg.svd(middle, compute_uv=False), atol=1e-5)
    with pytest.raises(ValueError, match=r"^layer must be one of 0, 1, 2, .*, got 'head'"):
        activations(model, inputs, "head")
    shared = nn.Linear(4, 4)
    twice = nn.Sequential(shared, nn.ReLU(), shared)
    with pytest.raises(ValueError, match=r"^layer must put out one tensor .* got 2 outputs"):
        activations(twice, torch.ones(2, 4), "0")
    with pytest.raises(ValueError, match=r"^layer must put out one tensor .* got tuple"):
        activations(nn.Sequential(nn.LSTM(3, 2), Pick()), torch.ones(5, 4, 3), "0")


class Pick(nn.Module):
    """The output of a recurrent layer."""

    def forward(self, pair: tuple[Tensor, object]) -> Tensor:
        return pair[0]


# ----------------------------------------------------------------------------------------------------- alignment


def naive_cosines(model: nn.Module, chunks: list[Examples], alpha: float) -> dict[str, Tensor]:
    """Transcription: one batch per chunk, oldest first, and a cosine per kernel, row or bias."""
    again = copy.deepcopy(model).eval()
    parameters = {name: p for name, p in again.named_parameters() if name.split(".")[0] != "1"}
    smoothed = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for chunk in chunks:
        again.zero_grad()
        functional.cross_entropy(again(chunk.inputs), chunk.targets).backward()
        for name, p in parameters.items():
            assert p.grad is not None
            smoothed[name] = (1 - alpha) * smoothed[name] - alpha * p.grad
    found = {}
    for name, p in parameters.items():
        axes = {4: 2, 2: 1, 1: 0}[p.ndim]
        shape = (*p.shape[:axes], -1)
        found[name] = functional.cosine_similarity(
            p.reshape(shape), smoothed[name].reshape(shape), dim=-1
        ).detach()
    return found


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_cosines_are_those_of_dash(alpha: float) -> None:
    model = net()
    expected = naive_cosines(model, list(CHUNKS), alpha)
    found = cosines(model, CHUNKS, alpha=alpha)
    assert list(found) == list(expected)
    for name, values in found.items():
        assert values.shape == expected[name].shape
        assert torch.allclose(values, expected[name], atol=1e-5), name
    means = mean_cosines(model, CHUNKS, alpha=alpha)
    weighed = [(float(v.mean()), model.get_parameter(name).numel()) for name, v in expected.items()]
    assert math.isclose(means[""], sum(v * n for v, n in weighed) / sum(n for _, n in weighed), abs_tol=1e-5)
    assert math.isclose(means["7.weight"], weighed[-2][0], abs_tol=1e-5)
    assert math.isclose(mean_cosines(model, CHUNKS[:1], alpha=1)[""], alignment(model, CHUNKS[0]), rel_tol=1e-12)


def test_histograms_hold_every_group_once_and_their_lower_part_is_what_dash_clamps() -> None:
    model = net()
    table = alignment_histograms(model, CHUNKS, bins=20)
    assert list(table.columns) == ["layer", "low", "high", "share"]
    values = cosines(model, CHUNKS)
    report = dash_factors(
        model, [(chunk.inputs, chunk.targets) for chunk in CHUNKS], functional.cross_entropy, lam=0.3
    )
    for name, part in table.groupby("layer", sort=False):
        assert math.isclose(part["share"].sum(), 1)
        assert part["low"].iloc[0] == -1
        assert part["high"].iloc[-1] == 1
        assert (part["low"].iloc[1:].to_numpy() == part["high"].iloc[:-1].to_numpy()).all()
        for low, high, share in part[["low", "high", "share"]].to_numpy(dtype=float):
            inside = (values[str(name)] >= low) & (values[str(name)] < high)
            assert math.isclose(share, float(inside.double().mean()), abs_tol=1e-12)
        below = part[part["high"] < 0.3 + 1e-9]["share"].sum()
        assert math.isclose(below, report[str(name)].share_clamped, abs_tol=1e-12)
    with pytest.raises(ValueError, match=r"^bins must be even, got 5"):
        alignment_histograms(model, CHUNKS, bins=5)


def test_alignment_with_canaries_is_that_of_a_pass_over_them_alone() -> None:
    model = net()
    mask = torch.zeros(28, dtype=torch.bool)
    mask[[1, 5, 13]] = True  # none in the last chunk
    table = sample_alignment(model, CHUNKS, mask)
    canaries = [
        Examples(CHUNKS[0].inputs[[1, 5]], CHUNKS[0].targets[[1, 5]]),
        Examples(CHUNKS[1].inputs[[1]], CHUNKS[1].targets[[1]]),
    ]
    expected = naive_cosines(model, canaries, 0.3)
    by_layer = table.set_index("layer")
    assert list(table["layer"]) == ["", *expected]
    for name, values in expected.items():
        assert math.isclose(by_layer["canary"][name], float(values.mean()), abs_tol=1e-5)
    others = [[i for i in range(12) if i not in (1, 5)], [i for i in range(9) if i != 1], list(range(7))]
    clean = [chunk.take(torch.tensor(rows)) for chunk, rows in zip(CHUNKS, others, strict=True)]
    for name, values in naive_cosines(model, clean, 0.3).items():
        assert math.isclose(by_layer["clean"][name], float(values.mean()), abs_tol=1e-5)
