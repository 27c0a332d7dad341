"""Parts of a hand-written page that are made: what stands between two comments is written by a function.

    <!-- made: table discrete_learning -->
    ... written anew ...
    <!-- end -->

A comment does not show, neither on the site nor on a code host.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Makers = Mapping[str, Callable[[str], str]]
BLOCK = re.compile(r"(?m)^<!-- made: (\w+)(?: (\S+))? -->\n(.*?)^<!-- end -->$", re.DOTALL)


def fill(text: str, makers: Makers) -> str:
    """A page with all of its blocks written anew.

    Args:
        text: of the page.
        makers: functions by the first word of a block; each gets the second word, or "".

    Raises:
        KeyError: if a block names no maker.
    """

    def made(found: re.Match[str]) -> str:
        name, argument = found[1], found[2] or ""
        head = f"<!-- made: {name}{' ' if argument else ''}{argument} -->"
        return f"{head}\n{makers[name](argument).strip()}\n\n<!-- end -->"

    return BLOCK.sub(made, text)


def rows(head: list[str], body: list[list[str]]) -> str:
    """A table in Markdown.

    Args:
        head: of the columns.
        body: cells, line by line.
    """
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |").replace("|  |", "| |") for line in lines)


def signed(value: float, decimals: int = 1) -> str:
    """A number with its sign, a true minus."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def interval(ends: Iterable[Any], decimals: int = 1) -> str:
    """A difference and the ends of its interval.

    Args:
        ends: mean, low and high, numbers.
        decimals: that are shown.
    """
    mean, low, high = map(float, ends)
    return f"{signed(mean, decimals)} [{signed(low, decimals)}, {signed(high, decimals)}]"
