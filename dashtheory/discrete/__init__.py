"""Level 1: samples as sets of features, a learner that learns the frequent ones and memorises the rest."""

from dashtheory.discrete.accuracy import expected_accuracy, fewer_than_tau, test_accuracy
from dashtheory.discrete.distribution import Mixture
from dashtheory.discrete.forgetting import Forgetting
from dashtheory.discrete.packed import PackedFeatures, pack_features
from dashtheory.discrete.sample import paper_probabilities, sample_features, sample_packed
from dashtheory.discrete.setting import DiscreteSetting
from dashtheory.discrete.simulate import DISCRETE_RULES, Simulation, simulate
from dashtheory.discrete.simulate_batch import Batch, draw_data, simulate_batch
from dashtheory.discrete.trace import StageTrace, trace_stage

__all__ = [
    "DISCRETE_RULES",
    "Batch",
    "DiscreteSetting",
    "Forgetting",
    "Mixture",
    "PackedFeatures",
    "Simulation",
    "StageTrace",
    "draw_data",
    "expected_accuracy",
    "fewer_than_tau",
    "pack_features",
    "paper_probabilities",
    "sample_features",
    "sample_packed",
    "simulate",
    "simulate_batch",
    "test_accuracy",
    "trace_stage",
]
