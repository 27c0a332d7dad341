"""Theory of the discrete framework: what it does without sampling."""

from dashtheory.theory.population import FeatureTable, Population, population, prefix_tails
from dashtheory.theory.prediction import PREDICTED, predict_discrete, run_with_prediction

__all__ = [
    "PREDICTED",
    "FeatureTable",
    "Population",
    "population",
    "predict_discrete",
    "prefix_tails",
    "run_with_prediction",
]
