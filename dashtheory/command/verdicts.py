"""What a comparison of two tables found, in words: a line, and a line for each number that differs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dashtheory.record.agreement import Agreement, Difference
from dashtheory.record.table import point_text

_SHOWN = 5  # numbers in full
_SHOWN_FIRST = ("test_accuracy", "test_loss", "accuracy", "success")


def verdict_lines(name: str, found: Agreement) -> Iterator[str]:
    """The verdict on a figure in a line; where it is different, indented lines for the numbers.

    Args:
        name: of the figure.
        found: of `dashtheory.record.agreement`.
    """
    yield f"{name}: {_verdict(found)}"
    if found.verdict == "different":
        yield from (f"    {_difference(one)}" for one in found.differences[:_SHOWN])
        if (more := len(found.differences) - _SHOWN) > 0:
            yield f"    and {more} more"


def _verdict(found: Agreement) -> str:
    counted = f"of {found.num_means} {_kind(found)}"
    parts = _alone(found)
    if found.verdict == "identical":
        return "; ".join(["identical", *parts])
    if found.verdict == "different":
        if found.differences:
            parts.insert(0, f"{len(found.differences)} {counted}")
        return f"different: {', '.join(parts)}"
    if found.furthest is not None:
        parts.insert(0, f"{found.num_changed} {counted} differ, the furthest {_difference(found.furthest)}")
    within = "up to rounding" if found.exact else "within the intervals of the committed table"
    return "; ".join([f"equal {within}", *parts, *_unseen(found)])


def _unseen(found: Agreement) -> list[str]:
    """What would have had to move for another verdict, by the metric that a figure shows first."""
    metric = next((one for one in _SHOWN_FIRST if one in found.unseen), next(iter(sorted(found.unseen)), ""))
    if not metric:
        return []
    return [f"a mean of {metric} at the last stage would be told from a shift of {found.unseen[metric]:.2g} on"]


def _alone(found: Agreement) -> list[str]:
    """What one table lacks."""
    missing = [f"{found.missing} {_kind(found)} of the committed table are not there"] if found.missing else []
    if found.seeds_apart:
        missing.append(f"{found.num_seeds} seeds compared, {found.seeds_apart} are in one table alone")
    return missing + ([f"{found.further} {_kind(found)} are not in the committed table"] if found.further else [])


def _kind(found: Agreement) -> str:
    return "numbers" if found.exact else f"means over {found.num_seeds} seeds"


def _difference(one: Difference) -> str:
    """A number by its keys, with both values."""
    seed = "" if one.seed is None else f", seed {one.seed}"
    where = f"{one.metric} of {one.rule}{seed}, stage {one.stage}{point_text(one.point)}"
    errors = "" if math.isnan(one.errors) else f" ({one.errors:.2g} standard errors)"
    old, new = _apart(one.committed, one.new)
    return f"{where}: committed {old}, new {new}{errors}"


def _apart(committed: float, new: float) -> tuple[str, str]:
    """Two numbers with so many digits that they differ, four at least."""
    for digits in range(4, 18):
        texts = f"{committed:.{digits}g}", f"{new:.{digits}g}"
        if texts[0] != texts[1]:
            break
    return texts
