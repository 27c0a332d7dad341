"""Mixtures of components: rounding, the ends of their range, and bad input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dashtheory.discrete import Mixture

# ------------------------------------------------------------------------------------------- robustness


def test_tails_stay_in_range_with_many_components_and_features() -> None:
    """Weights of 1/49 do not add up to 1 exactly; some features are certain."""
    generator = np.random.default_rng(1)
    p = generator.random((2, 49, 300))
    p[:, :, 0] = 1.0
    world = Mixture(probabilities=p, weights=np.full((2, 49), 1 / 49))
    known = np.ones((2, 300), dtype=np.bool_)
    taus = [1, 2, 100, 150, 300, 301, 10**9]
    tails = np.stack([world.fewer_than_tau(known, tau) for tau in taus])
    assert (tails >= 0).all()
    assert (tails <= 1 + 1e-12).all()
    assert (tails[0] == 0).all()
    np.testing.assert_allclose(tails[-2:], 1, rtol=1e-12)
    assert (np.diff(tails, axis=0) >= -1e-12).all()


def test_the_tail_of_one_component_never_exceeds_one() -> None:
    """Sums of many terms whose exact value is barely below 1: rounding must not carry them beyond."""
    p = np.random.default_rng(3).uniform(0, 0.3, (200, 12))
    tails = Mixture.independent(p).fewer_than_tau(np.ones((200, 12), dtype=np.bool_), 12)
    assert (tails <= 1).all()
    assert tails.min() > 1 - 1e-6


def test_certain_features_give_exact_tails() -> None:
    world = Mixture(probabilities=np.array([[[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]]), weights=np.array([[0.25, 0.75]]))
    known = np.ones((1, 3), dtype=np.bool_)
    assert [world.fewer_than_tau(known, tau)[0] for tau in (1, 2, 3, 4)] == [0, 0.75, 1, 1]
    assert world.expected_accuracy(known, 2)[0] == 1  # one label: nothing to confuse


def test_weights_may_miss_one_by_rounding() -> None:
    Mixture(probabilities=np.full((1, 10, 2), 0.5), weights=np.full((1, 10), 0.1))
    Mixture(probabilities=np.full((1, 2, 2), 0.5), weights=np.array([[0.5, 0.5 + 9e-10]]))
    with pytest.raises(ValueError, match=r"^weights must be >= 0 and add up to 1"):
        Mixture(probabilities=np.full((1, 2, 2), 0.5), weights=np.array([[0.5, 0.5 + 1e-8]]))


def test_the_arguments_may_be_lists_and_keep_their_defaults() -> None:
    world = Mixture(probabilities=[[[0.5], [0.2]]], weights=[[0.4, 0.6]])  # type: ignore[arg-type]
    np.testing.assert_array_equal(world.test_weights, [[0.4, 0.6]])
    assert world.num_labels == 1
    other = Mixture(
        probabilities=world.probabilities, weights=world.weights, test_weights=np.array([[1.0, 0.0]]), num_labels=7
    )
    assert other.num_labels == 7
    np.testing.assert_array_equal(other.test_weights, [[1, 0]])
    np.testing.assert_allclose(other.marginals, [[0.4 * 0.5 + 0.6 * 0.2]])


# -------------------------------------------------------------------------------------------- bad input


GOOD: dict[str, Any] = {"probabilities": np.full((2, 2, 3), 0.5), "weights": np.full((2, 2), 0.5)}


@pytest.mark.parametrize(
    ("argument", "value", "told"),
    [
        ("probabilities", np.full((2, 3), 0.5), r"must have shape \(C, G, K\), got shape \(2, 3\)"),
        ("probabilities", np.zeros((2, 0, 3)), r"must have shape \(C, G, K\), got shape \(2, 0, 3\)"),
        ("probabilities", np.zeros((2, 2, 0)), r"must have shape \(C, G, K\), got shape \(2, 2, 0\)"),
        ("probabilities", np.full((2, 2, 3), 1.1), r"must lie in \[0, 1\], got 1\.1"),
        ("probabilities", np.full((2, 2, 3), -0.1), r"must lie in \[0, 1\], got -0\.1"),
        ("probabilities", np.full((2, 2, 3), math.nan), r"must lie in \[0, 1\], got nan"),
        ("weights", np.full((2, 3), 1 / 3), r"must have shape \(C, G\) = \(2, 2\), got \(2, 3\)"),
        ("weights", np.full(2, 0.5), r"must have shape \(C, G\) = \(2, 2\), got \(2,\)"),
        ("weights", np.empty(0), r"must have shape \(C, G\) = \(2, 2\), got \(0,\)"),
        ("weights", np.full((2, 2), 0.4), r"must be >= 0 and add up to 1 in each class, got \[0\.8 0\.8\]"),
        ("weights", np.array([[0.5, 0.5], [1.5, -0.5]]), "must be >= 0 and add up to 1"),
        ("weights", np.array([[0.5, 0.5], [0.5, math.nan]]), "must be >= 0 and add up to 1"),
        ("weights", np.array([[0.5, 0.5], [0.5, math.inf]]), "must be >= 0 and add up to 1"),
        ("test_weights", np.full((2, 2), 0.6), "must be >= 0 and add up to 1"),
        ("test_weights", np.full((2, 1), 1.0), r"must have shape \(C, G\) = \(2, 2\), got \(2, 1\)"),
        ("num_labels", -1, "must be an integer >= 1, got -1"),
        ("num_labels", 2.0, r"must be an integer >= 1, got 2\.0"),
        ("num_labels", True, "must be an integer >= 1, got True"),
    ],
)
def test_bad_input_is_refused_by_name_and_value(argument: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} {told}"):
        Mixture(**{**GOOD, argument: value})


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan, True, None])
def test_a_strength_out_of_range_is_refused(strength: Any) -> None:
    with pytest.raises(ValueError, match=r"^strength must be a number in \[0, 1\], got "):
        Mixture.correlated([[0.1]], strength)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan, True, None])
def test_a_rate_out_of_range_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match=r"^rate must be a number in "):
        Mixture.independent([[0.1]]).with_label_noise(rate)


@pytest.mark.parametrize(
    ("num_shared", "told"),
    [(-1, "an integer >= 0, got -1"), (4, "at most K = 3, got 4"), (1.0, r"an integer >= 0, got 1\.0"),
     (True, "an integer >= 0, got True")],
)  # fmt: skip
def test_a_number_of_shared_features_out_of_range_is_refused(num_shared: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^num_shared must be {told}"):
        Mixture.shared([[0.1, 0.2, 0.3]], num_shared)


@pytest.mark.parametrize("build", [Mixture.independent, lambda p: Mixture.correlated(p, 0.5)])
@pytest.mark.parametrize("p", [[0.1], [[]], [[1.5]], [[math.nan]], [["a"]]])
def test_probabilities_are_checked_by_every_world(build: Any, p: object) -> None:
    with pytest.raises(ValueError, match=r"^probabilities must "):
        build(p)
    with pytest.raises(ValueError, match=r"^probabilities must "):
        Mixture.shared(p, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["fewer_than_tau", "expected_accuracy"])
@pytest.mark.parametrize(
    ("learned", "tau", "told"),
    [
        (np.ones((2, 3), dtype=np.bool_), 0, "tau must be an integer >= 1, got 0"),
        (np.ones((2, 3), dtype=np.bool_), 1.5, r"tau must be an integer >= 1, got 1\.5"),
        (
            np.ones((2, 3)),
            1,
            r"learned must be a bool array .* \(C, K\) = \(2, 3\), got float64 of shape \(2, 3\)",
        ),
        (np.ones((3, 2), dtype=np.bool_), 1, r"learned must be .*got bool of shape \(3, 2\)"),
        (np.ones((3, 3), dtype=np.bool_), 1, r"learned must be .*got bool of shape \(3, 3\)"),
        (np.ones((1, 3), dtype=np.bool_), 1, r"learned must be .*got bool of shape \(1, 3\)"),
        (np.ones(3, dtype=np.bool_), 1, r"learned must be .*got bool of shape \(3,\)"),
    ],
)
def test_what_was_learned_must_fit_the_world(method: str, learned: Any, tau: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        getattr(Mixture(**GOOD), method)(learned, tau)


def test_weights_that_add_up_to_one_but_for_rounding_are_made_exact() -> None:
    world = Mixture(probabilities=np.ones((1, 2, 2)), weights=np.array([[0.5, 0.5 + 9e-10]]))
    assert world.marginals.max() <= 1


def test_text_in_place_of_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="probabilities must be an array of numbers, got str"):
        Mixture(probabilities="a", weights=np.ones((1, 1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weights must be an array of numbers, got str"):
        Mixture(probabilities=np.ones((1, 1, 1)), weights="a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate must be below 1, got 1"):
        Mixture.independent([[0.5]]).with_label_noise(1)
