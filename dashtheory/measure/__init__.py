"""What a network has learned and what it has memorised, before and after a rule, at every level.

    decompose, norms, shares, margins, selectivity    where features and noise are known
    gap, spectrum, alignment, step_size, compare      for any model
    responses, dormant, movement, descent             units that respond, what moved, curvature
    plasticity                                        scores by task beside those of a fresh twin
    recursions, symbolic                              how features and noise grow under gradient descent

Every measure's docstring has its formula, range and source, and what would fool it.
"""

from dashtheory.measure.alignment import alignment_histograms, cosines, mean_cosines, sample_alignment
from dashtheory.measure.compare import ActsElsewhere, compare
from dashtheory.measure.decompose import Coefficients, Decomposition, Span, decompose
from dashtheory.measure.descent import Readiness, Sharpness, optimization_readiness, sharpness
from dashtheory.measure.dormant import DormantUnits, dormant_units
from dashtheory.measure.gap import CanaryGap, SwapGap, canary_gap, memorization_gap, random_labels
from dashtheory.measure.margins import (
    feature_margins,
    frequency_correlation,
    margins_by_frequency,
    noise_margin_share,
)
from dashtheory.measure.movement import Churn, churn, distance_to_start, weight_magnitude
from dashtheory.measure.network import BINS
from dashtheory.measure.norms import Norms, block_norms, norms, persistence
from dashtheory.measure.plasticity import continued_minus_fresh, plasticity
from dashtheory.measure.recursions import (
    Frame,
    PatchRecursion,
    ReluRecursion,
    initial_coefficients,
    neuron_cosine,
    step_coefficients,
)
from dashtheory.measure.responses import active_share, dead_share, dormant_share
from dashtheory.measure.selectivity import selectivity, selectivity_bounds, share_shift_bound
from dashtheory.measure.shares import feature_shares, share_correlation, share_spread
from dashtheory.measure.spectrum import (
    Spectrum,
    activations,
    approximate_rank,
    effective_rank,
    feature_rank,
    matrix_rank,
    participation_ratio,
    representation_spectrum,
    singular_values,
    srank,
    stable_rank,
    weight_spectra,
)
from dashtheory.measure.step_size import Change, effective_step, mean_effective_step, rescaling_and_turn
from dashtheory.rules.invariance import scale_invariant

__all__ = [
    "BINS",
    "ActsElsewhere",
    "CanaryGap",
    "Change",
    "Churn",
    "Coefficients",
    "Decomposition",
    "DormantUnits",
    "Frame",
    "Norms",
    "PatchRecursion",
    "Readiness",
    "ReluRecursion",
    "Sharpness",
    "Span",
    "Spectrum",
    "SwapGap",
    "activations",
    "active_share",
    "alignment_histograms",
    "approximate_rank",
    "block_norms",
    "canary_gap",
    "churn",
    "compare",
    "continued_minus_fresh",
    "cosines",
    "dead_share",
    "decompose",
    "distance_to_start",
    "dormant_share",
    "dormant_units",
    "effective_rank",
    "effective_step",
    "feature_margins",
    "feature_rank",
    "feature_shares",
    "frequency_correlation",
    "initial_coefficients",
    "margins_by_frequency",
    "matrix_rank",
    "mean_cosines",
    "mean_effective_step",
    "memorization_gap",
    "neuron_cosine",
    "noise_margin_share",
    "norms",
    "optimization_readiness",
    "participation_ratio",
    "persistence",
    "plasticity",
    "random_labels",
    "representation_spectrum",
    "rescaling_and_turn",
    "sample_alignment",
    "scale_invariant",
    "selectivity",
    "selectivity_bounds",
    "share_correlation",
    "share_shift_bound",
    "share_spread",
    "sharpness",
    "singular_values",
    "srank",
    "stable_rank",
    "step_coefficients",
    "weight_magnitude",
    "weight_spectra",
]
