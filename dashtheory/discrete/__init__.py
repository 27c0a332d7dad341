"""Level 1: samples as sets of features, a learner that learns the frequent ones and memorises the rest."""

from dashtheory.discrete.accuracy import expected_accuracy, fewer_than_tau, test_accuracy
from dashtheory.discrete.packed import PackedFeatures, pack_features
from dashtheory.discrete.sample import paper_probabilities, sample_features, sample_packed
from dashtheory.discrete.simulate import RULES, Simulation, simulate

__all__ = [
    "RULES",
    "PackedFeatures",
    "Simulation",
    "expected_accuracy",
    "fewer_than_tau",
    "pack_features",
    "paper_probabilities",
    "sample_features",
    "sample_packed",
    "simulate",
    "test_accuracy",
]
