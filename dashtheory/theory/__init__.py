"""Theory of the discrete framework: what it does without sampling."""

from dashtheory.theory.finite import WarmLaw, learning_chances, quiet_probability, warm_chain, warm_law
from dashtheory.theory.greedy import Greedy, greedy_order, prefix_tails
from dashtheory.theory.population import Population, population
from dashtheory.theory.prediction import PREDICTED, predict_discrete, run_with_prediction
from dashtheory.theory.table import FeatureTable

__all__ = [
    "PREDICTED",
    "FeatureTable",
    "Greedy",
    "Population",
    "WarmLaw",
    "greedy_order",
    "learning_chances",
    "population",
    "predict_discrete",
    "prefix_tails",
    "quiet_probability",
    "run_with_prediction",
    "warm_chain",
    "warm_law",
]
