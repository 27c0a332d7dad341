"""Tuning with the same budget for every rule: trials on held-out training data, one number after the other.

    a rule with a main number      3 values of it, then 5 step sizes, then 3 weight decays
    a rule without                 7 step sizes in the same range, then 3 weight decays

Each search keeps the best so far, so that both take 9 trials: the centre of a later grid was tried already. Where
numbers depend on each other, as how far to shrink and the step size do, one round of searches may miss the best
pair. A second round begins with what the first has chosen and takes at most 8 more trials, 7 of a rule without a
main number.
A trial is a whole run of the stream from which a fifth of every chunk was kept; its score is the metric on what
was kept, averaged over the stages from the second on and over the seeds of trials. No test example is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from dashtheory.experiments.remedies import Remedy, StreamSetting

COARSE, FINE = (0.1, 0.3, 1.0, 3.0, 10.0), (0.1, 0.3, 0.6, 1.0, 1.7, 3.0, 10.0)
"""Step sizes as multiples of the stream's own; of the same range, so that no rule may take a smaller one."""
RATE, DECAY = "learning_rate", "weight_decay"
DIGITS = 9
"""Of scores that are compared: means of the same accuracies differ in their last bit by the order of the sum."""


def budget(rounds: int) -> int:
    """The most trials that a rule may take in some rounds of searches."""
    return 1 + 8 * rounds


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the trials have chosen for a rule on a stream.

    Attributes:
        remedy: the rule.
        values: chosen so far, by name: the main number, step size and weight decay where they were searched.
        trials: texts of all trials with their scores (-inf: diverged), in order.
        searches: that are over.
        done: whether all are.
    """

    remedy: Remedy
    values: Mapping[str, float] = field(default_factory=dict)
    trials: Mapping[str, float] = field(default_factory=dict)
    searches: int = 0
    done: bool = False


def grids_of(remedy: Remedy, setting: StreamSetting) -> dict[str, tuple[float, ...]]:
    """What is searched in a round, in order: name and values."""
    base = setting.config.training.learning_rate
    rates = tuple(_rounded(base * factor) for factor in (COARSE if remedy.main else FINE))
    main = {remedy.main: remedy.grid} if remedy.main else {}
    return {**main, RATE: rates, DECAY: setting.decays}


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def next_trials(choice: Choice, setting: StreamSetting) -> tuple[str, ...]:
    """Texts of the trials that the next search needs, those that were made before included; () once it is over."""
    found = _next(choice, setting)
    return () if found is None else tuple(text for _, text in found[1])


def _next(choice: Choice, setting: StreamSetting) -> tuple[str, list[tuple[float, str]]] | None:
    """Name and (value, text) of the next search."""
    grids = grids_of(choice.remedy, setting)
    if choice.done:
        return None
    name = [*grids][choice.searches % len(grids)]
    return name, [(value, _text(choice, setting, {**choice.values, name: value})) for value in grids[name]]


def _text(choice: Choice, setting: StreamSetting, values: Mapping[str, float]) -> str:
    """The rule with some values; what the stream has anyway is not written."""
    training = setting.config.training
    usual = {RATE: training.learning_rate, DECAY: training.weight_decay}
    return choice.remedy.text({name: value for name, value in values.items() if value != usual.get(name)})


def advanced(choice: Choice, setting: StreamSetting, scores: Mapping[str, float]) -> Choice:
    """The choice after the next search.

    Of equals that which is nearest to the centre of the grid is taken (for weight decay, to the stream's own), in
    a later round that which is nearest to the value chosen before.

    Args:
        choice: so far.
        setting: of the stream.
        scores: of the texts of `next_trials`.
    """
    found = _next(choice, setting)
    if found is None:
        return choice
    name, tried = found
    own = setting.decays.index(setting.config.training.weight_decay)
    centre = own if name == DECAY else len(tried) // 2
    if name in choice.values:
        centre = [value for value, _ in tried].index(choice.values[name])
    best = min(range(len(tried)), key=lambda place: (-round(scores[tried[place][1]], DIGITS), abs(place - centre)))
    values = {**choice.values, name: tried[best][0]}
    trials = {**choice.trials, **{text: scores[text] for _, text in tried}}
    searches = choice.searches + 1
    done = searches == setting.rounds * len(grids_of(choice.remedy, setting))
    return Choice(remedy=choice.remedy, values=values, trials=trials, searches=searches, done=done)


def chosen_text(choice: Choice, setting: StreamSetting) -> str:
    """The rule with its chosen numbers; what the stream has anyway is not written."""
    return _text(choice, setting, choice.values)


def at_edge(choice: Choice, setting: StreamSetting) -> tuple[str, ...]:
    """Names of the numbers whose best value is at an end of its grid; no weight decay is no end."""
    found = []
    for name, values in grids_of(choice.remedy, setting).items():
        ends = (values[-1],) if name == DECAY else (values[0], values[-1])
        if choice.values.get(name) in ends:
            found.append(name)
    return tuple(found)


def trial_scores(table: pd.DataFrame | None, texts: Sequence[str], setting: StreamSetting) -> dict[str, float]:
    """Score of each trial: mean over seeds and over the stages from the second on; -inf if a seed diverged.

    Args:
        table: tidy table of trials.
        texts: of trials.
        setting: of the stream.
    """
    stages = setting.stages
    wanted = setting.num_tuning * (stages - 1)
    if table is None:
        return dict.fromkeys(texts, -math.inf)
    rows = table[(table["metric"] == setting.metric) & (table["stage"] > 1)]
    found = {}
    for text in texts:
        values = rows[rows["rule"] == text]["value"]
        whole = len(values) == wanted and bool(values.map(math.isfinite).all())
        found[text] = setting.sign * float(values.mean()) if whole else -math.inf
    return found
