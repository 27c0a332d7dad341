"""Answers of a diagnosis against tables whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dashtheory.experiments.diagnosis import (
    NO,
    NONE_FOUND,
    UNCLEAR,
    YES,
    Arms,
    Diagnosis,
    diagnosis_of,
    difference,
)
from dashtheory.experiments.remedies import StreamSetting, stream_settings
from dashtheory.experiments.remedy_scores import NORMS, PUBLISHED, TUNED
from tests.experiments.test_remedy_scores import table

SETTING = stream_settings(["half"])["half"]
TEXTS = {
    ("warm", PUBLISHED): "warm",
    ("cold", PUBLISHED): "cold",
    ("warm", TUNED): "warm:learning_rate=0.06",
    ("cold", TUNED): "cold:learning_rate=0.06",
    ("uniform", TUNED): "uniform",
    ("dash", TUNED): "dash",
    ("dash", NORMS): "norm_matched",
}
EVEN = [0.5, 0.501, 0.499, 0.5]
"""Scores of four seeds that differ by a tenth of a point."""


def found(points: Mapping[tuple[str, str], float], **arms: object) -> Diagnosis:
    """A diagnosis where each arm is so many points above the others'."""
    values = {
        TEXTS[key]: [value + points.get(key, 0.0) / 100 for value in EVEN]
        for key in TEXTS
        if key in points or not arms
    }
    return diagnosis_of(table(values), Arms(texts=TEXTS, **arms), SETTING)  # type: ignore[arg-type]


def test_where_warm_is_as_good_nothing_is_found() -> None:
    one = found({})
    assert NONE_FOUND.capitalize() in one.recommendation
    assert [answer.difference.verdict for answer in one.answers if answer.difference] == [NO] * 5


def test_the_cheapest_repair_that_closes_the_gap_is_recommended() -> None:
    gap = {("cold", PUBLISHED): 5.0}
    assert "step size and weight decay" in found(gap).recommendation
    untuned = {**gap, ("cold", TUNED): 5.0}
    assert "one factor" in found({**untuned, ("uniform", TUNED): 5.0, ("dash", TUNED): 9.0}).recommendation
    assert "Use DASH" in found({**untuned, ("dash", TUNED): 5.0}).recommendation
    assert found(untuned).recommendation.startswith("Train from scratch")
    assert "5.0" in found(gap).evidence


def test_direction_is_dash_minus_its_norms() -> None:
    answers = {one.name: one for one in found({("dash", TUNED): 4.0}).answers}
    assert answers["direction"].difference is not None
    assert answers["direction"].difference.verdict == YES
    assert answers["direction"].difference.mean == pytest.approx(4)
    assert "which weights shrink matters" in answers["direction"].text


def test_too_few_seeds_are_told_with_a_number_that_would_do() -> None:
    noisy = {TEXTS[key]: list(EVEN) for key in TEXTS}
    noisy["cold"] = [0.6, 0.42, 0.58, 0.44]
    one = diagnosis_of(table(noisy), Arms(texts=TEXTS), SETTING)
    gap = one.answers[0].difference
    assert gap is not None
    assert gap.verdict == UNCLEAR
    assert UNCLEAR in one.recommendation.lower()
    spread = float(np.std([100 * (a - b) for a, b in zip(noisy["cold"], EVEN, strict=True)], ddof=1))
    assert gap.needed == math.ceil(((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * spread) ** 2)
    assert f"about {gap.needed}" in one.answers[0].text


def test_a_gap_with_an_unclear_repair_is_not_called_hopeless() -> None:
    values = {TEXTS[key]: list(EVEN) for key in TEXTS}
    values["cold"] = values["cold:learning_rate=0.06"] = [value + 0.05 for value in EVEN]
    values["uniform"] = [0.7, 0.4, 0.68, 0.42]
    one = diagnosis_of(table(values), Arms(texts=TEXTS), SETTING)
    assert "There is a gap, but not enough seeds" in one.recommendation


def test_what_was_not_run_says_why() -> None:
    one = found({("warm", PUBLISHED): 0, ("cold", PUBLISHED): 0}, refused={"dash": "it has no layers"})
    texts = {answer.name: answer.text for answer in one.answers}
    assert texts["dash"] == texts["direction"] == "not run: it has no layers"
    assert "no such arm" in texts["shrink"]
    nothing = diagnosis_of(table({"warm": EVEN}), Arms(texts=TEXTS), SETTING)
    assert "Nothing can be said" in nothing.recommendation


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.floats(0.1, 3))
def test_a_verdict_follows_from_the_interval_alone(values: list[float], margin: float) -> None:
    ours = pd.Series([0.5 + value / 100 for value in values])
    one = difference(ours, pd.Series([0.5] * len(values)), SETTING, margin)
    expected = NO if one.high < margin else YES if one.low > 0 else UNCLEAR
    assert one.verdict == expected
    assert one.low <= one.mean <= one.high


def test_of_a_loss_less_is_better() -> None:
    setting = StreamSetting(title="", config=SETTING.config, sign=-1, scale=1.0)
    one = difference(pd.Series([1.0, 1.1]), pd.Series([2.0, 2.1]), setting, 0.5)
    assert one.mean == pytest.approx(1.0)
    assert one.verdict == YES


def test_a_margin_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="margin must be a number"):
        difference(pd.Series([1.0, 2.0]), pd.Series([1.0, 2.0]), SETTING, 0.0)


def test_the_page_has_every_question_arm_and_interval() -> None:
    one = found({("cold", PUBLISHED): 5.0})
    text = str(one)
    assert all(answer.question in text and str(answer.difference) in text for answer in one.answers)
    assert all(f"`{part}`" in text for part in TEXTS.values())
    assert text.startswith(f"# {one.recommendation}")
