"""One spelling for each rule of a page: a rule may have been run under its options in another order.

    cold:weight_decay=0.0005:learning_rate=0.1   cold:learning_rate=0.1:weight_decay=5e-4   are one rule

Names of runs keep the text they were run under; here, rules are told apart by what is read from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import pandas as pd

from dashtheory._spec import split_text
from dashtheory.record import Results
from dashtheory.rules.spec import parse_spec


def spellings(rules: Iterable[str]) -> dict[str, str]:
    """The one spelling of each: options in alphabetical order, values as in the first text with these.

    Args:
        rules: as written.
    """
    first: dict[object, str] = {}
    return {rule: first.setdefault(_read(rule), _ordered(rule)) for rule in rules}


def _read(rule: str) -> object:
    """What is read from a text, to compare; the text where it is no rule any more."""
    try:
        spec = parse_spec(rule)
    except ValueError:
        return rule
    return spec.name, frozenset(spec.options.items()), frozenset(spec.training.items()), spec.tuned


def _ordered(rule: str) -> str:
    name, options = split_text(rule)
    return ":".join([name, *sorted(options)])


def in_one_spelling(found: Results, usual: Iterable[str] = ()) -> Results:
    """The same results, every rule of the tables in its one spelling.

    Of two runs of a rule on a seed, under two spellings, the one with more stages is kept. A default that is
    written out is another spelling, of another rule: `dash` and `dash:lam=0.3` stay two.

    Args:
        found: the results.
        usual: rules that the page lists anyway, whose values are written as there.
    """
    written = {name: _rule_of(table) for name, table in found.tables.items()}
    known = spellings(dict.fromkeys([*usual, *written.values()]))
    kept: dict[tuple[str, int], str] = {}
    for name, table in found.tables.items():
        place = (known[written[name]], int(table["seed"].iloc[0]))
        if place not in kept or _stages(table) > _stages(found.tables[kept[place]]):
            kept[place] = name
    names = set(kept.values())
    tables = {
        name: table.assign(rule=known[written[name]]) for name, table in found.tables.items() if name in names
    }
    return dataclasses.replace(found, tables=tables, runs=_of(found.runs, names))


def _rule_of(table: pd.DataFrame) -> str:
    return str(table["rule"].iloc[0])


def _stages(table: pd.DataFrame) -> int:
    return int(table["stage"].nunique())


def _of(runs: Mapping[str, Mapping[str, object]], names: set[str]) -> dict[str, Mapping[str, object]]:
    return {name: facts for name, facts in runs.items() if name in names}
