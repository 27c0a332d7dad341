"""Measures where features and noise are known: norms, shares, selectivity, margins; and the proposition."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from torch import Tensor

from dashtheory.measure import (
    Coefficients,
    Norms,
    block_norms,
    decompose,
    feature_margins,
    feature_shares,
    frequency_correlation,
    margins_by_frequency,
    noise_margin_share,
    norms,
    persistence,
    selectivity,
    selectivity_bounds,
    share_correlation,
    share_shift_bound,
    share_spread,
)
from tests.measure.tracked import SIZES, Data, Patch, run

F64 = torch.float64


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=F64)


def lengths(low: float = 1e-3) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Two rows: lengths of features and of noise, per neuron."""
    return st.integers(1, 7).flatmap(lambda n: hnp.arrays(np.float64, (2, n), elements=st.floats(low, 1e3)))


def as_norms(rows: np.ndarray[Any, Any]) -> Norms:
    return Norms(torch.from_numpy(rows[0].copy()), torch.from_numpy(rows[1].copy()))


def scaled(before: Norms, factors: Tensor | float) -> Norms:
    return Norms(before.feature * factors, before.noise * factors)


# --------------------------------------------------------------------------------------------------------- norms


def test_norms_are_those_of_the_parts() -> None:
    data = Data.draw(*SIZES["small"], seed=1, orthonormal=False)
    tracked = run("patch", data, F64)
    found = norms(tracked.found())
    gamma, rho = tracked.gamma.numpy(), tracked.rho.numpy()
    for r in range(6):
        feature = sum(gamma[r, k] * data.features[k].numpy() for k in range(8))
        noise = sum(rho[r, i] * data.noise[i].numpy() for i in range(30))
        assert math.isclose(float(found.feature[r]), float(np.linalg.norm(feature)), rel_tol=1e-10)
        assert math.isclose(float(found.noise[r]), float(np.linalg.norm(noise)), rel_tol=1e-10)
    gam, rho_total = (math.sqrt(sum(float(x) ** 2 for x in part)) for part in (found.feature, found.noise))
    assert math.isclose(float(found.features_total), gam, rel_tol=1e-12)
    assert math.isclose(float(found.noise_total), rho_total, rel_tol=1e-12)
    assert math.isclose(float(found.noise_to_feature), rho_total / gam, rel_tol=1e-12)
    some = norms(tracked.found(), samples=slice(5)).noise[0]
    first = sum(rho[0, i] * data.noise[i].numpy() for i in range(5))
    assert math.isclose(float(some), float(np.linalg.norm(first)), rel_tol=1e-10)


def test_with_orthonormal_features_the_feature_norm_is_that_of_gamma() -> None:
    tracked = run("relu", Data.draw(*SIZES["small"], seed=1), F64)
    assert math.isclose(float(norms(tracked.found()).features_total), float(tracked.gamma.norm()), rel_tol=1e-12)


def test_block_norms_split_weights_at_the_span_of_the_features() -> None:
    features = tensor([1, 0, 0, 0], [1, 1, 0, 0])
    weights = tensor([3, 4, 0, 12], [0, 0, 5, 0])
    found = block_norms(weights, features)
    assert torch.allclose(found.feature, tensor(5, 0))
    assert torch.allclose(found.noise, tensor(12, 5))
    moved = block_norms(weights, features, init=tensor([0, 0, 0, 12], [1, 0, 5, 0]))
    assert torch.allclose(moved.feature, tensor(5, 1))
    assert torch.allclose(moved.noise, tensor(0, 0))
    with pytest.raises(ValueError, match=r"^features must be linearly independent, got condition"):
        block_norms(weights, tensor([1, 0, 0, 0], [2, 0, 0, 0]))


def test_block_norms_agree_with_coefficients_where_noise_is_orthogonal_to_features() -> None:
    data = Data.draw(4, 10, 30, seed=0)
    data.noise -= data.noise @ data.features.T @ data.features
    tracked = run("patch", data, F64)
    coefficients, blocks = (
        norms(tracked.found()),
        block_norms(tracked.network.weight, data.features, init=tracked.c[:, None] * tracked.init),
    )
    assert torch.allclose(coefficients.feature, blocks.feature, atol=1e-12)
    assert torch.allclose(coefficients.noise, blocks.noise, atol=1e-12)


def test_persistence_is_the_ratio_of_the_first_samples_noise() -> None:
    eye = torch.eye(8, dtype=F64)
    init = tensor([0, 0, 0, 0, 0, 0, 0, 1])

    def network(rho: list[float]) -> Tensor:
        return init + 2 * eye[:1] + tensor(rho) @ eye[1:5]

    first = decompose(network([3, 4, 0, 0]), init, eye[:1], eye[1:5])
    now = decompose(network([0.3, 0.4, 9, 9]), init, eye[:1], eye[1:5])
    assert torch.allclose(persistence(now, first, samples=slice(2)), tensor(0.1).squeeze())
    assert torch.allclose(persistence(first, first, samples=slice(2)), tensor(1.0).squeeze())
    early = decompose(network([3, 4, 0, 0]), init, eye[:1], eye[1:3])  # the first stage knew two samples
    assert torch.allclose(persistence(now, early, samples=slice(2)), tensor(0.1).squeeze())


def test_norms_of_what_is_not_identifiable_are_refused() -> None:
    few = torch.randn(3, 5, dtype=F64)
    with pytest.raises(ValueError, match="5 dimensions for 3 features and 6 samples"):
        norms(decompose(few, few, few, torch.randn(6, 5)))
    with pytest.raises(ValueError, match=r"^feature and noise must have one shape .* got \(2,\) and \(3,\)"):
        Norms(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match=r"^norms must be Norms or a Decomposition, got Tensor"):
        feature_shares(torch.ones(2))  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------- shares


def test_shares_by_hand() -> None:
    shares = feature_shares(Norms(tensor(3, 0, 1, 0, 1e-200), tensor(4, 2, 0, 0, 1e-200)))
    assert torch.allclose(shares[:3], tensor(9 / 25, 0, 1))
    assert bool(shares[3].isnan())
    assert math.isclose(float(shares[4]), 0.5)
    assert math.isclose(float(share_spread(shares[:4])), float(np.std([9 / 25, 0, 1])), rel_tol=1e-12)
    assert float(share_spread(tensor(0.3, 0.3, 0.3))) < 1e-15


@given(rows=lengths(), factors=st.data())
def test_shares_lie_in_0_1_and_no_factor_on_neurons_changes_them(
    rows: np.ndarray[Any, Any], factors: st.DataObject
) -> None:
    before = as_norms(rows)
    drawn = factors.draw(hnp.arrays(np.float64, rows.shape[1], elements=st.floats(1e-3, 1)))
    shares = feature_shares(before)
    assert bool(((shares >= 0) & (shares <= 1)).all())
    assert torch.allclose(feature_shares(scaled(before, torch.from_numpy(drawn))), shares, rtol=1e-12, atol=0)
    assert 0 <= float(share_spread(shares)) <= 0.5
    swapped = feature_shares(Norms(before.noise, before.feature))
    assert torch.allclose(swapped, 1 - shares, atol=1e-12)


@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100), shift=st.floats(-1, 1))
def test_the_correlation_is_pearsons(seed: int, scale: float, shift: float) -> None:
    cosines, shares = (torch.rand(9, generator=torch.Generator().manual_seed(seed + i), dtype=F64) for i in (0, 1))
    expected = float(np.corrcoef(cosines.numpy(), shares.numpy())[0, 1])
    assert math.isclose(float(share_correlation(cosines, shares)), expected, abs_tol=1e-9)
    assert math.isclose(float(share_correlation(cosines * scale + shift, shares)), expected, abs_tol=1e-9)
    assert math.isclose(float(share_correlation(-cosines, shares)), -expected, abs_tol=1e-9)


def test_the_correlation_says_nothing_where_nothing_varies_and_leaves_out_dead_neurons() -> None:
    assert bool(share_correlation(tensor(0.1, 0.1, 0.1), tensor(0, 1, 0)).isnan())
    assert bool(share_correlation(tensor(0, 1, 0), tensor(0.7, 0.7, 0.7)).isnan())
    found = share_correlation(tensor([1, 2, 3, 9], [3, 2, 1, 0]), tensor([1, 2, 3, math.nan], [1, 2, 3, 4]))
    assert torch.allclose(found, tensor(1, -1))
    with pytest.raises(ValueError, match=r"^cosines and shares must have one shape"):
        share_correlation(tensor(1, 2), tensor(1, 2, 3))


# --------------------------------------------------------------------------------------------------- selectivity


def test_selectivity_by_hand() -> None:
    before, after = Norms(tensor(3, 4), tensor(6, 8)), Norms(tensor(3, 0), tensor(0, 2))
    assert math.isclose(float(selectivity(before, after)), (3 / 5) / (2 / 10), rel_tol=1e-12)
    with pytest.raises(ValueError, match=r"^before and after must have one shape .* got \(2,\) and \(3,\)"):
        selectivity(before, Norms(torch.ones(3), torch.ones(3)))


@given(rows=lengths(), power=st.integers(-30, 30), factor=st.floats(1e-6, 1e6))
def test_a_uniform_shrink_has_selectivity_1(rows: np.ndarray[Any, Any], power: int, factor: float) -> None:
    before = as_norms(rows)
    assert float(selectivity(before, scaled(before, 2.0**power))) == 1  # no rounding: to the bit
    assert math.isclose(float(selectivity(before, scaled(before, factor))), 1, rel_tol=1e-14)


def test_a_uniform_shrink_of_a_trained_network_has_selectivity_1_and_leaves_shares() -> None:
    tracked = run("patch", Data.draw(*SIZES["small"], seed=1), F64)
    before = tracked.found()
    tracked.shrink(torch.full((6,), 0.3, dtype=F64))
    after = tracked.found()
    assert math.isclose(float(selectivity(before, after)), 1, rel_tol=1e-12)
    assert torch.allclose(feature_shares(before), feature_shares(after), atol=1e-12)
    factors = tensor(0.05, 1, 0.3, 0.5, 0.05, 1)
    tracked.shrink(factors)
    low, high = selectivity_bounds(before, lam=0.05)
    assert low < selectivity(before, tracked.found()) < high
    assert torch.allclose(feature_shares(before), feature_shares(tracked.found()), atol=1e-12)


@given(rows=lengths(1e-2), data=st.data(), lam=st.sampled_from([0.0, 0.05, 0.3, 0.9, 1.0]))
def test_no_rule_that_scales_neurons_is_more_selective_than_the_bounds(
    rows: np.ndarray[Any, Any], data: st.DataObject, lam: float
) -> None:
    before = as_norms(rows)
    factors = torch.from_numpy(
        data.draw(hnp.arrays(np.float64, rows.shape[1], elements=st.floats(max(lam, 1e-9), 1)))
    )
    found = float(selectivity(before, scaled(before, factors)))
    low, high = (float(value) for value in selectivity_bounds(before, lam=lam))
    assert low <= 1 + 1e-12
    assert high >= 1 - 1e-12
    assert low * (1 - 1e-9) <= found <= high * (1 + 1e-9)
    if lam:
        bound = float(share_shift_bound(before, lam=lam))
        assert abs(_mean_share(scaled(before, factors)) - _mean_share(before)) <= bound + 1e-12
        assert (
            abs(_odds_inverse(high, before) - _mean_share(before)) <= bound + 1e-12
        )  # it holds at the extremes too
        assert abs(_odds_inverse(low, before) - _mean_share(before)) <= bound + 1e-12


def _mean_share(value: Norms) -> float:
    """Phi = Gam^2 / (Gam^2 + Rho^2)."""
    return float(value.features_total**2 / (value.features_total**2 + value.noise_total**2))


def _odds_inverse(value: float, before: Norms) -> float:
    """Phi after a rule of that selectivity: odds(Phi_after) = Sel^2 odds(Phi)."""
    odds = value**2 * float(before.features_total / before.noise_total) ** 2
    return odds / (1 + odds)


@pytest.mark.parametrize("lam", [0.0, 0.05, 0.3])
def test_the_bounds_are_reached_by_trying_all_rules_with_two_factors(lam: float) -> None:
    generator = torch.Generator().manual_seed(0)
    before = Norms(*(torch.rand(6, generator=generator, dtype=F64) + 0.05 for _ in range(2)))
    tried = [
        float(selectivity(before, scaled(before, tensor(*factors))))
        for factors in itertools.product([lam, 1.0], repeat=6)
        if any(factors)
    ]
    low, high = (float(value) for value in selectivity_bounds(before, lam=lam))
    assert math.isclose(low, min(tried), rel_tol=1e-12)
    assert math.isclose(high, max(tried), rel_tol=1e-12)
    if lam == 0:
        odds = (before.feature / before.noise).max() / (before.features_total / before.noise_total)
        assert math.isclose(high, float(odds), rel_tol=1e-12)


def test_equal_shares_leave_no_choice_and_neurons_of_one_kind_all_of_it() -> None:
    same = Norms(tensor(1, 2, 3), tensor(2, 4, 6))
    assert torch.allclose(torch.stack(selectivity_bounds(same)), tensor(1, 1))
    assert float(share_shift_bound(same, lam=0.05)) < 1e-15
    pure = Norms(tensor(1, 0), tensor(0, 1))
    low, high = selectivity_bounds(pure, lam=0.1)
    assert torch.allclose(torch.stack([low, high]), tensor(0.1, 10))
    assert math.isclose(float(share_shift_bound(pure, lam=0.1)), 0.5 * 0.99 / 0.2, rel_tol=1e-12)
    low, high = selectivity_bounds(pure)
    assert (float(low), float(high)) == (0, math.inf)
    dead = Norms(tensor(1, 2, 0), tensor(2, 1, 0))
    for with_dead, without in zip(
        selectivity_bounds(dead), selectivity_bounds(Norms(*(x[:2] for x in vars(dead).values()))), strict=True
    ):
        assert torch.equal(with_dead, without)


def test_the_bound_by_the_spread_weighs_neurons_by_their_squared_length() -> None:
    before = Norms(tensor(3, 0), tensor(0, 1))  # shares 1 and 0, weights 0.9 and 0.1
    assert math.isclose(float(share_shift_bound(before, lam=0.5)), math.sqrt(0.9 * 0.1) * 0.75, rel_tol=1e-12)


@given(rows=lengths(), feature_scale=st.floats(-200, 200), noise_scale=st.floats(-200, 200))
def test_bounds_ignore_the_scale_of_features_and_of_noise(
    rows: np.ndarray[Any, Any], feature_scale: float, noise_scale: float
) -> None:
    before = as_norms(rows)
    far = Norms(before.feature * 10.0**feature_scale, before.noise * 10.0**noise_scale)
    both = Norms(before.feature * 10.0**feature_scale, before.noise * 10.0**feature_scale)
    assert torch.allclose(share_shift_bound(both, lam=0.3), share_shift_bound(before, lam=0.3), atol=1e-12)
    expected = torch.stack(selectivity_bounds(before, lam=0.3))
    assert torch.allclose(torch.stack(selectivity_bounds(both, lam=0.3)), expected, rtol=1e-9)
    if abs(feature_scale - noise_scale) < 290:  # beyond, their ratio is no float
        assert torch.allclose(torch.stack(selectivity_bounds(far, lam=0.3)), expected, rtol=1e-9)


def test_bounds_are_taken_per_network() -> None:
    generator = torch.Generator().manual_seed(0)
    feature, noise = (torch.rand(2, 3, 5, generator=generator, dtype=F64) for _ in range(2))
    low, high = selectivity_bounds(Norms(feature, noise), lam=0.2)
    assert low.shape == high.shape == share_shift_bound(Norms(feature, noise), lam=0.2).shape == (2, 3)
    for i, j in itertools.product(range(2), range(3)):
        one = selectivity_bounds(Norms(feature[i, j], noise[i, j]), lam=0.2)
        assert torch.allclose(torch.stack(one), torch.stack([low[i, j], high[i, j]]))
    with pytest.raises(ValueError, match=r"^lam must be a number in \[0, 1\]"):
        selectivity_bounds(Norms(feature, noise), lam=2)
    with pytest.raises(ValueError, match=r"^lam must be a number in \(0, 1\]"):
        share_shift_bound(Norms(feature, noise), lam=0)


def test_scaling_neurons_reweighs_functions_and_changes_none() -> None:
    tracked = run("patch", Data.draw(*SIZES["small"], seed=1), F64)
    network = tracked.network
    before = [torch.relu(network.data.noise @ network.weight[r]) ** 1.75 for r in range(6)]
    factors = tensor(0.05, 1, 0.3, 0.5, 0.05, 0.9)
    tracked.shrink(factors)
    for r in range(6):
        after = torch.relu(network.data.noise @ network.weight[r]) ** 1.75
        assert torch.allclose(after, factors[r] ** 1.75 * before[r], rtol=1e-12)


# ------------------------------------------------------------------------------------------------------- margins


def test_the_margin_share_of_a_patch_network_is_exact() -> None:
    data = Data.draw(*SIZES["small"], seed=1)
    network = run("patch", data, F64).network
    assert isinstance(network, Patch)
    with torch.no_grad():
        output = network()
        signs = network.signs.double() / 3
        noise_part = torch.relu(data.noise @ network.weight.T) ** 1.75 @ signs
        feature_part = data.shown @ torch.relu(data.features @ network.weight.T) ** 1.75 @ signs
    share = float(noise_margin_share(data.labels, noise_part, output))
    top = sum(float(y * f) for y, f in zip(data.labels, noise_part, strict=True))
    bottom = sum(float(y * f) for y, f in zip(data.labels, output, strict=True))
    assert math.isclose(share, top / bottom, rel_tol=1e-12)
    assert math.isclose(share + float(noise_margin_share(data.labels, feature_part, output)), 1, rel_tol=1e-12)
    assert math.isclose(float(noise_margin_share(data.labels, 7 * noise_part, 7 * output)), share, rel_tol=1e-12)
    with pytest.raises(ValueError, match=r"^labels must be -1 or 1, got values from 0 to 1"):
        noise_margin_share(tensor(0, 1), noise_part[:2], output[:2])


def test_feature_margins_of_a_linear_network_are_its_products() -> None:
    weight = tensor(1, -2, 3)
    features, signs = torch.eye(3, dtype=F64), tensor(1, -1, -1)
    margins = feature_margins(lambda x: x @ weight + 5, features, signs)
    assert torch.allclose(margins, tensor(1, 2, -3))
    with pytest.raises(ValueError, match=r"^network must return one number per input, shape \(4,\), got \(4, 1\)"):
        feature_margins(lambda x: (x @ weight)[:, None], features, signs)
    with pytest.raises(ValueError, match=r"^signs must be -1 or 1"):
        feature_margins(lambda x: x @ weight, features, tensor(0, 1, 1))


def test_margins_stand_beside_frequencies() -> None:
    table = margins_by_frequency(tensor(0.1, 3, 2), tensor(0.05, 0.2, 0.1))
    assert list(table.columns) == ["feature", "frequency", "margin"]
    assert table["feature"].tolist() == [1, 2, 0]
    assert table["frequency"].tolist() == [0.2, 0.1, 0.05]
    assert table["margin"].tolist() == [3, 2, 0.1]
    with pytest.raises(
        ValueError, match=r"^margins and frequencies must have one shape \(V,\), got \(2,\) and \(3,\)"
    ):
        margins_by_frequency(tensor(1, 2), tensor(1, 2, 3))


@given(values=hnp.arrays(np.int64, (2, 8), elements=st.integers(0, 5)))
def test_the_rank_correlation_is_spearmans(values: np.ndarray[Any, Any]) -> None:
    margins, frequencies = torch.from_numpy(values[0].astype(float)), torch.from_numpy(values[1] / 10)
    found = frequency_correlation(margins, frequencies)
    if len(set(values[0])) == 1 or len(set(values[1])) == 1:
        assert math.isnan(found)
    else:
        assert math.isclose(found, float(stats.spearmanr(values[0], values[1]).statistic), abs_tol=1e-12)
        assert math.isclose(frequency_correlation(margins.exp(), frequencies), found, abs_tol=1e-12)


def test_coefficients_scale_neuron_by_neuron() -> None:
    one = Coefficients(torch.ones(2, 3), torch.ones(2, 4), torch.ones(2))
    found = one.scaled(torch.tensor([0.5, 2.0]))
    assert torch.equal(found.gamma, torch.tensor([[0.5] * 3, [2.0] * 3]))
    assert torch.equal(found.rho, torch.tensor([[0.5] * 4, [2.0] * 4]))
    assert torch.equal(one.scaled(0.5).c, torch.full((2,), 0.5))
