r"""Build RESULTS.md and its figures from the tables of results.

    python paper_repro/table.py [--results paper_repro/results] [--out paper_repro]

Every number is computed from a table in the folder of results; a setting without one, and a rule without a run,
say "not run"; a rule without a whole run says how far it has come.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dashtheory.command.guard import guarded
from dashtheory.command.options import OneLineParser, folder
from dashtheory.command.paper import OUT
from dashtheory.paper.report import build


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    return guarded(parser.prog, lambda: options.out, lambda: build(options.results, options.out))


def _parser() -> argparse.ArgumentParser:
    first = (__doc__ or "").split("\n", 1)[0]
    parser = OneLineParser(prog="paper_repro/table.py", description=first, allow_abbrev=False)
    parser.add_argument("--results", type=folder, default=OUT, help=f"folder of results (default: {OUT})")
    parser.add_argument(
        "--out", type=folder, default=OUT.parent, help=f"folder to write to (default: {OUT.parent})"
    )
    return parser
