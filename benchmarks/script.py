"""The command line that the benchmarks share: --quick, --out, and one JSON record."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dashtheory.record import writable_folder, write_text

RESULTS = Path(__file__).resolve().parent / "results"


def write_record(
    name: str, summary: str, measure: Callable[..., dict[str, Any]], arguments: Sequence[str] | None
) -> None:
    """Read the command line, call `measure(quick=...)`, and write OUT/name.json; bad input ends in status 2."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=summary.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that the script works")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to write to")
    options = parser.parse_args(arguments)
    try:
        out = writable_folder("--out", options.out)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    write_text(out / f"{name}.json", json.dumps(measure(quick=options.quick), indent=2) + "\n")
