"""Checks of arguments: every message names the argument, the rule, the value received and a fix."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import NoReturn

import numpy as np


def fail(argument: str, rule: str, value: object, fix: str, *, error: type[ValueError] = ValueError) -> NoReturn:
    """Raise the one kind of error this package has for bad input.

    Args:
        argument: name of the argument as the caller wrote it.
        rule: what the argument must be, as in "must be a positive integer".
        value: what was received; shown in full.
        fix: one sentence that says what to do; an argument that it names is written `name=value`, so that a door
            where it is called otherwise can say so (`in_words`).
        error: its class, where callers tell it apart (`dashtheory.errors`).

    Raises:
        error: always.
    """
    raise _made(error, argument, rule, str(value), fix)


def _made(error: type[ValueError], *parts: str) -> ValueError:
    """An error that knows its parts, through pickles too. Made here: no frame of its traceback must hold it."""
    argument, rule, value, fix = parts
    made = error(f"{argument} {rule}, got {value}. {fix}")
    vars(made)[_PARTS] = parts
    return made


_PARTS = "parts"


def told(error: BaseException) -> bool:
    """Whether an error is one of `fail`."""
    return _PARTS in vars(error)


def in_words(error: BaseException, names: Mapping[str, str]) -> str:
    """The message of an error of `fail`, with arguments called as where the user came in.

    Names in the argument and `name=value` in the fix are replaced; rule and value stay as they are.

    Args:
        error: of `fail`; the message of another stays as it is.
        names: what each argument is called there: another argument, or an option of a command line ("--size").
    """
    if not told(error):
        return str(error)
    argument, rule, value, fix = _renamed(vars(error)[_PARTS], names)
    return f"{argument} {rule}, got {value}. {fix}"


@contextmanager
def called(**names: str) -> Iterator[None]:
    """Let errors of `fail` in the block call arguments otherwise, because the caller does.

    Args:
        **names: by the name inside.
    """
    try:
        yield
    except ValueError as error:
        again(error, names=names)


def again(error: ValueError, *, fix: str | None = None, names: Mapping[str, str] | None = None) -> NoReturn:
    """Raise an error of `fail` again with another fix, or other names of arguments; another one as it is.

    Args:
        error: that was caught.
        fix: in place of its own.
        names: as in `in_words`.

    Raises:
        ValueError: always.
    """
    if not told(error):
        raise error
    argument, rule, value, before = _renamed(vars(error)[_PARTS], names or {})
    fail(argument, rule, value, before if fix is None else fix, error=type(error))


def keep_words(error: BaseException) -> None:
    """Let an error of `fail` keep its words at every door, because the user wrote that call in Python."""
    vars(error).pop(_PARTS, None)


_GIVEN = re.compile(r"""(?<![\w.:=,'"`-])(?P<name>[a-z_0-9]+)=(?P<value>'[^']*'|"[^"]*"|[\w.+-]*\w)?""")
_SWITCHES = {"True": "yes", "False": "no", None: ""}


def _renamed(parts: tuple[str, str, str, str], names: Mapping[str, str]) -> tuple[str, str, str, str]:
    argument, rule, value, fix = parts

    def given(found: re.Match[str]) -> str:
        name = names.get(found["name"])
        nested = fix.count("(", 0, found.start()) > fix.count(
            ")", 0, found.start()
        )  # an argument of something else
        if name is None or nested:
            return found[0]
        if not name.startswith("--"):
            return f"{name}={found['value'] or ''}"
        return f"{name} {_SWITCHES.get(found['value'], found['value']).strip(chr(34) + chr(39))}".rstrip()

    argument = "".join(names.get(part, part) for part in re.split("(, | and )", argument))
    return argument, rule, value, _GIVEN.sub(given, fix)


def integer(argument: str, value: object, *, minimum: int, fix: str) -> int:
    """Return `value` as an int if it is an integer >= `minimum` (booleans are refused)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < minimum:
        fail(argument, f"must be an integer >= {minimum}", repr(value), fix)
    return int(value)


def real(
    argument: str,
    value: object,
    *,
    low: float,
    high: float = math.inf,
    open_low: bool = False,
    infinite: bool = False,
    fix: str,
) -> float:
    """Return `value` as a float if it lies in [low, high] (or (low, high] with `open_low`).

    Infinity is refused unless `infinite`; integers too large for a float count as infinity.
    """
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond all floats
            number = -math.inf if value < 0 else math.inf
    inside = low <= number <= high and (infinite or math.isfinite(number)) and not (open_low and number == low)
    if not inside:
        left, right = "(" if open_low else "[", ")" if math.isinf(high) and not infinite else "]"
        fail(argument, f"must be a number in {left}{low:g}, {high:g}{right}", repr(value), fix)
    return number


def choice(argument: str, value: object, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`."""
    known = list(options)
    if not isinstance(value, str) or value not in known:
        near = get_close_matches(value, known, n=1) if isinstance(value, str) else []
        fix = f"Did you mean {near[0]}?" if near else "Choose a name from the list."
        fail(argument, f"must be one of {', '.join(known)}", repr(value), fix)
    return value


def choices(argument: str, values: tuple[str, ...], options: Iterable[str]) -> None:
    """Refuse anything but one or more of `options`, each once."""
    known = list(options)
    for value in values:
        choice(argument, value, known)
    if not values or len(set(values)) < len(values):
        fail(argument, "must name at least one, each once", str(values), f"Choose from {', '.join(known)}.")


def numpy_generator(argument: str, value: object) -> np.random.Generator:
    """Return `value` if it is a numpy Generator; a seed or the global state is refused."""
    if not isinstance(value, np.random.Generator):
        fail(argument, "must be a numpy Generator", repr(value), "Make one: numpy.random.default_rng(seed).")
    return value
