"""Worlds beyond independent features: each class is a mixture of components, independent inside each.

A sample of class c comes from component g with chance weights[c, g] and then shows feature k with probability
probabilities[c, g, k], independently. That covers, with cheap tails (one Poisson-binomial per component):

    independent features   one component
    correlated features    a rich and a poor component: samples that show one feature tend to show others
    label noise            a component that shows no feature of its label: such samples can only be memorised
    shared features        one learner over all labels: the labels are the components, and a feature counts
                           wherever it is shown

Labels that share no feature never interact (each sample, count and threshold belongs to one label), so a "class"
here is a group of labels that is learned together: one label each, or, for shared features, all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dashtheory._check import fail, integer, real
from dashtheory.discrete.accuracy import poisson_binomial_tail
from dashtheory.discrete.sample import check_probabilities

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """A distribution of samples as mixtures of components with independent features.

    Attributes:
        probabilities: float64 (C, G, K), chance of each feature in each component, in [0, 1].
        weights: float64 (C, G), chance of each component in training data, >= 0, each class adding up to 1.
        test_weights: float64 (C, G), the same for test samples; default: `weights`. Label noise is a component of
            training data with a test weight of 0.
        num_labels: labels among which an unsure sample is guessed; default: C.

    Raises:
        ValueError: if a shape or value does not fit.
    """

    probabilities: Floats
    weights: Floats
    test_weights: Floats = field(default_factory=lambda: np.empty(0))
    num_labels: int = 0

    def __post_init__(self) -> None:
        p = _numbers("probabilities", self.probabilities)
        if p.ndim != 3 or 0 in p.shape:
            fail(
                "probabilities",
                "must have shape (C, G, K)",
                f"shape {p.shape}",
                "Axes: class, component, feature.",
            )
        check_probabilities(p.reshape(-1, p.shape[2]))
        weights = _check_weights("weights", self.weights, p.shape[:2])
        given = np.size(self.test_weights) > 0
        test = _check_weights("test_weights", self.test_weights, p.shape[:2]) if given else weights
        labels = integer("num_labels", self.num_labels or len(p), minimum=1, fix="It counts labels.")
        for name, value in (
            ("probabilities", p),
            ("weights", weights),
            ("test_weights", test),
            ("num_labels", labels),
        ):
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, G, K): classes, components, features."""
        num_classes, num_components, num_features = self.probabilities.shape
        return num_classes, num_components, num_features

    @property
    def marginals(self) -> Floats:
        """float64 (C, K): chance that a training sample of the class shows the feature."""
        return np.asarray(np.einsum("cg,cgk->ck", self.weights, self.probabilities))

    @classmethod
    def independent(cls, probabilities: ArrayLike) -> Mixture:
        """Independent features.

        Args:
            probabilities: (C, K).
        """
        p = check_probabilities(probabilities)
        return cls(probabilities=p[:, None], weights=np.ones((len(p), 1)))

    @classmethod
    def correlated(cls, probabilities: ArrayLike, strength: float) -> Mixture:
        """Half of the samples are rich, half poor: every probability times 1 + strength, or 1 - strength.

        The chance of each feature stays p_k; the covariance of two features is strength^2 p_k p_l.

        Args:
            probabilities: (C, K), at most 1 / (1 + strength).
            strength: in [0, 1]; 0: independent.

        Raises:
            ValueError: if a value is out of range.
        """
        p = check_probabilities(probabilities)
        strength = real(
            "strength", strength, low=0, high=1, fix="0 is independent, 1 leaves half without features."
        )
        if p.max() * (1 + strength) > 1:
            fail(
                "probabilities",
                f"must be <= {1 / (1 + strength):g}",
                f"{p.max():g}",
                "Lower them or the strength.",
            )
        both = np.stack([p * (1 + strength), p * (1 - strength)], axis=1)
        return cls(probabilities=both, weights=np.full((len(p), 2), 0.5))

    @classmethod
    def shared(cls, probabilities: ArrayLike, num_shared: int) -> Mixture:
        """Labels that share features: of the K features of a label, `num_shared` exist once for all labels.

        Shared ranks are spread evenly over the K columns; label c shows the feature of a shared rank with its own
        probability. Labels are equally frequent and drawn at random, and a feature is learned when it is shown by
        enough active samples of all labels together.

        Args:
            probabilities: (C, K).
            num_shared: 0 to K.

        Returns:
            a mixture of one class, C components and num_shared + C (K - num_shared) features.

        Raises:
            ValueError: if a value is out of range.
        """
        p = check_probabilities(probabilities)
        labels, ranks = p.shape
        num_shared = integer("num_shared", num_shared, minimum=0, fix="It counts features of a label.")
        if num_shared > ranks:
            fail("num_shared", f"must be at most K = {ranks}", str(num_shared), "It counts features of a label.")
        is_shared = np.diff(np.arange(ranks + 1) * num_shared // ranks) == 1
        own = np.zeros((labels, labels, ranks - num_shared))
        own[np.arange(labels), np.arange(labels)] = p[:, ~is_shared]
        joint = np.concatenate([p[:, is_shared], own.reshape(labels, -1)], axis=1)
        return cls(probabilities=joint[None], weights=np.full((1, labels), 1 / labels), num_labels=labels)

    def with_label_noise(self, rate: float) -> Mixture:
        """The same world where a share of the training samples shows no feature of its label.

        Args:
            rate: share of such samples, in [0, 1). Test samples are as before.

        Raises:
            ValueError: if `rate` is out of range.
        """
        rate = real("rate", rate, low=0, high=1, fix="It is a share of samples.")
        if rate == 1:
            fail("rate", "must be below 1", "1", "Leave samples to learn from.")
        blank = np.zeros((self.shape[0], 1))
        return Mixture(
            probabilities=np.concatenate(
                [self.probabilities, np.zeros((self.shape[0], 1, self.shape[2]))], axis=1
            ),
            weights=np.concatenate([self.weights * (1 - rate), blank + rate], axis=1),
            test_weights=np.concatenate([self.test_weights, blank], axis=1),
            num_labels=self.num_labels,
        )

    def fewer_than_tau(self, learned: NDArray[np.bool_], tau: int, *, test: bool = True) -> Floats:
        """Chance that a sample shows fewer than `tau` learned features.

        Args:
            learned: bool (..., C, K).
            tau: >= 1.
            test: of test samples, or of training samples.

        Returns:
            float64 (..., C).

        Raises:
            ValueError: if a value does not fit.
        """
        tau = integer("tau", tau, minimum=1, fix="Give the number of learned features a sample needs.")
        known = np.asarray(learned)
        num_classes, _, num_features = self.shape
        if known.dtype != np.bool_ or known.ndim < 2 or known.shape[-2:] != (num_classes, num_features):
            fail(
                "learned",
                f"must be a bool array whose last axes are (C, K) = {(num_classes, num_features)}",
                f"{known.dtype} of shape {known.shape}",
                "Pass what was learned in this world.",
            )
        tails = poisson_binomial_tail(np.where(known[..., None, :], self.probabilities, 0.0), tau)
        return np.asarray((tails * (self.test_weights if test else self.weights)).sum(axis=-1))

    def expected_accuracy(self, learned: NDArray[np.bool_], tau: int) -> Floats:
        """Expected test accuracy of each class: 1 - (1 - 1 / num_labels) times the chance to be unsure.

        Args:
            learned: bool (..., C, K).
            tau: >= 1.

        Returns:
            float64 (..., C).

        Raises:
            ValueError: if a value does not fit.
        """
        return np.asarray(1 - (1 - 1 / self.num_labels) * self.fewer_than_tau(learned, tau))


def _check_weights(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Floats:
    weights = _numbers(name, values)
    if weights.shape != shape:
        fail(name, f"must have shape (C, G) = {shape}", str(weights.shape), "One weight per component.")
    total = weights.sum(axis=1)
    if not (weights >= 0).all() or not np.allclose(total, 1, rtol=0, atol=1e-9):
        fail(name, "must be >= 0 and add up to 1 in each class", str(total), "Divide by their sum.")
    return np.asarray(weights / total[:, None])  # exactly 1, up to one rounding


def _numbers(name: str, values: ArrayLike) -> Floats:
    """Float64 array, or ValueError."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        fail(name, "must be an array of numbers", type(values).__name__, f"Mend it: {error}.")
