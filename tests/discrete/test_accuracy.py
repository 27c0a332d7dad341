"""Test accuracy of learned features: on a drawn test set and in closed form."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dashtheory.discrete import expected_accuracy, fewer_than_tau, sample_features, test_accuracy

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@st.composite
def learned_and_probabilities(draw: st.DrawFn) -> tuple[Bools, Floats]:
    """Bool (C, K) and float (C, K), with C <= 3 and K <= 5; probabilities 0 and 1 are common."""
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    chance = st.sampled_from([0.0, 1.0]) | st.floats(0, 1)
    return draw(arrays(np.bool_, shape)), draw(arrays(np.float64, shape, elements=chance))


# ---------------------------------------------------------------------------------- on a drawn test set


def accuracy_by_loop(learned: Bools, test_features: Bools, tau: int) -> Fraction:
    """Visit each test sample: it is right for sure, or with probability 1 / C. Exact."""
    num_classes, num_features, num_samples = test_features.shape
    right = Fraction(0)
    for label in range(num_classes):
        for sample in range(num_samples):
            seen = sum(
                1
                for feature in range(num_features)
                if learned[label, feature] and test_features[label, feature, sample]
            )
            right += Fraction(1) if seen >= tau else Fraction(1, num_classes)
    return Fraction(right / (num_classes * num_samples))


@given(seed=st.integers(0, 2**32 - 1), sizes=st.tuples(*[st.integers(1, 5)] * 3), tau=st.integers(1, 6))
def test_drawn_accuracy_equals_a_loop_over_the_samples(seed: int, sizes: tuple[int, int, int], tau: int) -> None:
    generator = np.random.default_rng(seed)
    test_features = generator.random(sizes) < 0.6
    learned = generator.random(sizes[:2]) < 0.7
    exact = accuracy_by_loop(learned, test_features, tau)
    assert test_accuracy(learned, test_features, tau) == pytest.approx(float(exact), rel=1e-14)


def test_drawn_accuracy_by_hand() -> None:
    """Class 0 shows 2, 1 and 0 learned features, class 1 shows 1, 1 and 2."""
    test_features = np.array([[[1, 1, 0], [1, 0, 0]], [[1, 0, 1], [0, 1, 1]]], dtype=np.bool_)
    learned = np.ones((2, 2), dtype=np.bool_)
    assert test_accuracy(learned, test_features, 1) == pytest.approx((5 + 1 / 2) / 6)
    assert test_accuracy(learned, test_features, 2) == pytest.approx((2 + 4 / 2) / 6)
    assert test_accuracy(learned, test_features, 3) == pytest.approx(1 / 2)
    learned[1, 0] = False  # class 1 now shows 0, 1 and 1 learned features
    assert test_accuracy(learned, test_features, 1) == pytest.approx((4 + 2 / 2) / 6)


def test_drawn_accuracy_keeps_leading_axes() -> None:
    generator = np.random.default_rng(1)
    learned = generator.random((2, 4, 3, 6)) < 0.5
    test_features = generator.random((3, 6, 20)) < 0.5
    together = test_accuracy(learned, test_features, 2)
    assert together.shape == (2, 4)
    for index in np.ndindex(2, 4):
        assert together[index] == test_accuracy(learned[index], test_features, 2)


# ------------------------------------------------------------------------------------- in closed form


def expected_accuracy_by_enumeration(learned: Bools, probabilities: Floats, tau: int) -> Fraction:
    """Sum over all 2^K sets of features that a sample of each class may show. Exact."""
    num_classes, num_features = learned.shape
    total = Fraction(0)
    for label in range(num_classes):
        chances = [Fraction(p) for p in probabilities[label].tolist()]
        for shown in itertools.product([False, True], repeat=num_features):
            weight = Fraction(1)
            for p, here in zip(chances, shown, strict=True):
                weight *= p if here else Fraction(1) - p
            seen = sum(1 for here, known in zip(shown, learned[label], strict=True) if here and known)
            total += weight * (Fraction(1) if seen >= tau else Fraction(1, num_classes))
    return Fraction(total / num_classes)


@given(tables=learned_and_probabilities(), tau=st.integers(1, 6))
@settings(max_examples=60)
def test_expected_accuracy_equals_enumeration_of_all_feature_sets(tables: tuple[Bools, Floats], tau: int) -> None:
    learned, probabilities = tables
    exact = expected_accuracy_by_enumeration(learned, probabilities, tau)
    assert expected_accuracy(learned, probabilities, tau) == pytest.approx(float(exact), rel=1e-14)


@given(tables=learned_and_probabilities())
def test_with_tau_one_only_samples_without_learned_features_fail(tables: tuple[Bools, Floats]) -> None:
    learned, probabilities = tables
    none_shown = np.prod(np.where(learned, 1 - probabilities, 1), axis=1)
    np.testing.assert_allclose(fewer_than_tau(learned, probabilities, 1), none_shown, rtol=1e-14)


@given(tables=learned_and_probabilities())
def test_with_tau_equal_to_k_only_samples_that_show_everything_pass(
    tables: tuple[Bools, Floats],
) -> None:
    learned, probabilities = tables
    tail = fewer_than_tau(np.ones_like(learned), probabilities, learned.shape[1])
    np.testing.assert_allclose(1 - tail, np.prod(probabilities, axis=1), rtol=0, atol=1e-14)
    some_missing = ~learned.all(axis=1)
    assert (fewer_than_tau(learned, probabilities, learned.shape[1])[some_missing] > 1 - 1e-14).all()


@given(tables=learned_and_probabilities(), extra=st.sampled_from([1, 2, 10**9, 10**18]))
def test_with_tau_beyond_k_every_answer_is_a_guess(tables: tuple[Bools, Floats], extra: int) -> None:
    learned, probabilities = tables
    num_classes, num_features = learned.shape
    tau = num_features + extra
    assert (fewer_than_tau(learned, probabilities, tau) == 1).all()
    assert expected_accuracy(learned, probabilities, tau) == pytest.approx(1 / num_classes, rel=1e-15)
    test_features = np.ones((*learned.shape, 3), dtype=np.bool_)
    assert test_accuracy(learned, test_features, tau) == pytest.approx(1 / num_classes, rel=1e-15)


@pytest.mark.parametrize("exponent", [30, 50, 400])
def test_with_tau_beyond_floats_every_answer_is_a_guess(exponent: int) -> None:
    learned = np.ones((2, 3), dtype=np.bool_)
    assert expected_accuracy(learned, np.full((2, 3), 0.5), 10**exponent) == 0.5
    assert test_accuracy(learned, np.ones((2, 3, 4), dtype=np.bool_), 10**exponent) == 0.5


def test_equal_probabilities_give_the_binomial_tail() -> None:
    num_features, p = 12, 0.3
    for tau in range(1, num_features + 1):
        tail = sum(math.comb(num_features, s) * p**s * (1 - p) ** (num_features - s) for s in range(tau))
        learned = np.ones((1, num_features), dtype=np.bool_)
        result = fewer_than_tau(learned, np.full((1, num_features), p), tau)
        np.testing.assert_allclose(result, tail, rtol=1e-13)


@given(tables=learned_and_probabilities(), tau=st.integers(1, 5), more=st.integers(0, 2**15 - 1))
def test_learning_more_never_lowers_the_accuracy(tables: tuple[Bools, Floats], tau: int, more: int) -> None:
    """Exactly so on a drawn test set; up to rounding in closed form."""
    learned, probabilities = tables
    added = (more >> np.arange(learned.size)) % 2 == 1
    larger = learned | added.reshape(learned.shape)
    before, after = (expected_accuracy(known, probabilities, tau) for known in (learned, larger))
    assert after >= before - 1e-14
    test_features = sample_features(probabilities, 20, np.random.default_rng(more))
    drawn_before, drawn_after = (test_accuracy(known, test_features, tau) for known in (learned, larger))
    assert drawn_after >= drawn_before


def test_expected_accuracy_keeps_leading_axes() -> None:
    generator = np.random.default_rng(2)
    learned = generator.random((2, 4, 3, 6)) < 0.5
    probabilities = generator.random((3, 6))
    tails, together = (f(learned, probabilities, 2) for f in (fewer_than_tau, expected_accuracy))
    assert tails.shape == (2, 4, 3)
    assert together.shape == (2, 4)
    for index in np.ndindex(2, 4):
        np.testing.assert_array_equal(tails[index], fewer_than_tau(learned[index], probabilities, 2))
        assert together[index] == expected_accuracy(learned[index], probabilities, 2)


@pytest.mark.parametrize("tau", [1, 2, 3, 5])
def test_drawn_accuracy_is_within_five_standard_errors_of_the_expected_one(tau: int) -> None:
    """The share of unsure samples in class c is binomial with chance F_c, hence the standard error below."""
    generator = np.random.default_rng(21)
    num_classes, num_features, num_samples = 3, 40, 50_000
    probabilities = generator.uniform(0, 0.2, size=(num_classes, num_features))
    learned = generator.random((num_classes, num_features)) < 0.6
    drawn = test_accuracy(learned, sample_features(probabilities, num_samples, generator), tau)
    tail = fewer_than_tau(learned, probabilities, tau)
    variance = np.sum(tail * (1 - tail) / num_samples) / num_classes**2
    standard_error = (1 - 1 / num_classes) * math.sqrt(variance)
    assert abs(drawn - expected_accuracy(learned, probabilities, tau)) < 5 * standard_error


def exact_tail(probabilities: list[float], tau: int) -> Fraction:
    """P(fewer than tau of independent features are shown), in integers over one power of two: no rounding."""
    ratios = [p.as_integer_ratio() for p in probabilities]
    one = max(denominator for _, denominator in ratios)
    states = [1] + [0] * (tau - 1)
    for numerator, denominator in ratios:
        p = numerator * (one // denominator)
        states = [state * (one - p) + below * p for state, below in zip(states, [0, *states], strict=False)]
    return Fraction(sum(states), one ** len(ratios))


@pytest.mark.parametrize(("top", "tau"), [(0.2, 3), (0.2, 100), (0.01, 5), (0.6, 3), (0.6, 40)])
def test_a_thousand_features_lose_no_more_than_the_rounding_of_each_step(top: float, tau: int) -> None:
    """Relative error at most (3 K + tau) 2^-53, about 3.5e-13, even where the tail itself is 1e-158.

    Each of the K steps rounds 1 - p, a product and a sum of non-negative terms; tau terms are added at the
    end. The factor 1.01 covers the second order.
    """
    num_features = 1000
    probabilities = np.random.default_rng(8).uniform(0, top, size=(1, num_features))
    learned = np.ones((1, num_features), dtype=np.bool_)
    computed = Fraction(float(fewer_than_tau(learned, probabilities, tau)[0]))
    exact = exact_tail(probabilities[0].tolist(), tau)
    assert abs(computed / exact - 1) <= 1.01 * (3 * num_features + tau) * 2**-53


# ------------------------------------------------------------------------------------------ bad input

LEARNED = np.ones((2, 3), dtype=np.bool_)
BAD_COMMON = [
    ("learned", {"learned": np.ones((2, 3))}, "got float64"),
    ("learned", {"learned": np.ones((2, 4), dtype=np.bool_)}, r"\(2, 3\).*got bool of shape \(2, 4\)"),
    ("learned", {"learned": np.ones((3, 2), dtype=np.bool_)}, r"\(2, 3\).*got bool of shape \(3, 2\)"),
    ("learned", {"learned": np.ones(3, dtype=np.bool_)}, r"got bool of shape \(3,\)"),
    ("tau", {"tau": 0}, "got 0"),
    ("tau", {"tau": 1.0}, r"got 1\.0"),
    ("tau", {"tau": True}, "got True"),
]
BAD_TEST_SETS = [
    ("test_features", {"test_features": np.ones((2, 3, 5))}, "got float64"),
    ("test_features", {"test_features": np.ones((2, 3), dtype=np.bool_)}, r"\(2, 3\)"),
    ("test_features", {"test_features": np.ones((2, 3, 0), dtype=np.bool_)}, r"\(2, 3, 0\)"),
]
BAD_PROBABILITIES = [
    ("probabilities", {"probabilities": np.full((2, 3), 1.2)}, r"got 1\.2"),
    ("probabilities", {"probabilities": np.full((2, 3), math.nan)}, "got nan"),
    ("probabilities", {"probabilities": np.full(3, 0.2)}, r"got shape \(3,\)"),
]


@pytest.mark.parametrize(("argument", "bad", "told"), BAD_COMMON + BAD_TEST_SETS)
def test_drawn_accuracy_refuses_bad_input_by_name_and_value(argument: str, bad: dict[str, Any], told: str) -> None:
    good = {"learned": LEARNED, "test_features": np.ones((2, 3, 5), dtype=np.bool_), "tau": 1}
    with pytest.raises(ValueError, match=f"^{argument} must .*{told}"):
        test_accuracy(**{**good, **bad})


@pytest.mark.parametrize("function", [expected_accuracy, fewer_than_tau])
@pytest.mark.parametrize(("argument", "bad", "told"), BAD_COMMON + BAD_PROBABILITIES)
def test_closed_forms_refuse_bad_input_by_name_and_value(
    function: Any, argument: str, bad: dict[str, Any], told: str
) -> None:
    good = {"learned": LEARNED, "probabilities": np.full((2, 3), 0.2), "tau": 1}
    with pytest.raises(ValueError, match=f"^{argument} must .*{told}"):
        function(**{**good, **bad})
