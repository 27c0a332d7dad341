"""Packed data sets, the sampler of independent features, and the feature probabilities of the paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import stats

from dashtheory.discrete import (
    PackedFeatures,
    pack_features,
    paper_probabilities,
    sample_features,
    sample_packed,
    simulate,
)

seeds = st.integers(0, 2**32 - 1)
probability_tables = st.integers(1, 4).flatmap(
    lambda num_features: st.lists(
        st.lists(st.floats(0, 1), min_size=num_features, max_size=num_features), min_size=1, max_size=3
    )
)


# --------------------------------------------------------------------------------------------- packing


@given(features=arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=9)))
def test_unpacking_undoes_packing_on_small_tables(features: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(pack_features(features).unpack(), features)


@given(seed=seeds, num_samples=st.integers(1, 200))
@settings(max_examples=50)
def test_unpacking_undoes_packing_across_word_borders(seed: int, num_samples: int) -> None:
    features = np.random.default_rng(seed).random((2, 3, num_samples)) < 0.5
    packed = pack_features(features)
    assert (packed.num_classes, packed.num_features, packed.num_samples) == features.shape
    unpacked = packed.unpack()
    assert unpacked.dtype == np.bool_
    np.testing.assert_array_equal(unpacked, features)


@pytest.mark.parametrize("num_samples", [1, 8, 9, 63, 64, 65, 128, 130])
def test_sample_i_is_bit_i_mod_64_of_word_i_div_64(num_samples: int) -> None:
    features = np.random.default_rng(num_samples).random((2, 2, num_samples)) < 0.5
    words = np.zeros((2, 2, math.ceil(num_samples / 64)), dtype=np.uint64)
    for label, feature, sample in np.argwhere(features).tolist():
        words[label, feature, sample // 64] += np.uint64(2 ** (sample % 64))
    np.testing.assert_array_equal(pack_features(features).words, words)
    by_hand = PackedFeatures(words=words, num_samples=num_samples)
    np.testing.assert_array_equal(by_hand.unpack(), features)


def test_packing_does_not_depend_on_strides() -> None:
    table = np.random.default_rng(3).random((2, 3, 140)) < 0.5
    view = table[::-1, :, ::-2]
    np.testing.assert_array_equal(pack_features(view).words, pack_features(view.copy()).words)
    fortran = np.asfortranarray(pack_features(view).words)
    np.testing.assert_array_equal(PackedFeatures(words=fortran, num_samples=70).unpack(), view)


def words(*shape: int, dtype: Any = np.uint64) -> NDArray[Any]:
    """Empty words of the given shape."""
    return np.zeros(shape, dtype=dtype)


BAD_WORDS = [
    ("words", words(1, 1, 1, dtype=np.int64), 10, "uint64.*got int64"),
    ("words", words(1, 1, 1, dtype=">u8"), 10, "uint64.*got >u8"),
    ("words", words(1, 1), 10, r"got uint64 of shape \(1, 1\)"),
    ("words", [[[0]]], 10, "got list"),
    ("words", words(1, 1, 1), 65, r"= 2 words.*got shape \(1, 1, 1\)"),
    ("words", words(1, 1, 2), 64, r"= 1 words.*got shape \(1, 1, 2\)"),
    ("words", words(1, 1, 1) + np.uint64(2**10), 10, "zero past the last sample"),
    ("words", words(1, 2, 2) + np.uint64(2**63), 127, "zero past the last sample"),
    ("words", words(0, 1, 1), 10, r"\(0, 1, 1\)"),
    ("words", words(1, 0, 1), 10, r"\(1, 0, 1\)"),
    ("num_samples", words(1, 1, 0), 0, "got 0"),
    ("num_samples", words(1, 1, 1), -3, "got -3"),
    ("num_samples", words(1, 1, 1), 10.0, r"got 10\.0"),
    ("num_samples", words(1, 1, 1), True, "got True"),
]


@pytest.mark.parametrize(("argument", "value", "num_samples", "told"), BAD_WORDS)
def test_packed_words_that_do_not_fit_are_refused(argument: str, value: Any, num_samples: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must .*{told}"):
        PackedFeatures(words=value, num_samples=num_samples)


@pytest.mark.parametrize("integer", [int, np.int64, np.uint32, np.uint8])
def test_every_integer_type_counts_samples(integer: Any) -> None:
    packed = PackedFeatures(words=words(1, 2, 2), num_samples=integer(66))
    assert packed.unpack().shape == (1, 2, 66)
    assert simulate(packed, 33, gamma=1).learned.shape == (2, 1, 2)


def test_the_last_bit_of_a_full_word_is_not_past_the_last_sample() -> None:
    packed = PackedFeatures(words=words(1, 1, 1) + np.uint64(2**63), num_samples=64)
    assert np.flatnonzero(packed.unpack()).tolist() == [63]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.zeros((1, 1, 1)), "float64"),
        (np.zeros((2, 5), dtype=np.bool_), r"\(2, 5\)"),
        (np.zeros((2, 5, 0), dtype=np.bool_), r"\(2, 5, 0\)"),
        ([[[True]]], "list"),
    ],
)
def test_only_full_bool_tables_are_packed(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^features must .*{told}"):
        pack_features(value)


# -------------------------------------------------------------------------------------------- sampling


@given(probabilities=probability_tables, num_samples=st.integers(1, 150), seed=seeds)
@settings(max_examples=60)
def test_the_draws_are_uniforms_below_p_in_the_documented_order(
    probabilities: list[list[float]], num_samples: int, seed: int
) -> None:
    values = np.array(probabilities)
    features = sample_features(values, num_samples, np.random.default_rng(seed))
    uniforms = np.random.default_rng(seed).random((*values.shape, num_samples))
    np.testing.assert_array_equal(features, uniforms < values[:, :, None])


@given(probabilities=probability_tables, num_samples=st.integers(1, 150), seed=seeds)
@settings(max_examples=60)
def test_packed_and_unpacked_draws_are_the_same(
    probabilities: list[list[float]], num_samples: int, seed: int
) -> None:
    packed = sample_packed(probabilities, num_samples, np.random.default_rng(seed))
    features = sample_features(probabilities, num_samples, np.random.default_rng(seed))
    np.testing.assert_array_equal(packed.words, pack_features(features).words)
    np.testing.assert_array_equal(packed.unpack(), features)


def test_the_generator_moves_on_and_the_global_state_does_not() -> None:
    state = np.random.get_state()  # noqa: NPY002 - read, not used
    generator = np.random.default_rng(7)
    first, second = (sample_features([[0.5] * 4], 64, generator) for _ in range(2))
    assert (first != second).any()
    after = np.random.get_state()  # noqa: NPY002
    assert str(state) == str(after)


def test_impossible_features_never_show_and_certain_ones_always() -> None:
    features = sample_features([[0.0, 1.0]], 1000, np.random.default_rng(0))
    assert not features[0, 0].any()
    assert features[0, 1].all()


SAMPLED = np.array([[0.01, 0.1, 0.2, 0.5, 0.9], [0.03, 0.2, 0.2, 0.4, 0.99]])
NUM_SAMPLED = 20_000


def binomial_bounds(chances: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts that NUM_SAMPLED trials stay within, for all `chances` at once, except once in a million seeds.

    Exact binomial quantiles at 1e-6 / 2 per side, divided by the number of counts compared (union bound). At
    p = 0.2 that is about 5.4 standard deviations, a frequency within 0.016 of p.
    """
    level = 0.5e-6 / chances.size
    low, high = (np.asarray(stats.binom.ppf(q, NUM_SAMPLED, chances)) for q in (level, 1 - level))
    return low, high


def test_each_feature_is_as_frequent_as_its_probability() -> None:
    features = sample_features(SAMPLED, NUM_SAMPLED, np.random.default_rng(11))
    low, high = binomial_bounds(SAMPLED)
    counts = features.sum(axis=2)
    assert ((low <= counts) & (counts <= high)).all(), counts


def test_pairs_of_features_are_as_frequent_as_independence_says() -> None:
    features = sample_features(SAMPLED, NUM_SAMPLED, np.random.default_rng(12)).astype(np.float64)
    together = np.einsum("ckn,cln->ckl", features, features)
    across = np.einsum("kn,ln->kl", features[0], features[1])  # the same place in two classes
    pairs = np.concatenate([together[:, *np.triu_indices(5, 1)].ravel(), across.ravel()])
    products = np.einsum("ck,cl->ckl", SAMPLED, SAMPLED)[:, *np.triu_indices(5, 1)]
    chances = np.concatenate([products.ravel(), np.outer(SAMPLED[0], SAMPLED[1]).ravel()])
    low, high = binomial_bounds(chances)
    assert ((low <= pairs) & (pairs <= high)).all(), pairs


BAD_DRAWS = [
    ("probabilities", {"probabilities": [[0.5, 1.5]]}, r"got 1\.5 at class 0, feature 1"),
    ("probabilities", {"probabilities": [[0.5], [-0.1]]}, r"got -0\.1 at class 1, feature 0"),
    ("probabilities", {"probabilities": [[math.nan]]}, "got nan"),
    ("probabilities", {"probabilities": [0.5]}, r"got shape \(1,\)"),
    ("probabilities", {"probabilities": 0.5}, r"got shape \(\)"),
    ("probabilities", {"probabilities": np.zeros((2, 0))}, r"got shape \(2, 0\)"),
    ("probabilities", {"probabilities": [["often"]]}, "often"),
    ("probabilities", {"probabilities": [[0.1, 0.2], [0.3]]}, ""),
    ("num_samples", {"num_samples": 0}, "got 0"),
    ("num_samples", {"num_samples": 2.0}, r"got 2\.0"),
    ("num_samples", {"num_samples": True}, "got True"),
]


@pytest.mark.parametrize(("argument", "bad", "told"), BAD_DRAWS)
@pytest.mark.parametrize("sampler", [sample_features, sample_packed])
def test_a_sampler_refuses_bad_input_by_name_and_value(
    sampler: Any, argument: str, bad: dict[str, Any], told: str
) -> None:
    good = {"probabilities": [[0.5]], "num_samples": 3}
    with pytest.raises(ValueError, match=f"^{argument} must .*{told}"):
        sampler(**{**good, **bad}, generator=np.random.default_rng(0))


# ------------------------------------------------------------------------- probabilities of the paper


@given(seed=seeds, num_classes=st.integers(1, 4), num_features=st.integers(1, 60), top=st.floats(0, 1))
@settings(max_examples=50)
def test_paper_probabilities_are_bounded_and_fall_within_each_class(
    seed: int, num_classes: int, num_features: int, top: float
) -> None:
    values = paper_probabilities(
        np.random.default_rng(seed),
        num_classes=num_classes,
        num_features=num_features,
        max_probability=top,
    )
    assert values.shape == (num_classes, num_features)
    assert values.dtype == np.float64
    assert ((values >= 0) & (values <= top)).all()
    assert (np.diff(values, axis=1) <= 0).all()


@given(seed=seeds)
@settings(max_examples=20)
def test_paper_probabilities_are_drawn_class_by_class(seed: int) -> None:
    generator = np.random.default_rng(seed)
    by_class = [sorted(generator.uniform(0, 0.2, size=50), reverse=True) for _ in range(2)]
    np.testing.assert_array_equal(paper_probabilities(np.random.default_rng(seed)), by_class)


def test_paper_probabilities_spread_over_their_range() -> None:
    """Kolmogorov-Smirnov against the uniform law: 2000 values of one seed, refused at 1e-6."""
    values = paper_probabilities(np.random.default_rng(4), num_features=1000)
    assert stats.kstest(values.ravel(), stats.uniform(0, 0.2).cdf).pvalue > 1e-6


@pytest.mark.parametrize(
    ("argument", "value", "told"),
    [
        ("num_classes", 0, "got 0"),
        ("num_classes", 2.0, r"got 2\.0"),
        ("num_features", -1, "got -1"),
        ("num_features", True, "got True"),
        ("max_probability", 1.01, r"got 1\.01"),
        ("max_probability", -0.2, r"got -0\.2"),
        ("max_probability", math.nan, "got nan"),
        ("max_probability", "0.2", r"got '0\.2'"),
        pytest.param("max_probability", 10**400, "got 1000", id="max_probability-beyond-floats"),
    ],
)
def test_paper_probabilities_refuse_bad_input_by_name_and_value(argument: str, value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must .*{told}"):
        paper_probabilities(np.random.default_rng(0), **{argument: value})


@pytest.mark.parametrize("seed", [0, None, np.random.RandomState(0)])
def test_a_seed_in_place_of_a_generator_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match=r"generator must be a numpy Generator.*default_rng"):
        paper_probabilities(seed)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"generator must be a numpy Generator"):
        sample_packed([[0.5]], 3, seed)  # type: ignore[arg-type]
