"""A comparison of remedies as text: its tables, with the protocol of every stream beside them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dashtheory._spec import label_of, split_text
from dashtheory.experiments.equal_tuning import DECAY, RATE, Choice, at_edge, budget, grids_of
from dashtheory.experiments.remedies import StreamSetting
from dashtheory.experiments.remedy_probe import protocol_record
from dashtheory.experiments.remedy_scores import CLAMPED, IS_CONTROL, NORMS, PUBLISHED, REFERENCES, TUNED
from dashtheory.record import holm

LEVEL = 0.05
"""Below which a corrected p-value is called a difference."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """What is known of one stream.

    Attributes:
        name: of the stream.
        setting: of the stream, as it was run.
        choices: of all rules.
        refused: reasons of rules that do not act on the stream's network.
        scores: of `dashtheory.experiments.remedy_scores.score_table`.
        runs: of `dashtheory.experiments.remedy_scores.runs_of`.
    """

    name: str
    setting: StreamSetting
    choices: Sequence[Choice]
    refused: Mapping[str, str]
    scores: pd.DataFrame
    runs: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)

    @property
    def tuned(self) -> pd.DataFrame:
        """Scores of the tuned arms, best first, the rule's text as index."""
        mine = self.scores[self.scores["arm"] == TUNED].set_index("rule")
        return mine.sort_values("last", ascending=self.setting.sign < 0)


def render(streams: Sequence[Compared]) -> str:
    """All tables as Markdown."""
    return "\n".join([*_summary(streams), *(line for one in streams for line in _stream(one))]) + "\n"


def findings(one: Compared, reference: str) -> dict[str, list[str]]:
    """Remedies by what is told of them against a tuned reference after correction; controls are left out.

    Returns:
        rules by "better", "worse" and "not told".
    """
    found: dict[str, list[str]] = {"better": [], "worse": [], "not told": []}
    for rule, row in one.tuned.iterrows():
        if not _is_remedy(str(rule)) or pd.isna(row.get(f"mean_{reference}", math.nan)):
            continue
        kind = (
            "not told"
            if not row[f"holm_{reference}"] <= LEVEL  # NaN: the same score with every seed
            else "better"
            if row[f"mean_{reference}"] > 0
            else "worse"
        )
        found[kind].append(str(rule))
    return found


def _summary(streams: Sequence[Compared]) -> list[str]:
    lines = [
        f"Remedies told from the tuned warm and cold start, p < {LEVEL:g} after Holm’s correction over all "
        "rules, for each stream and reference by itself (controls are not counted; best: the highest of "
        "the means, which flatters it, its interval uncorrected):",
        "",
        "| stream | seeds | remedies | better than warm | worse than warm | better than cold | worse than cold "
        "| cold minus warm | best, minus warm | DASH minus warm |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for one in streams:
        warm, cold = (findings(one, reference) for reference in REFERENCES)
        total = sum(map(len, warm.values()))
        cells = [len(found[kind]) for found in (warm, cold) for kind in ("better", "worse")]
        numbers = " | ".join(map(str, (total, *cells)))
        ends = " | ".join((_minus_warm(one, "cold"), _best(one), _minus_warm(one, "dash")))
        lines.append(f"| {one.setting.title} | {_seeds(one)} | {numbers} | {ends} |")
    return [*lines, "", *_over_all(streams), *(line for one in streams for line in _edges(one)), ""]


def told_over_all(streams: Sequence[Compared]) -> dict[str, dict[str, list[str]]]:
    """Which tuned remedies are better than each reference, corrected over rules, streams and references at once.

    Returns:
        by reference and stream, where there are any.
    """
    rows = [
        (reference, one.name, str(rule), float(row[f"p_{reference}"]), float(row[f"mean_{reference}"]))
        for one in streams
        for rule, row in one.tuned.iterrows()
        for reference in REFERENCES
        if not pd.isna(row.get(f"p_{reference}", math.nan))
    ]
    found: dict[str, dict[str, list[str]]] = {reference: {} for reference in REFERENCES}
    for (reference, stream, rule, _, mean), value in zip(rows, holm([row[3] for row in rows]), strict=True):
        if value <= LEVEL and mean > 0 and _is_remedy(rule):
            found[reference].setdefault(stream, []).append(rule)
    return found


def _over_all(streams: Sequence[Compared]) -> list[str]:
    """The counts after the stricter correction."""
    found = told_over_all(streams)
    words = [
        f"better than {reference} "
        + (", ".join(f"{len(rules)} on `{stream}`" for stream, rules in mine.items()) or "none")
        for reference, mine in found.items()
    ]
    return [f"Corrected over all rules, streams and both references at once: {'; '.join(words)}.", ""]


def best_remedy(one: Compared) -> str:
    """The remedy with the highest score; empty if none was run."""
    mine = [rule for rule in map(str, one.tuned.index) if _is_remedy(rule)]
    return mine[0] if mine else ""


def _is_remedy(rule: str) -> bool:
    return split_text(rule)[0] not in IS_CONTROL and rule not in REFERENCES


def _best(one: Compared) -> str:
    rule = best_remedy(one)
    return f"{label_of(rule)}: {_minus_warm(one, rule)}" if rule else ""


def _minus_warm(one: Compared, rule: str) -> str:
    if rule not in one.tuned.index:
        return ""
    return _difference(dict(one.tuned.loc[rule]), "warm", p=False)[0]


def at_ends(one: Compared) -> dict[str, int]:
    """Of how many rules the best step size, the best decay, or any number lies at an end of its grid."""
    found = {"smallest step size": 0, "largest step size": 0, "largest weight decay": 0, "end of some grid": 0}
    for choice in one.choices:
        grids = grids_of(choice.remedy, one.setting)
        found["smallest step size"] += choice.values[RATE] == grids[RATE][0]
        found["largest step size"] += choice.values[RATE] == grids[RATE][-1]
        found["largest weight decay"] += choice.values[DECAY] == grids[DECAY][-1]
        found["end of some grid"] += bool(at_edge(choice, one.setting))
    return found


def _edges(one: Compared) -> list[str]:
    """Where grids were too short, for most rules at once."""
    ends = at_ends(one)
    some = ends.pop("end of some grid")
    counts = ", ".join(f"{count} the {name}" for name, count in ends.items() if count)
    if not some:
        return []
    text = f"- {one.setting.title}: of {len(one.choices)} rules {some} have a number at an end of its grid"
    return [f"{text}; trials chose for {counts}." if counts else f"{text}."]


_HEAD = (
    "rule",
    "chosen",
    "last",
    "mean",
    "steps",
    "at the cap",
    "time between stages",
    "time of a step",
    "memory",
    "at the floor",
    "minus warm",
    "p",
    "minus cold",
    "p",
    "minus its norms alone",
    "defaults, minus warm’s",
)


def _stream(one: Compared) -> list[str]:
    record = protocol_record(one.setting.config)
    return [
        f"## {one.setting.title}",
        "",
        *(["| protocol | |", "| --- | --- |"] + [f"| {name} | {text} |" for name, text in record.items()]),
        "",
        _words(one),
        "",
        "| " + " | ".join(_HEAD) + " |",
        "| --- | --- |" + " ---: |" * (len(_HEAD) - 2),
        *(_row(one, str(rule), row) for rule, row in one.tuned.iterrows()),
        "",
        *_left_out(one),
    ]


def _words(one: Compared) -> str:
    """How a stream's table is to be read."""
    seeds = f"{one.setting.num_tuning} other {'seed' if one.setting.num_tuning == 1 else 'seeds'}"
    rounds, trials = one.setting.rounds, budget(one.setting.rounds)
    many = f"{trials} a rule" if rounds == 1 else f"at most {trials} a rule in {rounds} rounds of searches"
    return (
        f"Score: {_metric(one)}; *last* and *mean* over stages, and steps of all: means of {_seeds(one)} seeds, "
        "the same for all rules; *at the cap*: stages of a run that ended at the cap of epochs, short of the stop "
        f"rule. Trials: {many}, each on {seeds}, scored on a fifth of every chunk. "
        f"Differences: {one.setting.unit}, more is better, with 95% intervals of the paired difference; p of the "
        "paired t-test, after Holm’s correction. Time between stages: as a share of training. Time of a step: in "
        "those of tuned warm, of the seed in which each was fastest; other work of the machine moves it by up "
        "to a half. Memory: of rule and optimizer beyond the optimizer of tuned warm. At the floor: entries that "
        "DASH’s factors shrink as far as they may, mean over stages. Defaults: those of this package, published "
        "where there are any, at the stream’s own step size without weight decay; minus a warm start at that, "
        "too. (c): a control. An exclamation mark: at an end of its grid."
    )


def _metric(one: Compared) -> str:
    return "test accuracy in per cent" if one.setting.metric == "test_accuracy" else "test loss in nats"


def _seeds(one: Compared) -> int:
    return int(one.scores["n"].max()) if len(one.scores) else 0


def _row(one: Compared, rule: str, row: pd.Series) -> str:
    choice = next(choice for choice in one.choices if choice.remedy.rule == rule)
    edges = at_edge(choice, one.setting)
    chosen = ", ".join(
        f"{name.replace('_', ' ')} {value:g}{'!' if name in edges else ''}"
        for name, value in choice.values.items()
    )
    published = one.scores[(one.scores["rule"] == rule) & (one.scores["arm"] == PUBLISHED)]
    scale, digits = (100.0, 1) if one.setting.metric == "test_accuracy" else (1.0, 3)
    cells = [
        f"{label_of(rule)}{' (c)' if split_text(rule)[0] in IS_CONTROL else ''}",
        chosen,
        f"{scale * row['last']:.{digits}f}",
        f"{scale * row['mean']:.{digits}f}",
        f"{row['steps']:,.0f}",
        f"{row['unconverged']:.1f}",
        _share(row["rule_share"]),
        "" if pd.isna(row.get("step_ratio", math.nan)) else f"{row['step_ratio']:.1f}",
        "" if pd.isna(row.get("more_bytes", math.nan)) else _bytes(row["more_bytes"]),
        "" if pd.isna(row[CLAMPED]) else f"{row[CLAMPED]:.0%}",
        *_difference(dict(row), "warm", p=True),
        *_difference(dict(row), "cold", p=True),
        *_difference(dict(row), "left", p=False),
        *(_difference(dict(published.iloc[0]), "warm", p=False) if len(published) else ("not run",)),
    ]
    return "| " + " | ".join(cells) + " |"


def _difference(row: Mapping[str, Any], name: str, *, p: bool) -> tuple[str, ...]:
    mean = row.get(f"mean_{name}", math.nan)
    if pd.isna(mean):
        return ("",) * (2 if p else 1)
    text = f"{mean:+.1f} [{row[f'low_{name}']:+.1f}, {row[f'high_{name}']:+.1f}]".replace("-", "−")
    return (text, _probability(row[f"holm_{name}"])) if p else (text,)


def _probability(value: float) -> str:
    return "" if pd.isna(value) else "<.001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


def _share(value: float) -> str:
    return f"{100 * value:.1f}%" if value >= 0.0005 else "0"


def _bytes(value: float) -> str:
    if value < 0:
        return f"−{_bytes(-value)}"
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value else "0"
        value /= 1000
    return f"{value:.1f} GB"


def _left_out(one: Compared) -> list[str]:
    """What is not in the table, and why."""
    there = set(one.scores["rule"])
    missing = [choice.remedy.rule for choice in one.choices if choice.remedy.rule not in there]
    lines = [f"- `{rule}` does not act here: {reason}" for rule, reason in one.refused.items()]
    lines += [
        f"- `{rule}`: not all of its runs ended with a finite loss, or some were not run" for rule in missing
    ]
    if idle := idle_rules(one):
        named = ", ".join(f"`{rule}`" for rule in idle)
        lines.append(
            f"- With their defaults these did nothing here (scores and steps of warm in every run): {named}"
        )
    return [*lines, ""] if lines else []


def idle_rules(one: Compared) -> list[str]:
    """Rules that with their defaults did nothing: their runs have the scores and steps of warm."""
    published = one.scores[one.scores["arm"] == PUBLISHED]
    if "idle" not in published:
        return []
    return [str(row["rule"]) for _, row in published.iterrows() if row["idle"] is True and row["rule"] != "warm"]


def differences_of(streams: Sequence[Compared]) -> pd.DataFrame:
    """Differences of every arm to the warm start, tuned as it is or not: stream, rule, arm, mean, low, high."""
    rows: list[dict[str, Any]] = [
        {
            "stream": one.name,
            "rule": row["rule"],
            "arm": row["arm"],
            **{part: row.get(f"{part}_warm", math.nan) for part in ("mean", "low", "high")},
        }
        for one in streams
        for _, row in one.scores.iterrows()
        if row["arm"] in (TUNED, PUBLISHED, NORMS)
    ]
    return pd.DataFrame(rows, columns=["stream", "rule", "arm", "mean", "low", "high"]).dropna(subset=["mean"])
