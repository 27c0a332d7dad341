"""What is kept of a comparison of remedies: a row of numbers per run, small enough to be passed on.

Raw results (`cpu/STREAM.csv`, trials, choices) are those of the machine that computed them, and grow. From them
comes one table, `remedies.csv`, with its provenance: what every run ended with, what was chosen, and by which
trials. Where only that is there, as in a fresh copy of the repository, it is drawn and scored in the same way; new
rules are then compared with the runs that it holds.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dashtheory._check import fail
from dashtheory._nested import flat, restore
from dashtheory._spec import is_own
from dashtheory.deep.config import RunConfig
from dashtheory.experiments.equal_tuning import Choice, chosen_text
from dashtheory.experiments.remedies import Remedy, StreamSetting, stream_settings
from dashtheory.experiments.remedy_scores import CLAMPED, NUMBERS, arms_of, runs_of, score_table
from dashtheory.experiments.remedy_tables import Compared
from dashtheory.record import load_results, load_table, make_table, save_table, stage_rows
from dashtheory.record.provenance import plain_config
from dashtheory.record.results import same_data

DIVERGED = "diverged"
SUMMARY = "remedies.csv"


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What is kept of a stream.

    Attributes:
        config: of its runs, as JSON holds it.
        data: facts about its data.
        choices: of `read_choices`: what was chosen for every rule, and by which trials.
        runs: of `dashtheory.experiments.remedy_scores.runs_of`, of the arms alone.
        seeds: of the runs; rules that lack one are not compared.
        made: machines and versions that computed runs, when the last one ended, and code, each once.
    """

    config: Mapping[str, Any]
    data: Mapping[str, Any]
    choices: Mapping[str, Any]
    runs: pd.DataFrame
    seeds: tuple[int, ...]
    made: Mapping[str, Any]


def choices_path(table: Path) -> Path:
    """Where the chosen numbers of a stream are kept, beside its main runs."""
    return table.with_name(f"{table.stem}-choices.json")


def read_choices(path: Path) -> dict[str, Any]:
    """What was chosen on a stream; {} if nothing was yet.

    Raises:
        ValueError: if the file cannot be read.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
        known = {
            **found,
            "rules": dict(found["rules"]),
            "refused": dict(found["refused"]),
            "seeds": int(found["seeds"]),
            "rounds": rounds_of(found),
        }
        saved_choices(known)
    except (ValueError, KeyError, TypeError, AttributeError):
        fail("choices", "must be those of an earlier call", f"'{path}'", "Say --fresh.")
    return known


def rounds_of(facts: Mapping[str, Any]) -> int:
    """Rounds of searches of some choices; 1 in files from before there could be more."""
    return int(facts.get("rounds", 1))


def saved_choices(facts: Mapping[str, Any]) -> list[Choice]:
    """The choices of `read_choices`, in their order."""
    return [
        Choice(
            remedy=Remedy(rule=rule, main=mine["main"], grid=tuple(mine["grid"])),
            values=mine["values"],
            trials={text: float("-inf") if score == DIVERGED else score for text, score in mine["trials"].items()},
            done=True,
        )
        for rule, mine in facts.get("rules", {}).items()
    ]


def refusals(before: Mapping[str, str], now: Mapping[str, str], rules: Container[str]) -> dict[str, str]:
    """Why rules do not act on a stream, as it is known now.

    Args:
        before: reasons of an earlier call.
        now: reasons of this one.
        rules: that this one has chosen for: they act.
    """
    return {**{rule: reason for rule, reason in before.items() if rule not in rules}, **now}


def kept_results(out: Path) -> dict[str, Kept]:
    """What is known of every stream that has been run, by name.

    Args:
        out: folder of the comparison.

    Raises:
        ValueError: if there is none, or a file cannot be read.
    """
    saved, found = _saved(out / SUMMARY), {}
    for name in stream_settings():
        mine, before = _raw(out / "cpu" / f"{name}.csv", name), saved.get(name)
        if both := mine and before:
            both = _joined(name, mine, before)
        one = both or mine or before
        if one is not None:
            found[name] = one
    if not found:
        fail("--redraw", "must find the results of a stream", f"none in '{out}'", "Run it without --redraw.")
    return found


def save_results(out: Path, streams: Mapping[str, Kept]) -> Path:
    """Write the table and its provenance; returns its path."""
    rows = [row for name, one in streams.items() for row in _rows(name, one)]
    facts = {
        "experiment": "remedies",
        "streams": {
            name: {"config": one.config, "data": one.data, "seeds": list(one.seeds), "runs": len(one.runs)}
            | {**one.made, "choices": one.choices}
            for name, one in streams.items()
        },
    }
    save_table(make_table(rows), out / SUMMARY, facts)
    return out / SUMMARY


def _rows(name: str, one: Kept) -> Iterator[dict[str, object]]:
    """A row per run and number, of the last stage."""
    stages = setting_of(name, one).stages
    for facts in one.runs.sort_index().sort_index(axis=1).reset_index().to_dict("records"):
        rule, seed = str(facts.pop("rule")), int(facts.pop("seed"))
        metrics = {str(metric): float(value) for metric, value in facts.items() if not pd.isna(value)}
        yield from stage_rows(level="deep", experiment=name, rule=rule, seed=seed, stage=stages, metrics=metrics)


def passed_on(out: Path, name: str) -> Kept | None:
    """What the table that is passed on holds of a stream; None if the stream is not there."""
    return _saved(out / SUMMARY).get(name)


def trials_of(one: Kept | None) -> dict[str, float]:
    """Scores of the trials of a stream, by text; not of rules of the user's own, whose files may have changed."""
    choices = [] if one is None else saved_choices(one.choices)
    return {text: score for choice in choices for text, score in choice.trials.items() if not is_own(text)}


def seeds_of(one: Kept | None, text: str) -> set[int]:
    """Root seeds of the runs of a text; none of a rule of the user's own."""
    return set() if one is None or is_own(text) else {*_seeds(_of(one.runs, text))}


def has_setting(one: Kept, setting: StreamSetting, data: Mapping[str, Any]) -> bool:
    """Whether a stream was run, and tuned, in this setting and on these data."""
    ours = plain_config(setting.config.with_values(device="cpu"))
    theirs, tuning = {**one.config, "rules": ours["rules"]}, (setting.num_tuning, setting.rounds)
    return _plain(theirs) == _plain(ours) and _tuning(one) == tuning and same_data(one.data) == same_data(data)


def forget_results(out: Path, name: str) -> None:
    """Leave a stream out of the table that is passed on."""
    streams = _saved(out / SUMMARY)
    if streams.pop(name, None) is None:
        return
    if streams:
        save_results(out, streams)
    else:
        for suffix in (".csv", ".json"):
            (out / SUMMARY).with_suffix(suffix).unlink(missing_ok=True)


def compared(streams: Mapping[str, Kept]) -> list[Compared]:
    """Scores of every stream, as it was run."""
    found = []
    for name, one in streams.items():
        setting = setting_of(name, one)
        choices = saved_choices(one.choices)
        scores = score_table(one.runs, [arm for choice in choices for arm in arms_of(choice, setting)], setting)
        if len(scores):
            refused = one.choices["refused"]
            found.append(
                Compared(
                    name=name, setting=setting, choices=choices, refused=refused, scores=scores, runs=one.runs
                )
            )
    return found


def setting_of(name: str, one: Kept) -> StreamSetting:
    """The stream as it was run."""
    setting = stream_settings([name])[name]
    config = restore(RunConfig, {**one.config, "rules": ["cold"]})
    ours = setting.config.with_values(rules=config.rules, data_name=config.data.title)
    title = setting.title if flat(config) == flat(ours) else f"{setting.title}: a setting of your own"
    tuning = {"num_tuning": one.choices["seeds"], "rounds": rounds_of(one.choices)}
    return dataclasses.replace(setting, title=title, config=config, **tuning)


def _raw(path: Path, name: str) -> Kept | None:
    """Of the machine that computed."""
    choices = read_choices(choices_path(path))
    if not path.exists() or not choices:
        return None
    results = load_results(path)
    assert results.table is not None
    config = {key: value for key, value in results.config.items() if key != "rules"}
    one = Kept(
        config=config, data=results.data, choices=choices, runs=pd.DataFrame(), seeds=(), made=_made(results.runs)
    )
    setting = setting_of(name, one)
    wanted = _arms(runs_of(results.table, setting), choices, setting)
    return dataclasses.replace(one, runs=wanted, seeds=_seeds(wanted))


def _arms(runs: pd.DataFrame, choices: Mapping[str, Any], setting: StreamSetting) -> pd.DataFrame:
    """The runs of arms alone."""
    texts = {arm.text for choice in saved_choices(choices) for arm in arms_of(choice, setting)}
    return runs[runs.index.get_level_values("rule").isin(texts)]


def _seeds(runs: pd.DataFrame) -> tuple[int, ...]:
    return tuple(sorted({int(seed) for seed in runs.index.get_level_values("seed")}))


def _made(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Provenance of many runs."""
    each = runs.values()
    return {
        "machines": _once(facts.get("machine") for facts in each),
        "versions": _once(facts.get("versions") for facts in each),
        "code": _once(facts["identity"]["code"] for facts in each),
        "finished": max((str(facts.get("finished", "")) for facts in each), default=""),
    }


def _once(values: Any) -> list[Any]:
    return [json.loads(text) for text in dict.fromkeys(json.dumps(value, sort_keys=True) for value in values)]


def _saved(path: Path) -> dict[str, Kept]:
    """Of the table that is passed on; {} if there is none."""
    if not path.exists():
        return {}
    table, facts = load_table(path)
    streams: Any = facts.get("streams", {})
    found = {}
    for name, mine in streams.items():
        rows = table[table["experiment"] == name]
        made = {key: mine[key] for key in ("machines", "versions", "code", "finished")}
        found[name] = Kept(
            config=mine["config"],
            data=mine["data"],
            choices=mine["choices"],
            runs=_wide(rows),
            seeds=tuple(mine["seeds"]),
            made=made,
        )
    return found


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    """As `dashtheory.experiments.remedy_scores.runs_of`."""
    wide = rows.pivot_table(index=["rule", "seed"], columns="metric", values="value", dropna=False)
    if missing := [name for name in NUMBERS if name not in wide]:
        fail("results", "must have all numbers of a run", f"none of {missing[0]}", "Run the comparison again.")
    found = wide.dropna(subset=NUMBERS)
    return found if CLAMPED in found else found.assign(**{CLAMPED: math.nan})


def _joined(name: str, mine: Kept, before: Kept) -> Kept:
    """What was computed now, and what is known from before, if setting and data are the same; nothing is lost.

    Where both know a rule, its choice is that of now only if its runs have all of the seeds of before.
    """
    same = _plain(mine.config) == _plain(before.config) and _tuning(mine) == _tuning(before)
    if not same or same_data(mine.data) != same_data(before.data):
        return mine
    setting = setting_of(name, mine)
    whole = {
        choice.remedy.rule
        for choice in saved_choices(mine.choices)
        if {*before.seeds} <= {*_seeds(_of(mine.runs, chosen_text(choice, setting)))}
    }
    rules = {
        rule: facts
        for rule, facts in mine.choices["rules"].items()
        if rule in whole or rule not in before.choices["rules"]
    }
    choices = {
        **mine.choices,
        "rules": {**before.choices["rules"], **rules},
        "refused": refusals(before.choices["refused"], mine.choices["refused"], mine.choices["rules"]),
    }
    others = before.runs[~before.runs.index.isin(mine.runs.index)]
    runs = _arms(pd.concat([others, mine.runs]), choices, setting)
    made = {part: _once([*before.made[part], *mine.made[part]]) for part in ("machines", "versions", "code")}
    last = max(before.made["finished"], mine.made["finished"])
    return dataclasses.replace(
        mine, choices=choices, runs=runs, seeds=_seeds(runs), made={**made, "finished": last}
    )


def _tuning(one: Kept) -> tuple[int, int]:
    """Seeds of a trial, and rounds of searches."""
    return one.choices["seeds"], rounds_of(one.choices)


def _of(runs: pd.DataFrame, text: str) -> pd.DataFrame:
    return runs[runs.index.get_level_values("rule") == text]


def _plain(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)
