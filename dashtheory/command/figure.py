r"""Draw a figure, or see whether its committed table holds on this machine.

    dashtheory figure                                  all figures, in a line each
    dashtheory figure discrete_learning                as simulations/discrete_learning.py, with its options
    dashtheory figure discrete_learning --check        compute it anew in build/check/, and compare
    dashtheory figure direction --check --redraw --out elsewhere/figures    compare a table that is there
    dashtheory figure --report                         what is in figures/ with what was committed

A table is identical to the committed one, equal within its intervals, or different; then the exit status is 1. The
rule, with its rate of false alarms, is in `dashtheory.record.agreement` and docs/checking.md. Options:

    --check             compare with the committed table; other options are those of the script
    --against FOLDER    of the committed tables (default: figures/ of the checkout, as it is; with --report as
                        git has it, or a copy that `make figures` made before)
    --report            compare all tables of --out FOLDER (default: figures/), computing nothing
    --list              all figures
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dashtheory._check import fail
from dashtheory.command.checkout import (
    FIGURES,
    checkout,
    committed_tables,
    keep_tables,
    script_path,
    scripts,
    summary_of,
)
from dashtheory.command.guard import guarded
from dashtheory.command.options import OneLineParser

CHECKED = Path("build/check")
"""Where a figure is drawn that is checked."""
_PROGRAM = "dashtheory figure"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 1 where a table differs, 2 for bad input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] in (["--help"], ["-h"]):
        print((__doc__ or "").strip())  # noqa: T201
        return 0
    found: list[int] = []
    status = guarded(_PROGRAM, lambda: CHECKED, lambda: found.append(_main(given)))
    return status or found[0]


def _main(given: list[str]) -> int:
    if given in ([], ["--list"]):
        return _list(checkout())
    if given[0].startswith("-"):
        return _report(checkout(), given)
    name, root = given[0], checkout()
    path = script_path(root, name)
    parser = OneLineParser(prog=f"{_PROGRAM} {name}", add_help=False, allow_abbrev=False)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--against", type=Path)
    options, rest = parser.parse_known_args(given[1:])
    if options.check:
        return _check(root, path, rest, options.against)
    if options.against is not None:
        fail("--against", "must come with --check", f"'{options.against}'", "Add --check.")
    return _draw(path, rest)


def _list(root: Path) -> int:
    known = scripts(root)
    width = max(map(len, known))
    for name, path in known.items():
        print(f"{name:{width}}  {summary_of(path)}")  # noqa: T201
    return 0


def _draw(path: Path, given: list[str]) -> int:
    """As `python simulations/NAME.py`."""
    before = sys.argv
    sys.argv = [str(path), *given]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return 0


def _check(root: Path, path: Path, given: list[str], against: Path | None) -> int:
    """Draw a figure into another folder, and compare its table with the committed one."""
    from dashtheory.command.compare import compared, refuse_other_values
    from dashtheory.command.script import call_of
    from dashtheory.command.script import main as run_script

    script = _loaded(path)
    call = call_of(script, given)
    committed = (root / call.usual_out if against is None else against) / f"{script.name}.csv"
    out = CHECKED.joinpath(*call.usual_out.parts[1:]) if call.out is None else call.out
    new = out / committed.name
    if new.resolve() == committed.resolve():
        fail("--out", "must be another folder than that of the committed table", f"'{out}'", "Leave it out.")
    refuse_other_values(committed, call.config)
    before = _bytes(new.with_suffix(".json"))
    options = [] if call.redraw else ["--recompute"]
    status = run_script(script, [*given, *options, "--out", str(out)])
    if status:
        return status
    if not call.redraw and _bytes(new.with_suffix(".json")) == before:
        fail("--check", "must have the whole table", "a part of it", "The same command goes on.")
    lines, different = compared(script.name, committed, new)
    print("\n".join(lines))  # noqa: T201
    return int(different)


def _loaded(path: Path) -> Any:
    """What a script draws, under the name of this command."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "SCRIPT"):
        fail("--check", "must be of a figure with one table", path.stem, "It has tables of its own.")
    return dataclasses.replace(module.SCRIPT, program=f"{_PROGRAM} {path.stem}")


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _report(root: Path, given: list[str]) -> int:
    """A line for each table of a folder; --before keeps the tables for it where git does not."""
    options = _report_options(given)
    if options.before:
        keep_tables(root)
        return 0
    if options.quick:
        print("nothing is compared: toy figures have no committed tables")  # noqa: T201
        return 0
    from dashtheory.command.compare import report

    out = root / FIGURES if options.out is None else options.out
    with tempfile.TemporaryDirectory() as folder:
        if options.against is not None:
            committed, words = options.against, f"'{options.against}'"
        else:
            committed, words = committed_tables(root, Path(folder))
        names = [path.stem for path in scripts(root).values() if (committed / f"{path.stem}.csv").exists()]
        if not names:
            fail("--against", "must hold tables of figures", f"'{committed}'", "Name the folder of figures.")
        lines, different = report(names, committed, out, words)
    print("\n".join(lines))  # noqa: T201
    return int(different)


def _report_options(given: list[str]) -> argparse.Namespace:
    """Those of the report; of the options of `make figures` beside them, for every script, what matters."""
    parser = OneLineParser(prog=_PROGRAM, add_help=False, allow_abbrev=False)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--before", action="store_true")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true")
    options, _ = parser.parse_known_args(given)
    if not (options.report or options.before):
        parser.error(f"must begin with the name of a figure, --list or --report, got {given[0]!r}")
    return options
