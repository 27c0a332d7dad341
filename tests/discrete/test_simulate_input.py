"""What the simulator of level 1 takes, leaves alone and refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from dashtheory.discrete import DISCRETE_RULES, PackedFeatures, pack_features, sample_features, simulate
from tests.discrete.simulate_cases import RULE_NAMES, Case, any_case, any_rule, assert_same, every_rule

# ------------------------------------------------------------------------------------------- conduct


@given(case=any_case, rule=any_rule)
@settings(max_examples=60)
def test_packed_input_gives_the_same_run(case: Case, rule: str) -> None:
    packed = pack_features(case.features)
    assert_same(
        simulate(packed, case.per_class_chunk_size, gamma=case.gamma, tau=case.tau, rule=rule), case.run(rule)
    )


@given(case=any_case, rule=any_rule)
@settings(max_examples=60)
def test_the_same_input_gives_the_same_run(case: Case, rule: str) -> None:
    assert_same(case.run(rule), case.run(rule))


@given(case=any_case, rule=any_rule)
@settings(max_examples=60)
def test_the_input_is_not_modified(case: Case, rule: str) -> None:
    before, packed = case.features.copy(), pack_features(case.features)
    words = packed.words.copy()
    case.run(rule)
    simulate(packed, case.per_class_chunk_size, gamma=case.gamma, tau=case.tau, rule=rule)
    np.testing.assert_array_equal(case.features, before)
    np.testing.assert_array_equal(packed.words, words)


@every_rule
def test_strides_of_the_input_do_not_matter(rule: str) -> None:
    generator = np.random.default_rng(5)
    table = sample_features([[0.5] * 6, [0.3] * 6], 140, generator)
    view = table[::-1, ::2, ::-2]
    expected = simulate(view.copy(), 35, gamma=8, tau=2, rule=rule)
    assert_same(simulate(view, 35, gamma=8, tau=2, rule=rule), expected)
    packed = pack_features(view.copy())
    fortran = PackedFeatures(words=np.asfortranarray(packed.words), num_samples=70)
    assert_same(simulate(fortran, 35, gamma=8, tau=2, rule=rule), expected)


def test_the_rules_are_known_by_name() -> None:
    assert DISCRETE_RULES == RULE_NAMES


# -------------------------------------------------------------------------------------------- bad input


GOOD = {"features": np.ones((2, 3, 12), dtype=np.bool_), "per_class_chunk_size": 4}
BAD_INPUT = [
    ("features", np.ones((2, 3, 12)), "float64"),
    ("features", np.ones((2, 3, 12), dtype=np.uint8), "uint8"),
    ("features", [[[True]]], "list"),
    ("features", None, "NoneType"),
    ("features", np.ones((3, 12), dtype=np.bool_), r"\(3, 12\)"),
    ("features", np.ones((1, 2, 3, 12), dtype=np.bool_), r"\(1, 2, 3, 12\)"),
    ("features", np.ones((0, 3, 12), dtype=np.bool_), r"\(0, 3, 12\)"),
    ("features", np.ones((2, 0, 12), dtype=np.bool_), r"\(2, 0, 12\)"),
    ("features", np.ones((2, 3, 0), dtype=np.bool_), r"\(2, 3, 0\)"),
    ("gamma", 0, "got 0"),
    ("gamma", -0.5, r"got -0\.5"),
    ("gamma", -math.inf, "got -inf"),
    ("gamma", math.nan, "got nan"),
    ("gamma", True, "got True"),
    ("gamma", np.True_, "True"),
    ("gamma", "50", "got '50'"),
    ("gamma", None, "got None"),
    ("tau", 0, "got 0"),
    ("tau", -1, "got -1"),
    ("tau", 3.0, r"got 3\.0"),
    ("tau", True, "got True"),
    ("tau", "3", "got '3'"),
    ("per_class_chunk_size", 0, "got 0"),
    ("per_class_chunk_size", -4, "got -4"),
    ("per_class_chunk_size", 5, "12 samples.*got 5"),
    ("per_class_chunk_size", 24, r"12 samples.*got 24\. If that is N, of all 2 classes, give N / C = 12\.$"),
    ("per_class_chunk_size", 4.0, r"got 4\.0"),
    ("per_class_chunk_size", True, "got True"),
    ("num_stages", 0, "got 0"),
    ("num_stages", 3.0, r"got 3\.0"),
    ("rule", "lukewarm", "cold, warm, ideal.*got 'lukewarm'"),
    ("rule", "Cold", "got 'Cold'"),
    ("rule", 0, "got 0"),
    ("rule", None, "got None"),
    ("rule", ["cold"], r"got \['cold'\]"),
]


@pytest.mark.parametrize(("argument", "value", "told"), BAD_INPUT)
def test_bad_input_is_refused_by_name_and_value(argument: str, value: object, told: str) -> None:
    arguments: dict[str, Any] = {**GOOD, argument: value}
    with pytest.raises(ValueError, match=f"^{argument} must .*{told}"):
        simulate(**arguments)


@pytest.mark.parametrize(("num_classes", "num_stages"), [(2, 1), (2, 4), (2, 5), (3, 6), (5, 2)])
def test_the_samples_of_all_classes_in_place_of_those_of_each_are_refused(
    num_classes: int, num_stages: int
) -> None:
    """With J told, N in place of N / C is always seen; without it, where N does not divide the data."""
    features = np.ones((num_classes, 3, 4 * num_stages), dtype=np.bool_)
    told = rf"^per_class_chunk_size must .*, got {4 * num_classes}\. .*N / C = 4\.$"
    assert len(simulate(features, 4, num_stages=num_stages).learned) == num_stages
    with pytest.raises(ValueError, match=told):
        simulate(features, 4 * num_classes, num_stages=num_stages)
    if num_stages % num_classes:
        with pytest.raises(ValueError, match=told):
            simulate(features, 4 * num_classes)


def test_data_of_another_number_of_stages_are_refused() -> None:
    told = "^per_class_chunk_size must divide the 12 samples of each class into 2 chunks, got 4. Give the samples"
    with pytest.raises(ValueError, match=told):
        simulate(np.ones((2, 3, 12), dtype=np.bool_), 4, num_stages=2)


def test_good_input_is_not_refused() -> None:
    """The arguments that the table of bad input starts from; numpy scalars count as numbers."""
    arguments: dict[str, Any] = {
        **GOOD,
        "per_class_chunk_size": np.int32(4),
        "gamma": np.float32(2.5),
        "tau": np.int8(1),
    }
    assert simulate(**arguments, rule="ideal").learned.shape == (3, 2, 3)
