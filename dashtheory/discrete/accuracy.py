"""Test accuracy of a set of learned features: on a drawn test set, and in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dashtheory._check import fail, integer
from dashtheory.discrete.packed import check_features
from dashtheory.discrete.sample import check_probabilities


def test_accuracy(learned: NDArray[np.bool_], test_features: NDArray[np.bool_], tau: int) -> NDArray[np.float64]:
    """Accuracy on a drawn test set, with the guesses replaced by their expectation.

    A test sample is right if at least `tau` of its features are learned, else right with probability 1 / C:

        accuracy = mean over classes and samples of  1 - (1 - 1/C) [fewer than tau learned features shown]

    Deterministic: draws nothing, not even the guesses.

    Args:
        learned: bool (..., C, K); leading axes (stages, say) are kept.
        test_features: bool (C, K, m), the test samples of each class, drawn apart from the training data.
        tau: learned features a sample needs; >= 1.

    Returns:
        float64 (...), accuracies in [1/C, 1].

    Raises:
        ValueError: if shapes do not match or `tau` < 1.
    """
    check_features("test_features", test_features)
    known = _check_learned(learned, test_features.shape[:2])
    tau = integer("tau", tau, minimum=1, fix="Give the number of learned features a sample needs.")
    tau = min(tau, test_features.shape[1] + 1)  # no sample shows more
    unsure = np.zeros(known.shape[:-2], dtype=np.int64)
    for label, samples in enumerate(test_features):
        # Counts up to K are exact in float32, which multiplies far faster than integers.
        shown = known[..., label, :].astype(np.float32) @ samples.astype(np.float32)
        unsure += np.count_nonzero(shown < tau, axis=-1)
    num_classes, _, num_samples = test_features.shape
    return np.asarray(1.0 - (1.0 - 1.0 / num_classes) * (unsure / (num_classes * num_samples)))


test_accuracy.__test__ = False  # type: ignore[attr-defined]  # a measure, not a test: pytest, look away


def fewer_than_tau(learned: NDArray[np.bool_], probabilities: ArrayLike, tau: int) -> NDArray[np.float64]:
    """F_c(L) = P(a sample of class c shows fewer than `tau` learned features), features independent.

    The lower tail of a Poisson-binomial variable. Adding feature after feature to the distribution of the
    count below tau keeps every term non-negative, so there is no cancellation at any K:

        P_k(s) = (1 - p_k) P_{k-1}(s) + p_k P_{k-1}(s - 1),   s < tau,   over the learned features k

    Args:
        learned: bool (..., C, K).
        probabilities: (C, K).
        tau: >= 1.

    Returns:
        float64 (..., C).

    Raises:
        ValueError: if shapes do not match, a probability is outside [0, 1] or `tau` < 1.
    """
    values = check_probabilities(probabilities)
    known = _check_learned(learned, values.shape)
    tau = integer("tau", tau, minimum=1, fix="Give the number of learned features a sample needs.")
    return poisson_binomial_tail(np.where(known, values, 0.0), tau)


def poisson_binomial_tail(chances: NDArray[np.float64], tau: int) -> NDArray[np.float64]:
    """P(fewer than `tau` of independent events happen); see `fewer_than_tau` for the recursion.

    Args:
        chances: float64 (..., K), in [0, 1].
        tau: >= 1; both unchecked.

    Returns:
        float64 (...).
    """
    num_events = chances.shape[-1]
    if tau > num_events:
        return np.ones(chances.shape[:-1])
    states = np.zeros((tau, *chances.shape[:-1]))
    states[0] = 1.0
    for event in range(num_events):
        p = chances[..., event]
        states[1:] = states[1:] * (1 - p) + states[:-1] * p
        states[0] *= 1 - p
    return np.asarray(np.minimum(states.sum(axis=0), 1.0))


def expected_accuracy(learned: NDArray[np.bool_], probabilities: ArrayLike, tau: int) -> NDArray[np.float64]:
    """Expected test accuracy in closed form, for independent features and balanced classes.

        accuracy = mean over c of  1 - (1 - 1/C) F_c(L)                (F_c: see `fewer_than_tau`)

    Deterministic: draws nothing. Source: derived from the rules in `dashtheory.discrete.simulate`.

    Args:
        learned: bool (..., C, K).
        probabilities: (C, K).
        tau: >= 1.

    Returns:
        float64 (...).

    Raises:
        ValueError: if shapes do not match, a probability is outside [0, 1] or `tau` < 1.
    """
    tail = fewer_than_tau(learned, probabilities, tau)
    num_classes = tail.shape[-1]
    return np.asarray(1.0 - (1.0 - 1.0 / num_classes) * tail.mean(axis=-1))


def _check_learned(learned: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    known = np.asarray(learned)
    if known.dtype != np.bool_ or known.ndim < 2 or known.shape[-2:] != shape:
        fail(
            "learned",
            f"must be a bool array whose last axes are (C, K) = {tuple(shape)}",
            f"{known.dtype} of shape {known.shape}",
            "Pass `Simulation.learned`, made with the same classes and features.",
        )
    return known
