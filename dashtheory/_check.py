"""Checks of arguments: every message names the argument, the rule, the value received and a fix."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import NoReturn

import numpy as np


def fail(argument: str, rule: str, value: object, fix: str, *, error: type[ValueError] = ValueError) -> NoReturn:
    """Raise the one kind of error this package has for bad input.

    Args:
        argument: name of the argument as the caller wrote it.
        rule: what the argument must be, as in "must be a positive integer".
        value: what was received; shown in full.
        fix: one sentence that says what to do.
        error: its class, where callers tell it apart (`dashtheory.errors`).

    Raises:
        error: always.
    """
    raise error(f"{argument} {rule}, got {value}. {fix}")


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
        fail(argument, f"must be one of {', '.join(known)}", repr(value), "Choose a name from the list.")
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
