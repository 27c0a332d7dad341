"""How long a figure of the explorers takes to follow a slider: compute, draw, encode.

    python -m benchmarks.explore [--quick] [--out benchmarks/results]

Run from the root of the repository. Every control of every explorer is swept from its default state, as by a
reader who drags it, on one thread, after the explorer was made (from stored passes) and drawn once. Before
each sweep the kept pixels of axes are forgotten, so that the first state with other limits draws its axes anew.
Times are wall and CPU time in milliseconds, from the new state to the PNG and its words in HTML; the way to the
browser is not in them. Before a sweep is timed, its last figure must be the one that a new explorer draws, to the
byte. Combinations without an answer, which show a line of text, are left out. Writes OUT/explore.json.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.discrete import circumstances
from benchmarks.script import write_record
from dashtheory.explore import (
    Explorer,
    Picture,
    explore_alpha_lambda,
    explore_discrete,
    explore_shrink,
    explore_steps,
)
from dashtheory.explore.state import Menu, controls, moved

TARGET_MS = 150.0
"""A redraw that takes longer is seen to lag."""

PARTS = ("compute", "draw", "encode", "words")
EXPLORERS: dict[str, Callable[[], Explorer[Any, Any]]] = {
    "discrete": explore_discrete,
    "alpha_lambda, two_layer": lambda: explore_alpha_lambda("two_layer"),
    "alpha_lambda, digits": lambda: explore_alpha_lambda("digits"),
    "alpha_lambda, resnet": lambda: explore_alpha_lambda("resnet"),
    "steps": explore_steps,
    "shrink": explore_shrink,
}


def sweep(state: Any, steps: int) -> Iterator[Any]:
    """States with one control moved: every name of a menu, `steps` values of a slider from end to end."""
    for name, what in controls(state).items():
        values = what.options if isinstance(what, Menu) else np.linspace(what.low, what.high, steps).tolist()
        for value in values:
            rounded = int(value) if not isinstance(what, Menu) and what.whole else value
            yield moved(state, {name: rounded})


def redraw(explorer: Explorer[Any, Any], state: Any) -> dict[str, float]:
    """Milliseconds of each part of a redraw, its sum `wall`, and CPU time of all of it.

    Raises:
        ValueError: if the state has no answer.
    """
    cpu, clock = time.process_time(), [time.perf_counter()]
    found = explorer.compute(state)
    clock.append(time.perf_counter())
    explorer.drawing.show(found)
    explorer.drawing.canvas.draw()
    clock.append(time.perf_counter())
    png = explorer.drawing.canvas.encode()
    clock.append(time.perf_counter())
    Picture(png, explorer.describe(state, found)).html()
    clock.append(time.perf_counter())
    parts = {name: 1e3 * (end - start) for name, start, end in zip(PARTS, clock, clock[1:], strict=False)}
    return {**parts, "wall": 1e3 * (clock[-1] - clock[0]), "cpu": 1e3 * (time.process_time() - cpu)}


def one_sweep(explorer: Explorer[Any, Any], states: Sequence[Any]) -> list[dict[str, float]]:
    """`redraw` of every state in turn, from an explorer that has kept no axes."""
    explorer.drawing.canvas.forget()
    return [redraw(explorer, state) for state in states]


def require_equal(used: Explorer[Any, Any], fresh: Explorer[Any, Any], state: Any) -> None:
    """Stop unless an explorer that was drawn before draws a state as a new one does."""
    for explorer in (used, fresh):
        explorer.set(**dataclasses.asdict(state))
    if used.png != fresh.png:
        raise RuntimeError("a used explorer and a new one differ in the same state; times would mean nothing")


def measure_explorer(name: str, steps: int, repeats: int) -> dict[str, Any]:
    """Median and worst over the states of a sweep, each state at its median over `repeats`."""
    make = EXPLORERS[name]
    start = time.perf_counter()
    explorer = make()
    made = time.perf_counter() - start
    states = [state for state in sweep(explorer.state, steps) if _has_answer(explorer, state)]
    require_equal(explorer, make(), states[-1])
    rows = [one_sweep(explorer, states) for _ in range(repeats)]  # repeats apart in time
    by_state = [
        {key: statistics.median(row[place][key] for row in rows) for key in rows[0][0]}
        for place in range(len(states))
    ]
    worst = max(range(len(states)), key=lambda place: by_state[place]["wall"])
    found: dict[str, Any] = {
        "name": name,
        "states": len(states),
        "repeats": repeats,
        "seconds_to_make": made,
        "median_ms": {key: statistics.median(row[key] for row in by_state) for key in by_state[0]},
        "worst_ms": {key: max(row[key] for row in by_state) for key in by_state[0]},
        "worst_single_redraw_ms": max(one["wall"] for row in rows for one in row),
        "worst_state": dataclasses.asdict(states[worst]),
    }
    median, most = found["median_ms"], found["worst_ms"]
    print(
        f"{name:<26}{len(states):>4} states: median {median['wall']:6.1f} ms (compute {median['compute']:.1f}, "
        f"draw {median['draw']:.1f}, encode {median['encode']:.1f}), worst {most['wall']:6.1f} ms "
        f"(CPU {most['cpu']:.1f})",
        flush=True,
    )
    return found


def _has_answer(explorer: Explorer[Any, Any], state: Any) -> bool:
    try:
        explorer.compute(state)
    except ValueError:
        return False
    return True


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them as they come."""
    torch.set_num_threads(1)
    record: dict[str, Any] = {"quick": quick, **circumstances(), "target_ms": TARGET_MS}
    record["versions"]["torch"] = torch.__version__
    steps, repeats = (3, 1) if quick else (25, 5)
    return {**record, "explorers": [measure_explorer(name, steps, repeats) for name in EXPLORERS]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/explore.json."""
    write_record("explore", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
