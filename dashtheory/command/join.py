"""`dashtheory join`: the tables of machines that shared runs, as one.

    dashtheory join results/cpu/digits-mlp.csv here/digits-mlp.csv there/digits-mlp.csv

The first is written; if it is there, its runs stay. All must be of one setting and the same data.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dashtheory._check import fail
from dashtheory.command.guard import guarded
from dashtheory.command.keep import apart
from dashtheory.command.options import OneLineParser
from dashtheory.record import Results, load_results, only_one, writable_folder
from dashtheory.record.results import same_data
from dashtheory.record.store import is_ours, mend_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    return guarded(parser.prog, lambda: options.target.parent, lambda: _run(options.target, options.table))


def join(target: Path, tables: Sequence[Path]) -> tuple[Results, list[str]]:
    """All runs of several tables; of a run that several have, the longest, and of equals the first.

    Args:
        target: a table that may be there, whose runs come first.
        tables: others.

    Returns:
        them, and the names of runs that several tables had.

    Raises:
        ValueError: if one is missing or damaged, of another setting or other data, if runs of one seed began with
            other bits, or if a rule's own code has changed between them.
    """
    found = load_results(target, target.stem) if target.exists() else None
    twice: list[str] = []
    for path in tables:
        if path.stem != target.stem:
            fail("TABLE", f"must be called {target.stem}.csv, as TARGET", f"'{path}'", "A name tells the setting.")
        more = load_results(path, target.stem)
        if found is None:
            found = more
            continue
        _refuse_other(found, more, path)
        _refuse_other_own(found, more, path)
        both = [name for name in more.runs if name in found.runs]
        twice += both
        for name in both:
            _refuse_parts(_stages(found, name), _stages(more, name), name, path)
        kept = [name for name in both if _stages(more, name) <= _stages(found, name)]
        found = found.joined(more.only([name for name in more.runs if name not in kept]))
        _refuse_strangers(found, more, path)
    assert found is not None  # there is at least one table
    return found, list(dict.fromkeys(twice))


def _stages(results: Results, name: str) -> set[int]:
    """Stages that a run holds: it may have left some out."""
    return {int(stage) for stage in results.tables[name]["stage"]}


def _refuse_parts(ours: set[int], theirs: set[int], name: str, path: Path) -> None:
    """Refuse a run of which each has stages that the other lacks: taking one would drop those of the other."""
    if not (ours <= theirs or theirs <= ours):
        got = f"'{path}', where {name} has stages {sorted(theirs)} and lacks {sorted(ours - theirs)}"
        fix = "Run the missing stages in one of the two."
        fail("TABLE", "must have all stages of a run that others have, or no others", got, fix)


def _refuse_other(found: Results, more: Results, path: Path) -> None:
    """Refuse a table of another setting or other data; what runs are made of, such as rules, may differ."""
    single, lists = apart(found.config, more.config)
    within = {name: pair for name, pair in lists.items() if "." in name}  # of a part, such as training.milestones
    if differs := {**single, **within}:
        words = ", ".join(f"{name} {ours} where it was {theirs}" for name, (theirs, ours) in differs.items())
        fail("TABLE", "must be of the setting of the others", f"'{path}', with {words}", "Join it elsewhere.")
    if same_data(found.data) != same_data(more.data):
        fail("TABLE", "must be of the data of the others", f"'{path}'", "Compare data in its .json.")


def _refuse_strangers(found: Results, more: Results, path: Path) -> None:
    """Refuse runs whose differences by seed would mean nothing: other networks or another order of data."""
    for name in more.runs:
        other, parts = found.stranger(name)
        if other:
            got = f"'{path}', where {name} began with other {parts} than {other}"
            fix = "Run the rules of one seed with the same versions."
            fail("TABLE", "must hold runs that began as others of their seed", got, fix)


def _refuse_other_own(found: Results, more: Results, path: Path) -> None:
    """Refuse seeds of a rule whose code of the user's has changed since the others ran."""
    before = {rule: (name, own) for name, rule, own in _own_code(found)}
    for name, rule, own in _own_code(more):
        other, known = before.get(rule, (name, own))
        if own != known:
            got = f"'{path}', where {name} was run with other code of yours than {other}"
            fix = "Run the seeds of one rule with the same code."
            fail("TABLE", "must hold runs of the code that others of their rule had", got, fix)


def _own_code(results: Results) -> Iterator[tuple[str, tuple[str, ...], object]]:
    """Of each run, its name, its rules, and a hash of the user's code that it used."""
    for name, table in results.tables.items():
        yield name, tuple(table["rule"].unique()), results.runs[name]["identity"].get("own", "")


def _run(target: Path, tables: Sequence[Path]) -> None:
    if target.suffix != ".csv":
        fail("TARGET", "must be a table, NAME.csv", f"'{target}'", "Name it as the tables are.")
    if not target.parent.exists():
        join(target, tables)  # what is refused leaves no empty folder
    writable_folder("TARGET", target.parent)
    described = target.with_suffix(".json")
    if described.exists() and not target.exists() and not is_ours(described):
        fail("TARGET", "must not replace a file of another program", f"'{described}'", "Choose another folder.")
    with contextlib.ExitStack() as held:
        for lock in _locks(target):
            held.enter_context(only_one(lock, "TARGET"))
        mend_table(target)
        found, twice = join(target, tables)
        found.save(target)
    seeds = sorted({seed for table in found.tables.values() for seed in table["seed"].tolist()})
    words = f"{len(found.runs)} runs of {len(seeds)} seeds in {target}"
    if twice:
        words += f"; in more than one table, the longest is kept: {', '.join(twice)}"
    print(words)  # noqa: T201
    sys.stdout.flush()


def _locks(target: Path) -> list[Path]:
    """Those of calls that would write the table: of `dashtheory run`, and of the paper's runner if it has run."""
    folder = target.resolve().parent
    paper = folder.parent / ".partial"
    locks = [folder / ".partial" / f"{target.stem}.lock"]
    return locks + [paper / f"{folder.name}-{target.stem}.lock"] * paper.is_dir()


def _parser() -> OneLineParser:
    first = (__doc__ or "").split("\n", 1)[0].split(": ", 1)[1]
    parser = OneLineParser(
        prog="dashtheory join", description=f"{first[0].upper()}{first[1:]}", allow_abbrev=False
    )
    parser.add_argument("target", type=Path, metavar="TARGET", help="NAME.csv, written; what it holds stays")
    parser.add_argument("table", type=Path, nargs="+", metavar="TABLE", help="NAME.csv elsewhere")
    return parser
