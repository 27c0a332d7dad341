"""How a command line ends: what goes wrong is one line, and an exit status."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
        int: the exit status: 0, 2 for bad input, 130 for an interrupt, 143 for SIGTERM, 141 if nobody reads on.
    """
    try:
        with _terminable():
            work()
    except (ValueError, MemoryError) as error:
        text, status = " ".join(in_words(error, options or {}).split()) or "out of memory; try smaller sizes", 2
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _unread():
            _print_nowhere()
            return 141
        text, status = f"{_of_files(error, out())} {_GO_ON}", 2
    except _Terminated:
        text, status = f"terminated. {_GO_ON}", 143
    except KeyboardInterrupt:
        text, status = f"stopped. {_GO_ON}", 130
    else:
        return 0
    print(f"{program}: {text}", file=sys.stderr)  # noqa: T201
    return status


@contextmanager
def quiet_when_unread() -> Iterator[None]:
    """End the block in silence when who reads its output has enough, as `head` does."""
    try:
        yield
        if sys.stdout is not None:  # closed by the shell: >&-
            sys.stdout.flush()
    except BrokenPipeError:
        if not _unread():  # a pipe to a worker, say
            raise
        _print_nowhere()


def no_room_to_print(error: OSError) -> bool:
    """Whether what is printed goes to a file on a full disk; nothing more is printed then."""
    full = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full and sys.stdout is not None:
        _print_nowhere()
    return full


def _print_nowhere() -> None:
    """Let what is still to be printed go, at the end of Python too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unread() -> bool:
    """Whether nobody reads what is printed."""
    if sys.stdout is None or not hasattr(select, "poll"):
        return sys.stdout is not None
    waiting = select.poll()
    with suppress(OSError):  # what stands in for the output may be no file
        waiting.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in waiting.poll(0))


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
