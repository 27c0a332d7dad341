"""Sizes that no memory can hold are refused before anything is allocated."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dashtheory._check import fail

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_memory() -> int:
    """Bytes of memory that this machine has for a process; 2^40 where it does not say."""
    found = [1 << 40]
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for place in _LIMITS:  # of a container
        try:
            text = Path(place).read_text().strip()
        except OSError:
            continue
        found += [int(text)] if text.isdecimal() else []
    return min(found)


def must_fit(argument: str, value: int, each: float, *, power: int = 1) -> None:
    """Refuse a count whose things cannot be in memory together, by an estimate from below.

    Args:
        argument: name of the count.
        value: the count, >= 0.
        each: bytes that one of them needs.
        power: of the count that the bytes grow with: 2 for the side of a picture.

    Raises:
        ValueError: in one line with the estimate, the machine's memory and a value that fits.
    """
    needed, memory = value * each, machine_memory()
    if needed > memory:
        fits = int(value * (memory / 2 / needed) ** (1 / power))
        got = f"{value}, which needs about {_words(needed)} of {_words(memory)}"
        fix = f"{fits} fits." if fits else "Choose smaller sizes."
        fail(argument, "must fit in memory", got, fix)


def must_fit_together(sizes: Mapping[str, tuple[int, int, float, int]]) -> None:
    """Refuse counts whose products cannot be in memory; the one that is furthest above what is usual is named.

    Args:
        sizes: by name, the count, what is usual (> 0), bytes that one of them needs with the others as they are,
            and the power that all bytes grow with.

    Raises:
        ValueError: as `must_fit`.
    """
    for name, (value, _, each, power) in sorted(sizes.items(), key=lambda size: -size[1][0] / size[1][1]):
        must_fit(name, value, each, power=power)


def _words(number: float) -> str:
    place = 0
    while number >= 1024 and place < len(_UNITS) - 1:
        number, place = number / 1024, place + 1
    return f"{number:.3g} {_UNITS[place]}"
