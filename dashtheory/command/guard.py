"""How a command line ends: what goes wrong is one line, and an exit status."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dashtheory._check import in_words


def guarded(
    program: str, out: Callable[[], object], work: Callable[[], object], options: Mapping[str, str] | None = None
) -> int:
    """Do the work of a command line; what goes wrong is one line on stderr.

    Args:
        program: its name.
        out: the folder of its results, once it is known.
        work: what is done.
        options: how arguments are written here (`dashtheory.command.options.option_names`): errors speak so.

    Returns:
        int: the exit status: 0, 2 for bad input, 130 for an interrupt, 143 for SIGTERM.
    """
    try:
        with _terminable():
            work()
    except (ValueError, MemoryError) as error:
        text, status = " ".join(in_words(error, options or {}).split()) or "out of memory; try smaller sizes", 2
    except OSError as error:
        text, status = f"{_of_files(error, out())} {_GO_ON}", 2
    except _Terminated:
        text, status = f"terminated. {_GO_ON}", 143
    except KeyboardInterrupt:
        text, status = f"stopped. {_GO_ON}", 130
    else:
        return 0
    print(f"{program}: {text}", file=sys.stderr)  # noqa: T201
    return status


def _of_files(error: OSError, out: object) -> str:
    """What cannot be written or read: the results, or another file."""
    reason, name = error.strerror or str(error), error.filename
    folder = Path(str(out)).expanduser().resolve()
    if isinstance(name, str) and not Path(name).expanduser().resolve().is_relative_to(folder):
        return f"file must be one that can be used, got '{name}' ({reason})."
    return f"--out must be able to take the results, got '{out}' ({reason})."


_GO_ON = "Finished runs are kept; the same command goes on from there."


class _Terminated(KeyboardInterrupt):
    """SIGTERM, taken like Ctrl-C."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that workers end and nothing is left half done."""

    def stop(number: int, frame: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
