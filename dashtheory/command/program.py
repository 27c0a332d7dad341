r"""The command line of the package: `dashtheory run` compares rules on pictures, text or your own data.

    dashtheory run --data digits --model narrow_resnet --rules cold,cold:weight_decay=tuned,warm,dash --seeds 5
    dashtheory run --data text --model transformer --optimizer adam --learning-rate 0.002 --batch-size 16 \
        --criterion loss --threshold 1 --chunk-size 128 --num-chunks 4
    dashtheory run --data python:mine.py:stream --model python:mine.py:network
    dashtheory diagnose --data python:mine.py:stream --model python:mine.py:network
    dashtheory rules
    dashtheory rules dash
    dashtheory figure discrete_learning --check
    dashtheory join runs/digits.csv here/digits.csv there/digits.csv

Every field of `dashtheory.deep.config.RunConfig` is an option. A killed call goes on where it was, stage by stage.
The result is a tidy table with its provenance, and a figure. `dashtheory diagnose` says in a page whether a warm
start loses anything on your stream, and what repairs it. `dashtheory rules` lists the rules, in a line each;
with a name it shows what a rule does, its options and their defaults, cost and source. `dashtheory figure` lists
the figures of a checkout; with a name it draws one, and with --check it says whether the committed table holds.
`dashtheory join` makes one table of those of machines that shared the runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from dashtheory._needs import TORCH, lacks_torch
from dashtheory._version import __version__
from dashtheory.command.guard import no_room_to_print, quiet_when_unread
from dashtheory.command.script import Script
from dashtheory.command.script import main as run_script
from dashtheory.deep.config import RunConfig
from dashtheory.user_code import EPILOG


def _later(name: str) -> Callable[..., Any]:
    """A function of `dashtheory.command.run`, imported when it is called: --help and a wrong option need none."""
    return lambda *arguments, **options: getattr(import_module("dashtheory.command.run"), name)(
        *arguments, **options
    )


SCRIPT = Script(
    name="run",
    summary="Compare rules between stages on a stream of pictures, text or your own data.",
    config=RunConfig,
    num_seeds=3,
    quick={"num_chunks": 2, "chunk_size": 100, "num_test": 200, "max_epochs": 20},
    quick_seeds=1,
    plan=_later("plan"),
    staged=True,
    named=True,
    draw=_later("draw"),
    facts_of=_later("data_facts"),
    out=Path("runs"),
    program="dashtheory run",
    epilog=EPILOG,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        with quiet_when_unread():
            return _main(list(sys.argv[1:] if arguments is None else arguments))
    except ModuleNotFoundError as error:
        if not lacks_torch(error):
            raise
        print(f"dashtheory: {TORCH}", file=sys.stderr)  # noqa: T201
        return 2
    except OSError as error:
        if not no_room_to_print(error):
            raise
        line = f"dashtheory: the output must go where there is room, got '{error.strerror}'. Free some."
        print(line, file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _main(given: list[str]) -> int:
    if given[:1] == ["run"]:
        return run_script(SCRIPT, given[1:])
    if given[:1] in (["rules"], ["diagnose"], ["figure"], ["join"]):
        return int(import_module(f"dashtheory.command.{given[0]}").main(given[1:]))
    if given in (["--version"], ["-V"]):
        print(f"dashtheory {__version__}")  # noqa: T201
        return 0
    if given in ([], ["--help"], ["-h"]):
        words = "run, diagnose, rules, figure, join"
        print((__doc__ or "").strip() + f"\n\nSee dashtheory WORD --help, WORD one of {words}.")  # noqa: T201
        return 0
    words = "run, diagnose, rules, figure or join"
    line = f"dashtheory: the first word must be {words}, got {given[0]!r}. See dashtheory --help."
    print(line, file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main())
