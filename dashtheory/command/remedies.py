r"""Compare every remedy on several streams, each tuned with the same budget of trials.

    python simulations/remedies.py --streams digits,text --rules dash:lam=0.05/0.1/0.3,fire --seeds 5

A killed call goes on where it was; with --take-over also from the table that another machine has passed on. Rules
may have a grid of one number, as sp:shrink=0.1/0.3/0.6; rules of your own are python:FILE.py:Name. The tuned cold
and warm starts always take part.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashtheory._check import fail, integer
from dashtheory.command.growing import Call, run
from dashtheory.command.guard import guarded
from dashtheory.command.options import OneLineParser, check_counts, folder, option_names
from dashtheory.command.remedy_results import (
    DIVERGED,
    SUMMARY,
    Kept,
    choices_path,
    forget_results,
    has_setting,
    passed_on,
    read_choices,
    refusals,
    rounds_of,
    seeds_of,
    trials_of,
)
from dashtheory.command.ways import HERE, Way, add_ways, way_of
from dashtheory.deep.task import data_facts
from dashtheory.experiments.equal_tuning import (
    Choice,
    advanced,
    at_edge,
    budget,
    chosen_text,
    next_trials,
    trial_scores,
)
from dashtheory.experiments.remedies import (
    CONTROLS,
    FIRST_TUNING,
    REMEDIES,
    STREAM_NAMES,
    Remedy,
    StreamSetting,
    read_remedy,
    stream_settings,
)
from dashtheory.experiments.remedy_probe import refusal
from dashtheory.experiments.remedy_scores import REFERENCES, arms_of
from dashtheory.parallel import usable_cores
from dashtheory.record import replacing

OUT = Path("figures/remedies")
PAUSE = 30.0
"""Seconds between two times that a table of many short runs is written."""
QUICK: Mapping[str, Any] = {"num_chunks": 2, "chunk_size": 56, "batch_size": 14, "num_test": 200, "max_epochs": 8}
QUICK_RULES = ("cold", "warm", "sp:shrink=0.1/0.3/0.6", "dash:lam=0.05/0.1/0.3", "l2_init:l2=0.01/0.1/1")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One stream of a call.

    Attributes:
        name: of the stream.
        setting: of the stream.
        remedies: that are compared.
        seeds: root seeds of the main runs.
        num_jobs: runs at once.
        out: folder of the results.
        fresh: whether to forget earlier results.
        take_over: whether trials and runs of the table that is passed on are not to be made again.
        way: where the runs are computed, and who follows them.
    """

    name: str
    setting: StreamSetting
    remedies: tuple[Remedy, ...]
    seeds: list[int]
    num_jobs: int
    out: Path
    fresh: bool
    take_over: bool = False
    way: Way = HERE

    @property
    def trials(self) -> str:
        """Name of the table of trials."""
        return f"{self.name}-trials"

    @property
    def choices(self) -> Path:
        """The file of the chosen numbers."""
        return choices_path(self.table)

    @property
    def table(self) -> Path:
        """The file of the main runs."""
        return self.call(self.name, ["warm"], self.seeds).results

    def call(self, name: str, texts: Sequence[str], seeds: list[int], **values: Any) -> Call:
        """Runs of some rules; `values` differ from the stream's."""
        return Call(
            name=name,
            config=self.setting.config.with_values(rules=tuple(texts), **values),
            seeds=seeds,
            num_jobs=self.num_jobs,
            budget=None,
            out=self.out,
            fresh=False,
            stages={"num_stages": None},
            pause=PAUSE,
            way=self.way,
        )


def compare(comparison: Comparison) -> None:
    """Tune, run and keep the remedies of a stream."""
    if comparison.fresh:
        _forget(comparison)
    _check_rounds(comparison)
    theirs = _taken_over(comparison)
    refused, able = _probed(comparison, theirs)
    choices = _tuned(comparison, able, trials_of(theirs))
    _keep(comparison, choices, refused)
    arms = [arm for choice in choices for arm in arms_of(choice, comparison.setting)]
    texts_of: dict[tuple[int, ...], list[str]] = {}
    for text in dict.fromkeys(arm.text for arm in arms):
        missing = tuple(seed for seed in comparison.seeds if seed not in seeds_of(theirs, text))
        texts_of.setdefault(missing, []).append(text)
    for seeds, texts in texts_of.items():
        if seeds:
            run(comparison.call(comparison.name, texts, [*seeds]))


def _forget(comparison: Comparison) -> None:
    for name in (comparison.name, comparison.trials):
        for suffix in (".csv", ".json"):
            (comparison.table.parent / f"{name}{suffix}").unlink(missing_ok=True)
    comparison.choices.unlink(missing_ok=True)
    forget_results(comparison.out, comparison.name)


def _taken_over(comparison: Comparison) -> Kept | None:
    """What another machine has found, if it is to be used."""
    theirs = passed_on(comparison.out, comparison.name) if comparison.take_over else None
    if theirs is not None and not has_setting(theirs, comparison.setting, data_facts(comparison.setting.config)):
        got = f"{comparison.name} of another in '{comparison.out / SUMMARY}'"
        fail("--take-over", "must find results of the same setting and data", got, "Leave it out.")
    return theirs


def _check_rounds(comparison: Comparison) -> None:
    """Rules of one table have the same budget."""
    ours, rounds = {remedy.rule for remedy in comparison.remedies}, comparison.setting.rounds
    there = passed_on(comparison.out, comparison.name)
    for known in (read_choices(comparison.choices), there.choices if there else {}):
        others = known.get("rules", {}).keys() - ours
        if others and rounds_of(known) != rounds:
            rule = f"must be {rounds_of(known)}, as it was for {min(others)} in '{comparison.out}'"
            fail("--rounds", rule, str(rounds), "Take another --out, or say --fresh.")


def _probed(comparison: Comparison, theirs: Kept | None) -> tuple[dict[str, str], list[Remedy]]:
    """Why some rules cannot act on the stream's network, and the others."""
    known = read_choices(comparison.choices), theirs.choices if theirs else {}
    tried = {rule for one in known for rule in one.get("rules", {})}
    found = {
        remedy.rule: "" if remedy.rule in tried else refusal(remedy, comparison.setting)
        for remedy in comparison.remedies
    }
    for rule, reason in found.items():
        if reason:
            print(f"{comparison.name}: {rule} is left out: {reason}")  # noqa: T201
    return (
        {rule: reason for rule, reason in found.items() if reason},
        [remedy for remedy in comparison.remedies if not found[remedy.rule]],
    )


def _tuned(comparison: Comparison, remedies: Sequence[Remedy], known: Mapping[str, float]) -> list[Choice]:
    """Search after search, all rules at once; trials with a known score are not made again."""
    setting = comparison.setting
    choices = [Choice(remedy=remedy) for remedy in remedies]
    seeds = list(range(FIRST_TUNING, FIRST_TUNING + setting.num_tuning))
    while waiting := [choice for choice in choices if not choice.done]:
        texts = list(dict.fromkeys(text for choice in waiting for text in next_trials(choice, setting)))
        scores = {text: known[text] for text in texts if text in known}
        if new := [text for text in texts if text not in known]:
            found = run(comparison.call(comparison.trials, new, seeds, held_out=True))
            scores |= trial_scores(found.table, new, setting)
        choices = [choice if choice.done else advanced(choice, setting, scores) for choice in choices]
    return choices


def _keep(comparison: Comparison, choices: Sequence[Choice], refused: Mapping[str, str]) -> None:
    """Write down what was chosen, beside what earlier calls have chosen for other rules."""
    known = read_choices(comparison.choices) or {"rules": {}, "refused": {}}
    rules = {
        choice.remedy.rule: {
            "main": choice.remedy.main,
            "grid": list(choice.remedy.grid),
            "values": dict(choice.values),
            "tuned": chosen_text(choice, comparison.setting),
            "at_edge": list(at_edge(choice, comparison.setting)),
            "trials": {text: _written(score) for text, score in choice.trials.items()},
        }
        for choice in choices
    }
    facts = {
        "budget": budget(comparison.setting.rounds),
        "rounds": comparison.setting.rounds,
        "seeds": comparison.setting.num_tuning,
        "rules": {**known["rules"], **rules},
        "refused": refusals(known["refused"], refused, rules),
    }
    comparison.choices.parent.mkdir(parents=True, exist_ok=True)
    with replacing(comparison.choices) as path:
        path.write_text(json.dumps(facts, indent=1) + "\n")


def _written(score: float) -> float | str:
    return score if math.isfinite(score) else DIVERGED  # JSON has no infinity


def main(draw: Callable[[Path], object], arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Args:
        draw: given the folder of the results, draws what is there.
        arguments: of the command line.
    """
    parser = _parser()
    options = parser.parse_args(arguments)

    def work() -> None:
        comparisons = _comparisons(options)
        if options.redraw:
            comparisons = []
        for comparison in comparisons:
            compare(comparison)
        draw(options.out)

    return guarded(parser.prog, lambda: options.out, work, option_names(parser))


def _comparisons(options: argparse.Namespace) -> list[Comparison]:
    """The options, checked."""
    if options.out is None:
        options.out = Path("runs/remedies-quick") if options.quick else OUT
    names = [name for name in (options.streams or "").split(",") if name]
    settings = stream_settings(names or (["digits"] if options.quick else []))
    texts = options.rules.split(",") if options.rules else QUICK_RULES if options.quick else (*REMEDIES, *CONTROLS)
    wanted = {remedy.rule: remedy for remedy in map(read_remedy, [*REFERENCES, *texts])}
    integer("--jobs", options.jobs, minimum=1, fix="It is the number of runs at once.")
    integer("--rounds", options.rounds, minimum=1, fix="One searches for every number once.")
    if options.seeds is not None:
        integer("--seeds", options.seeds, minimum=2, fix="Intervals need two.")
    check_counts(options.seeds or 0, options.jobs)
    way = way_of(options)
    if way.place.gpus:
        fail("gpus", "must be left out", way.place.gpus, "These runs are for CPUs.")
    if options.fresh and options.take_over:
        fail("--take-over", "must be left out with --fresh", "both", "One uses what is there, the other does not.")
    found = []
    for name, setting in settings.items():
        if options.quick:
            setting = _quick(setting)
        setting = dataclasses.replace(setting, rounds=options.rounds)
        seeds = list(range(options.seeds or setting.num_seeds))
        found.append(
            Comparison(
                name=name,
                setting=setting,
                remedies=tuple(wanted.values()),
                seeds=seeds,
                num_jobs=options.jobs,
                out=options.out,
                fresh=options.fresh,
                take_over=options.take_over,
                way=way,
            )
        )
    return found


def _quick(setting: StreamSetting) -> StreamSetting:
    """The stream as a toy."""
    values = {**QUICK, "criterion": setting.config.training.criterion}
    if setting.config.data.arrivals:
        values["arrivals"] = (1, 1)
    return dataclasses.replace(setting, config=setting.config.with_values(**values), num_seeds=2, num_tuning=1)


def _parser() -> argparse.ArgumentParser:
    first, *rest = (__doc__ or "").split("\n\n")
    parser = OneLineParser(
        prog="simulations/remedies.py",
        description=first,
        epilog="\n\n".join(rest),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--streams", help=f"some of {', '.join(STREAM_NAMES)} (default: all)")
    parser.add_argument("--rules", help="remedies, with the grid of one number each (default: all published)")
    parser.add_argument("--seeds", type=int, help="root seeds of the main runs (default: as the stream says)")
    parser.add_argument(
        "--rounds", type=int, default=1, help="times that every number is searched for, in turn (default: 1)"
    )
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="runs at once (default: cores)")
    parser.add_argument("--out", type=folder, help=f"folder of results (default: {OUT})")
    parser.add_argument("--quick", action="store_true", help="a few rules on a toy, in a folder of its own")
    parser.add_argument("--redraw", action="store_true", help="draw the saved results again")
    parser.add_argument("--fresh", action="store_true", help="forget the streams' earlier results")
    parser.add_argument(
        "--take-over", action="store_true", help="what OUT/remedies.csv holds is not run again, whoever made it"
    )
    add_ways(parser)
    return parser
