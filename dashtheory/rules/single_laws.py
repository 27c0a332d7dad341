"""Laws of single rules and of a few: by rule, in words, with the test of each.

`tests/rules/test_pages.py` holds that the tests are there, and are about these rules.
"""

from __future__ import annotations

from collections.abc import Mapping

ON_UNITS = ("redo", "regrama", "cbp", "snr")
"""Rules that reset whole units."""

SINGLE_LAWS: Mapping[str, Mapping[str, tuple[tuple[str, ...], str]]] = {
    "tests/rules/test_unit_resets.py": {
        "test_it_has_no_outgoing_weight_no_bias_and_no_moments": (
            ON_UNITS,
            "a unit that it has reset has no outgoing weight, no bias, and no moments in the optimizer",
        ),
        "test_other_units_and_the_last_layer_s_own_keep_their_bits": (
            ON_UNITS,
            "what belongs to no unit that was reset keeps its bits, the last layer's own weights too",
        ),
    },
    "tests/rules/test_fire.py": {
        "test_it_forgets_size_and_turns_with_the_matrix": (
            ("fire",),
            "it forgets the size of a matrix, and turns with it: polar(a U W V) = U polar(W) V for a > 0",
        ),
        "test_the_exact_factor_is_orthonormal_nearest_and_its_own": (
            ("fire",),
            "its exact factor is orthonormal, the nearest such matrix, and its own factor",
        ),
    },
    "tests/rules/test_inject.py": {
        "test_what_the_network_says_is_the_same_and_the_old_head_has_no_slope": (
            ("inject",),
            "what the network says stays the same to the bit; the old head has no slope",
        ),
    },
    "tests/rules/test_networks.py": {
        "test_its_evaluation_is_the_mean_of_its_training": (
            ("aid",),
            "what it says in evaluation is the mean of what it says in training",
        ),
        "test_concatenated_rectifiers_are_never_both_silent_and_keep_the_norm": (
            ("crelu",),
            "the two features of a number are never both zero, and keep its size",
        ),
        "test_fourier_features_lie_on_circles_and_one_of_them_has_a_slope": (
            ("fourier",),
            "the two features of a number lie on a circle, and one of them has a slope",
        ),
        "test_normalized_and_projected_weights_have_no_size_and_keep_it": (
            ("nap_norm",),
            "weights keep their first norm, and their size changes nothing that the network says",
        ),
    },
    "tests/rules/test_rescaling.py": {
        "test_projected_weights_keep_their_first_norm_and_their_direction": (
            ("nap",),
            "after it every weight has its first norm, and the direction of before",
        ),
        "test_rescaling_scales_the_output_of_a_network_of_relus_by_the_product": (
            ("swr",),
            "in a network of rectifiers it multiplies the output by the product of its factors",
        ),
        "test_clipped_weights_end_at_their_bound_and_all_others_keep_their_bits": (
            ("clip",),
            "weights beyond their bound end there, and all others keep their bits",
        ),
    },
    "tests/rules/test_averages.py": {
        "test_an_average_is_its_recursion": (
            ("ema",),
            "the average is that of its recursion, step by step",
        ),
        "test_averaged_weights_are_scored_and_training_is_that_of_warm": (
            ("ema",),
            "training is that of warm to the bit; the averaged weights are scored",
        ),
        "test_after_a_reset_fast_is_slow_and_they_share_no_tensor": (
            ("hare_tortoise",),
            "after a reset the fast network is the slow one, and they share no tensor",
        ),
    },
    "tests/rules/test_continual.py": {
        "test_the_penalty_is_zero_where_the_stage_ended_and_importance_never_negative": (
            ("ewc", "ewc_online", "mas", "si"),
            "its penalty is zero where the last stage ended; no importance is negative",
        ),
        "test_in_the_first_stage_there_is_nothing_to_hold_on_to": (
            ("ewc", "ewc_online", "mas", "si", "lwf"),
            "in the first stage it adds nothing",
        ),
    },
    "tests/rules/test_penalties.py": {
        "test_wasserstein_is_at_most_the_square_and_blind_to_the_order": (
            ("wasserstein",),
            "it is at most the squared distance, and blind to the order of entries",
        ),
        "test_adamo_keeps_adams_averages_to_the_task": (
            ("adamo",),
            "the optimizer's averages are those of the task alone",
        ),
    },
    "tests/rules/test_l2_init.py": {
        "test_the_penalty_holds_the_weights_back_in_every_stage": (
            ("l2_init",),
            "weights end every stage nearer to the first ones than without it",
        ),
    },
    "tests/rules/test_cchain.py": {
        "test_before_the_first_update_it_is_zero": (
            ("cchain",),
            "before the first update it is zero",
        ),
    },
    "tests/protocol/test_sam.py": {
        "test_sam_with_radius_0_is_sgd_bit_for_bit": (
            ("sam",),
            "with radius 0 its optimizer is descent to the bit",
        ),
    },
    "tests/rules/test_muon.py": {
        "test_on_matrices_it_is_pytorch_s_to_the_bit": (
            ("muon",),
            "on matrices its steps are those of torch's Muon to the bit",
        ),
    },
    "tests/rules/test_upgd.py": {
        "test_without_noise_and_protection_it_is_descent_to_the_bit": (
            ("upgd",),
            "without noise and protection it is descent to the bit",
        ),
    },
    "tests/rules/test_trac.py": {
        "test_with_scale_one_it_is_its_base_to_the_bit": (
            ("trac",),
            "with scale 1 it is its base to the bit",
        ),
    },
    "tests/rules/test_resets.py": {
        "test_a_full_reset_to_fresh_weights_is_cold": (
            ("reset_full",),
            "to fresh weights it is cold",
        ),
        "test_a_reset_weight_has_no_moments_and_no_steps_and_the_others_keep_theirs": (
            ("reset_last",),
            "what it resets has no moments and no steps in the optimizer; all else keeps its own",
        ),
    },
    "tests/rules/test_dash_scale.py": {
        "test_a_positive_factor_before_the_loss_keeps_the_cosines": (
            ("dash",),
            "a positive factor before the loss changes nothing",
        ),
    },
    "tests/rules/test_controls_by_hand.py": {
        "test_uniform_keeps_every_cosine": (
            ("uniform",),
            "every cosine of weights with descent stays",
        ),
        "test_permuted_keeps_the_multiset_of_factors_of_each_layer": (
            ("permuted",),
            "each layer has the factors of `dash`, elsewhere",
        ),
    },
    "tests/rules/test_proportional.py": {
        "test_the_output_is_a_multiple_of_what_it_was_and_a_uniform_shrink_of_biases_too_is_not": (
            ("proportional",),
            "the output becomes a multiple of what it was",
        ),
    },
    "tests/rules/test_controls_move.py": {
        "test_each_tensor_has_the_norm_that_the_rule_would_leave_and_its_own_direction": (
            ("norm_matched",),
            "each tensor has the norm that the rule would leave, and its own direction",
        ),
    },
    "tests/rules/test_rewarm.py": {
        "test_larger_steps_are_a_shrink_over_many_steps": (
            ("rewarm",),
            "larger steps are, over many steps, what a shrink of scale-invariant layers is",
        ),
    },
    "tests/rules/test_sp_forms.py": {
        "test_towards_the_start_is_its_formula_on_all_that_is_trained": (
            ("sp_init",),
            "all that is trained goes towards its first value by its formula",
        ),
    },
}
"""By file and by test: the rules that it is about, and the law of them, in words."""
