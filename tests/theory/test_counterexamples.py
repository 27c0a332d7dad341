"""The refuted claims: counterexamples that explain themselves, and the limits of the claims."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dashtheory.theory.claims import CLAIMS
from dashtheory.theory.stationary import Limits, Universe, run, size
from tests.theory.universe_cases import one_sample, universe_of


def test_counterexamples_explain_themselves() -> None:
    per_stage = CLAIMS["warm_never_longer_than_ideal"].counterexample()
    assert per_stage is not None
    assert per_stage.explain().splitlines()[1:] == [
        "  1 class, 1 feature, 3 stages, gamma 2, tau 1",
        "    class 1, every chunk: {1} x1",
        "  stage 3: active of warm 1, of ideal 0; claimed: 1 <= 0",
    ]
    assert per_stage.explain().startswith("warm_never_longer_than_ideal fails: warm starts each stage")
    assert (per_stage.applies, per_stage.holds, per_stage.stage) == (True, False, 3)
    so_far = CLAIMS["warm_never_longer_cumulatively"].counterexample(limits=Limits(max_features=1))
    assert so_far is not None
    assert so_far.explain().endswith("stage 4: active of warm so far 4, of ideal so far 3; claimed: 4 <= 3")
    message = re.escape(per_stage.explain())
    with pytest.raises(ValueError, match=f"^{message}$"):
        CLAIMS["warm_never_longer_than_ideal"].require(one_sample(3))


def test_a_universe_is_described_row_by_row() -> None:
    rows = np.array([[[True, False, True], [False] * 3], [[False, True, False], [True] * 3]])
    universe = Universe(combinations=rows, copies=np.array([[2, 1], [0, 5]]), num_stages=1, gamma=4, tau=2)
    assert universe.describe() == (
        "2 classes, 3 features, 1 stage, gamma 4, tau 2\n"
        "  class 1, every chunk: {1,3} x2, {} x1\n"
        "  class 2, every chunk: {1,2,3} x5"
    )
    assert size(universe) == 2 + 3 + 8 + 1 + 4 + 2


def test_a_claim_that_holds_or_does_not_apply_says_so() -> None:
    stops, remainder = CLAIMS["warm_stops"], CLAIMS["warm_never_longer_than_ideal_with_remainder"]
    verdict = stops.check(one_sample(3))
    assert verdict.explain().startswith("warm_stops holds: warm learns nothing")
    assert (verdict.applies, verdict.holds, verdict.stage) == (True, True, None)
    outside = remainder.check(one_sample(3))
    assert outside.explain().startswith("warm_never_longer_than_ideal_with_remainder does not apply:")
    assert (outside.applies, outside.holds) == (False, True)
    remainder.require(one_sample(3))  # nothing is claimed of it


@pytest.mark.parametrize("rho", [0, 1, 2, 10, 1000])
def test_a_third_is_sharp(rho: int) -> None:
    """With 3 rho = F_1 - 1 warm trains longer at stage 3, for every rho; with 3 rho = F_1 it does not."""
    per_stage = CLAIMS["warm_never_longer_than_ideal"]
    with_remainder = CLAIMS["warm_never_longer_than_ideal_with_remainder"]

    def universe(often: int) -> Universe:
        """The feature is shown by `often` samples of a chunk, and learned at stage 2; rho samples show nothing."""
        return universe_of([[1], []], [often, rho], num_features=1, num_stages=5, gamma=2 * often)

    short = universe(2 * rho + 1)
    assert 3 * short.remainder == run(short, "cold").unsure[0] - 1
    verdict = per_stage.check(short)
    assert verdict.failure is not None
    assert (verdict.stage, verdict.failure.left, verdict.failure.right) == (3, 3 * rho + 1, 3 * rho)
    assert not with_remainder.check(short).applies
    if rho:
        enough = universe(2 * rho)
        assert 3 * enough.remainder == run(enough, "cold").unsure[0]
        assert with_remainder.check(enough).applies
        per_stage.require(enough)


def test_a_given_list_without_a_counterexample_gives_none() -> None:
    claim = CLAIMS["warm_never_longer_than_ideal"]
    assert claim.counterexample([one_sample(2), one_sample(5, gamma=1)]) is None
    found = claim.counterexample(iter([one_sample(2), one_sample(5), one_sample(3)]))
    assert found is not None
    assert found.universe.num_stages == 5
