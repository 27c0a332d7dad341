"""Theory of the discrete framework: what it does without sampling."""

from dashtheory.theory.claims import CLAIMS, Claim, IndependentWorld, Verdict, first_strict_stage
from dashtheory.theory.finite import (
    WarmLaw,
    chance_to_learn,
    learning_chances,
    quiet_probability,
    warm_chain,
    warm_law,
)
from dashtheory.theory.greedy import GreedyOrder, greedy_order, prefix_tails
from dashtheory.theory.normed_net import NormedNet, small_nets
from dashtheory.theory.population import Population, population
from dashtheory.theory.stationary import Limits, StationaryRun, Universe, small_universes
from dashtheory.theory.step_size import STEP_CLAIMS, nets_for
from dashtheory.theory.table import FeatureTable

__all__ = [
    "CLAIMS",
    "STEP_CLAIMS",
    "Claim",
    "FeatureTable",
    "GreedyOrder",
    "IndependentWorld",
    "Limits",
    "NormedNet",
    "Population",
    "StationaryRun",
    "Universe",
    "Verdict",
    "WarmLaw",
    "chance_to_learn",
    "first_strict_stage",
    "greedy_order",
    "learning_chances",
    "nets_for",
    "population",
    "prefix_tails",
    "quiet_probability",
    "small_nets",
    "small_universes",
    "warm_chain",
    "warm_law",
]
