"""Does this training lose plasticity, and what would repair it? Answers from a comparison's scores.

Four questions, in an order in which each answer makes the next one cheaper to believe:

    gap         is the warm start, as it is trained now, worse than training from scratch?
    tuned       with step size and weight decay chosen for both, what is left of it?
    shrink      does a shrink by one factor for all close what is left?
    direction   does it matter which weights DASH shrinks, beyond the norms that it leaves?

A difference counts from `margin` on: an interval above 0 that reaches it says yes, one that ends below it says no,
and any other that there are not enough seeds to tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
from scipy import stats

from dashtheory._check import real
from dashtheory.experiments.remedies import StreamSetting
from dashtheory.experiments.remedy_scores import NORMS, PUBLISHED, TUNED, runs_of
from dashtheory.record import PAIRED

YES, NO, UNCLEAR = "yes", "no", "not enough seeds to tell"
DIAGNOSED = ("warm", "cold", "uniform:lam=0.05/0.1/0.3", "dash:lam=0.05/0.1/0.3")
"""What a diagnosis runs: arms of these, each with the same trials."""
NONE_FOUND, UNTOLD = "no loss of plasticity found", UNCLEAR


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One arm minus another at the last stage, paired by seed, in the setting's units; more is better.

    Attributes:
        mean: over seeds.
        low: of the 95% interval (Student's t of the paired difference).
        high: of the same.
        n: seeds.
        needed: seeds at which a difference of the margin would be told with a chance of 80%.
        verdict: `YES`, `NO` or `UNCLEAR`.
    """

    mean: float
    low: float
    high: float
    n: int
    needed: int
    verdict: str

    def __str__(self) -> str:
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]".replace("-", "−")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A question, its difference if its arms were run, and the answer in words."""

    name: str
    question: str
    difference: Difference | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Arms:
    """The texts of a diagnosis: what was run under which name.

    Attributes:
        texts: by (rule, arm); rules as names, arms of `dashtheory.experiments.remedy_scores`.
        refused: why rules are not there, by name.
    """

    texts: Mapping[tuple[str, str], str]
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis:
    """Answers, their evidence, and one recommendation.

    Attributes:
        answers: in order.
        recommendation: one sentence.
        evidence: one sentence.
        costs: per arm: score, steps and seconds of a run, means over seeds.
        setting: what was trained.
        margin: from which a difference counts.
    """

    answers: tuple[Answer, ...]
    recommendation: str
    evidence: str
    costs: pd.DataFrame
    setting: StreamSetting
    margin: float

    def __str__(self) -> str:
        return page(self)


def difference(ours: pd.Series, theirs: pd.Series, setting: StreamSetting, margin: float) -> Difference:
    """One arm minus another.

    Args:
        ours: scores of an arm, the seed as index.
        theirs: of the other arm, of the same seeds.
        setting: which of more and less is better, and the units.
        margin: from which a difference counts, > 0.
    """
    real("margin", margin, low=0, open_low=True, fix="It is the smallest difference that matters to you.")
    values = setting.sign * setting.scale * (ours - theirs.loc[ours.index])
    count, mean, spread = len(values), float(values.mean()), float(values.std(ddof=1))
    half = float(stats.t.ppf(0.975, count - 1)) * spread / math.sqrt(count) if count > 1 else math.inf
    low, high = mean - half, mean + half
    power = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))
    needed = max(2, math.ceil((power * spread / margin) ** 2)) if count > 1 else 2
    verdict = NO if high < margin else YES if low > 0 else UNCLEAR
    return Difference(mean=mean, low=low, high=high, n=count, needed=needed, verdict=verdict)


def diagnosis_of(table: pd.DataFrame, arms: Arms, setting: StreamSetting, margin: float = 1.0) -> Diagnosis:
    """Answers from the runs of a comparison.

    Args:
        table: tidy table of the runs.
        arms: what was run under which name.
        setting: of the stream.
        margin: from which a difference counts, in the setting's units.
    """
    runs = runs_of(table, setting)
    scores = {
        key: runs["last"].xs(text, level="rule")
        for key, text in arms.texts.items()
        if text in runs.index.get_level_values("rule")
    }

    def minus(ours: tuple[str, str], theirs: tuple[str, str]) -> Difference | None:
        if ours not in scores or theirs not in scores:
            return None
        return difference(scores[ours], scores[theirs], setting, margin)

    found = {
        "gap": minus(("cold", PUBLISHED), ("warm", PUBLISHED)),
        "tuned": minus(("cold", TUNED), ("warm", TUNED)),
        "shrink": minus(("cold", TUNED), ("uniform", TUNED)),
        "dash": minus(("cold", TUNED), ("dash", TUNED)),
        "direction": minus(("dash", TUNED), ("dash", NORMS)),
    }
    answers = tuple(
        Answer(name=name, question=_QUESTIONS[name], difference=one, text=_words(name, one, arms))
        for name, one in found.items()
    )
    recommendation, evidence = _recommended(found, setting)
    return Diagnosis(
        answers=answers,
        recommendation=recommendation,
        evidence=evidence,
        costs=_costs(runs, arms),
        setting=setting,
        margin=margin,
    )


_QUESTIONS = {
    "gap": "Is the warm start, as you train it, behind training from scratch?",
    "tuned": "Is it still, with step size and weight decay chosen for both?",
    "shrink": "Is a shrink by one factor for all, tuned, still behind the tuned cold start?",
    "dash": "Is DASH, tuned, still behind the tuned cold start?",
    "direction": "Is DASH better than its own norms without its directions?",
}
_ANSWERS = {
    "gap": ("yes: there is a warm-start gap", "no: there is none that matters"),
    "tuned": ("yes: tuning alone does not close it", "no: step size and weight decay close it"),
    "shrink": ("yes", "no: a shrink closes it"),
    "dash": ("yes", "no: DASH closes it"),
    "direction": ("yes: which weights shrink matters here", "no: the norms do it"),
}
_RULES = {"gap": "cold", "tuned": "cold", "shrink": "uniform", "dash": "dash", "direction": "dash"}


def _words(name: str, one: Difference | None, arms: Arms) -> str:
    """The answer to a question."""
    if one is None:
        return f"not run: {arms.refused.get(_RULES[name], 'no such arm')}"
    if one.verdict == UNCLEAR:
        return f"{UNCLEAR} ({one.n} seeds; about {one.needed} would do)"
    return _ANSWERS[name][0 if one.verdict == YES else 1]


_REPAIRS = (
    ("tuned", "Go on with the warm start, with the step size and weight decay chosen here"),
    ("shrink", "Shrink all weights by one factor between stages (`uniform`), with the numbers chosen here"),
    ("dash", "Use DASH between stages, with the numbers chosen here"),
)


def _recommended(found: Mapping[str, Difference | None], setting: StreamSetting) -> tuple[str, str]:
    """One recommendation and its evidence: the cheapest that is not behind the tuned cold start."""
    gap = found["gap"]
    if gap is None:
        return "Nothing can be said: warm and cold starts were not both run.", ""
    evidence = f"cold minus warm, as you train: {gap} {setting.unit}, {gap.n} seeds"
    if gap.verdict == NO:
        return f"{NONE_FOUND.capitalize()}: keep the warm start as it is.", evidence
    if gap.verdict == UNCLEAR:
        tuned = found["tuned"]
        if tuned is not None and tuned.verdict == YES:
            evidence += f"; both tuned: {tuned}"
        return f"{UNTOLD.capitalize()} whether there is a gap: run about {gap.needed}.", evidence
    for name, words in _REPAIRS:
        one = found[name]
        if one is not None and one.verdict == NO:
            return f"{words}.", f"{evidence}; tuned cold minus this: {one}"
    unclear = [one.needed for name, _ in _REPAIRS if (one := found[name]) is not None and one.verdict == UNCLEAR]
    if unclear:
        best = f"run about {min(unclear)}, or train from scratch meanwhile."
        return f"There is a gap, but {UNTOLD} what closes it: {best}", evidence
    return "Train from scratch: nothing tried here closes the gap.", evidence


def _costs(runs: pd.DataFrame, arms: Arms) -> pd.DataFrame:
    """Score, steps and seconds of each arm, means over seeds."""
    rows = []
    for (rule, arm), text in arms.texts.items():
        mine = runs[runs.index.get_level_values("rule") == text]
        if len(mine):
            means = {name: float(mine[name].mean()) for name in ("last", "steps", "seconds")}
            usual = "as you train" if rule in ("warm", "cold") else arm
            rows.append({"rule": rule, "arm": usual if arm == PUBLISHED else arm, "text": text, **means})
    return pd.DataFrame(rows)


def page(found: Diagnosis) -> str:
    """The diagnosis as Markdown."""
    accuracy = found.setting.metric == "test_accuracy"
    lines = [
        f"# {found.recommendation}",
        "",
        f"Evidence: {found.evidence}. A difference counts from {found.margin:g} {found.setting.unit} on; "
        f"brackets: 95% {PAIRED}.",
        "",
        "| question | difference | answer |",
        "| --- | --- | --- |",
        *(f"| {one.question} | {one.difference or ''} | {one.text} |" for one in found.answers),
        "",
        f"| run | rule | {'accuracy (%)' if accuracy else 'loss'} | steps | seconds |",
        "| --- | --- | ---: | ---: | ---: |",
        *(
            f"| {row['rule']}, {row['arm']} | `{row['text']}` | "
            f"{100 * row['last'] if accuracy else row['last']:.{1 if accuracy else 3}f} | {row['steps']:,.0f} | "
            f"{row['seconds']:.1f} |"
            for _, row in found.costs.iterrows()
        ),
        "",
        "Means over seeds, at the last stage; steps and seconds of all stages, tuning not counted. What would "
        "fool this: seeds share their data, so that intervals are about this stream and not about others like "
        "it; a network or a step size far from yours; and stages that end at the cap of epochs.",
    ]
    return "\n".join(lines) + "\n"
