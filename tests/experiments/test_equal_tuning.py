"""Tuning with the same budget for every rule, and what is a remedy's text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashtheory.experiments.equal_tuning import (
    DECAY,
    DIGITS,
    RATE,
    Choice,
    advanced,
    at_edge,
    budget,
    chosen_text,
    grids_of,
    next_trials,
    trial_scores,
)
from dashtheory.experiments.remedies import CONTROLS, REMEDIES, StreamSetting, read_remedy, stream_settings
from dashtheory.rules.spec import parse_spec

SETTING = stream_settings(["half"])["half"]
EVERY = (*REMEDIES, *CONTROLS)


TWICE = dataclasses.replace(SETTING, rounds=2)


def search(text: str, score: Mapping[str, float] | None = None, setting: StreamSetting = SETTING) -> Choice:
    choice = Choice(remedy=read_remedy(text))
    while trials := next_trials(choice, setting):
        choice = advanced(choice, setting, {one: (score or {}).get(one, 0.0) for one in trials})
    return choice


@pytest.mark.parametrize("text", EVERY)
def test_every_rule_has_the_same_budget(text: str) -> None:
    choice = search(text)
    assert choice.done
    assert len(choice.trials) == budget(1) == 9
    for trial in choice.trials:
        parse_spec(trial).make()


@pytest.mark.parametrize("text", EVERY)
def test_where_all_are_equal_the_defaults_stay(text: str) -> None:
    choice = search(text)
    centre = {choice.remedy.main: choice.remedy.grid[1]} if choice.remedy.main else {}
    assert choice.values == {**centre, RATE: SETTING.config.training.learning_rate, DECAY: 0.0}
    assert at_edge(choice, SETTING) == ()
    if choice.remedy.default in choice.remedy.grid[1:2]:
        assert chosen_text(choice, SETTING) == choice.remedy.rule


def test_published_defaults_are_in_the_grids() -> None:
    for remedy in map(read_remedy, EVERY):
        assert not remedy.main or remedy.default in remedy.grid, remedy


def test_the_best_is_taken_search_by_search() -> None:
    scores = {"sp:shrink=0.6": 0.2, "sp:shrink=0.6:learning_rate=0.0018": 0.3}
    scores |= {"sp:shrink=0.6:learning_rate=0.0018:weight_decay=0.01": 0.4, "sp": 0.1}
    choice = search("sp:shrink=0.1/0.3/0.6", scores)
    assert chosen_text(choice, SETTING) == "sp:shrink=0.6:learning_rate=0.0018:weight_decay=0.01"
    assert at_edge(choice, SETTING) == ("shrink", DECAY)


@given(st.lists(st.floats(-1, 1), min_size=budget(3), max_size=budget(3)), st.integers(1, 3))
def test_nothing_that_was_tried_beats_the_choice(values: list[float], rounds: int) -> None:
    """Each search goes on from the best of the one before, so that the last text is the best of all."""
    order: dict[str, float] = {}
    setting = dataclasses.replace(SETTING, rounds=rounds)
    choice = Choice(remedy=read_remedy("dash:lam=0.05/0.1/0.3"))
    while trials := next_trials(choice, setting):
        for trial in trials:
            order.setdefault(trial, values[len(order)])
        choice = advanced(choice, setting, order)
    assert len(choice.trials) <= budget(rounds)
    best = max(choice.trials.values())
    assert best - choice.trials[chosen_text(choice, setting)] <= 3 * rounds * 10**-DIGITS  # one rounding a search


@pytest.mark.parametrize(("text", "most"), [("dash:lam=0.05/0.1/0.3", budget(2)), ("reset", budget(2) - 1)])
def test_a_second_round_may_cost_about_as_much_for_every_kind_of_rule(text: str, most: int) -> None:
    """Each search finds another value than before; of a rule without a main number one pair more is known."""
    order: dict[str, float] = {}
    choice = Choice(remedy=read_remedy(text))
    while trials := next_trials(choice, TWICE):
        for place, trial in enumerate(trials):
            order.setdefault(trial, 10 * choice.searches + place)
        choice = advanced(choice, TWICE, order)
        if choice.searches == len(grids_of(choice.remedy, TWICE)):
            (middle,) = (values[1] for name, values in grids_of(choice.remedy, TWICE).items() if name == DECAY)
            choice = dataclasses.replace(choice, values={**choice.values, DECAY: middle})
    assert len(choice.trials) == most


def test_a_second_round_finds_a_pair_that_one_round_misses() -> None:
    """A strong shrink is best with the usual step size, a weak one with the smallest, and that is the best."""
    scores = {"dash:lam=0.05": 0.2, "dash:lam=0.05:learning_rate=0.0006": 0.3, "dash": 0.1}
    scores |= {"dash:learning_rate=0.0006": 0.4}
    found = [chosen_text(search("dash:lam=0.05/0.1/0.3", scores, one), one) for one in (SETTING, TWICE)]
    assert found == ["dash:lam=0.05:learning_rate=0.0006", "dash:learning_rate=0.0006"]


def test_a_second_round_keeps_what_it_finds_no_better() -> None:
    """The centre of the grid is as good with the step size that was chosen."""
    scores = {"sp:shrink=0.6": 0.2, "sp:shrink=0.6:learning_rate=0.0018": 0.3, "sp:learning_rate=0.0018": 0.3}
    choice = search("sp:shrink=0.1/0.3/0.6", scores, TWICE)
    assert choice.values == {"shrink": 0.6, RATE: 0.0018, DECAY: 0.0}


def test_the_last_bit_of_a_mean_decides_nothing() -> None:
    """Means of the same accuracies, summed in another order: the centre of the grid is taken, as for equals."""
    first, second = sum([0.1, 0.2, 0.3]) / 3, sum([0.3, 0.2, 0.1]) / 3
    assert first > second
    assert search("dash:lam=0.3/0.6/0.9", {"dash": first, "dash:lam=0.6": second}).values["lam"] == 0.6
    assert search("dash:lam=0.3/0.6/0.9", {"dash": second + 1e-6, "dash:lam=0.6": second}).values["lam"] == 0.3


def test_a_decay_is_written_where_it_is_not_the_setting_s_own() -> None:
    """Also no decay, where the setting has one."""
    config = SETTING.config.with_values(weight_decay=0.01)
    own = StreamSetting(title="", config=config, decays=(0.0, 0.01, 0.1))
    choice = Choice(remedy=read_remedy("warm"), values={RATE: config.training.learning_rate}, searches=1)
    assert next_trials(choice, own) == ("warm:weight_decay=0", "warm", "warm:weight_decay=0.1")
    equal = advanced(choice, own, dict.fromkeys(next_trials(choice, own), 0.0))
    assert chosen_text(equal, own) == "warm"
    for decays in ((0.0, 0.001, 0.1), (0.0, 0.01), (0.01, 0.0, 0.1)):
        with pytest.raises(ValueError, match="decays must be three, rising"):
            StreamSetting(title="", config=config, decays=decays)


def test_a_diverged_trial_is_never_chosen() -> None:
    choice = search("warm", {"warm": -math.inf, "warm:learning_rate=0.0018": -1.0})
    assert choice.values[RATE] != SETTING.config.training.learning_rate


def trials(values: Mapping[str, list[list[float]]]) -> pd.DataFrame:
    rows = [
        {"rule": text, "seed": seed, "stage": stage, "metric": SETTING.metric, "value": value}
        for text, seeds in values.items()
        for seed, stages in enumerate(seeds)
        for stage, value in enumerate(stages, 1)
    ]
    return pd.DataFrame(rows)


def test_a_score_is_the_mean_over_seeds_of_later_stages() -> None:
    table = trials({"warm": [[0.0, 0.3], [0.0, 0.5], [1.0, 0.7]], "cold": [[0.1, 0.2], [0.3]]})
    found = trial_scores(table, ["warm", "cold", "sp"], SETTING)
    assert found == {"warm": pytest.approx(0.5), "cold": -math.inf, "sp": -math.inf}
    assert trial_scores(None, ["warm"], SETTING) == {"warm": -math.inf}


def test_of_a_loss_less_is_better() -> None:
    setting = StreamSetting(title="", config=SETTING.config, num_tuning=3, sign=-1)
    table = trials({"warm": [[0.0, 1.0]] * 3, "cold": [[0.0, 2.0]] * 3})
    assert trial_scores(table, ["warm", "cold"], setting) == {"warm": -1.0, "cold": -2.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sp:shrink=0.1/0.3:perturb=0.1/0.2", "rules may have one grid each"),
        ("sp:shrink=0.3/0.1", "rules must have grids that rise"),
        ("sp:shrink=0.1/0.1", "rules must have grids that rise"),
        ("sp:shrink=a/b", "rules must have grids of numbers"),
        ("sp:shrink=0.1/2", r"shrink must be a number in \[0, 1\]"),
        ("sp:learning_rate=0.1", "rules must leave the training's options free"),
        ("sp:nothing=0.1/0.2", "options of rule sp must be among"),
        ("none", "rules must be one of|rule must be one of"),
    ],
)
def test_what_is_no_remedy_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_remedy(text)
    assert "\n" not in str(error.value)


def test_grids_are_multiples_of_the_stream_s_own_step_size() -> None:
    assert grids_of(read_remedy("cold"), SETTING)[RATE] == (0.0006, 0.0018, 0.0036, 0.006, 0.0102, 0.018, 0.06)
    assert grids_of(read_remedy("sp:shrink=0.1/0.3/0.6"), SETTING)[RATE] == (0.0006, 0.0018, 0.006, 0.018, 0.06)
    with pytest.raises(ValueError, match="streams must be among"):
        stream_settings(["none"])
