"""Batches report their progress, and stop at once at an error or an interrupt."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from dashtheory.discrete import simulate_batch
from tests.discrete.batch_cases import GOOD, WORLD, batch


@pytest.mark.parametrize(("count", "num_threads"), [(1, 1), (8, 1), (9, 2), (50, 3)])
def test_progress_rises_to_one(count: int, num_threads: int) -> None:
    told: list[tuple[float, str]] = []
    simulate_batch(
        WORLD, 10, 2, seeds=np.arange(count), num_threads=num_threads,
        report=lambda share, text: told.append((share, text)),
    )  # fmt: skip
    shares = [share for share, _ in told]
    assert shares == sorted(set(shares))
    assert shares[0] > 0
    assert told[-1] == (1.0, f"{count} of {count} simulations")
    assert len(told) == math.ceil(count / 8)
    for share, text in told:
        assert text == f"{round(share * count)} of {count} simulations"


class Slow:
    """Stands in for one simulation: waits, and counts how many were begun; `then` happens at the fifth."""

    def __init__(self, seconds: float, then: Callable[[], None] = lambda: None) -> None:
        self.seconds, self.then, self.begun = seconds, then, 0
        self.lock = threading.Lock()

    def __call__(self, *_: object) -> None:
        with self.lock:
            self.begun += 1
            number = self.begun
        if number == 5:
            self.then()
        time.sleep(self.seconds)


def raiser(error: BaseException) -> Callable[[float, str], None]:
    def report(share: float, text: str) -> None:
        raise error

    return report


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("stop"), SystemExit(1)])
def test_an_exception_in_report_stops_the_batch(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most the blocks in hand are finished: most of the 2000 simulations (10 s) never begin."""
    slow, before = Slow(0.01), threading.active_count()
    monkeypatch.setattr(batch, "_run_one", slow)
    with pytest.raises(type(error)) as caught:
        simulate_batch(WORLD, 5, 1, seeds=np.arange(2000), num_threads=2, report=raiser(error))
    assert caught.value is error
    begun = slow.begun
    assert begun < 400
    assert threading.active_count() == before  # no thread is left behind
    time.sleep(0.05)
    assert slow.begun == begun


def test_an_interrupt_stops_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal of Ctrl-C while the main thread waits for a block."""
    main = threading.main_thread().ident
    assert main is not None
    slow = Slow(0.01, then=lambda: signal.pthread_kill(main, signal.SIGINT))
    monkeypatch.setattr(batch, "_run_one", slow)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs start with it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            simulate_batch(WORLD, 5, 1, seeds=np.arange(2000), num_threads=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert slow.begun < 400


def test_an_interrupt_while_the_blocks_are_handed_out_stops_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(ThreadPoolExecutor):
        handed_out = 0

        def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
            self.handed_out += 1
            if self.handed_out == 100:
                raise KeyboardInterrupt
            return super().submit(*arguments, **named)

    slow = Slow(0.01)
    monkeypatch.setattr(batch, "_run_one", slow)
    monkeypatch.setattr(batch, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate_batch(WORLD, 5, 1, seeds=np.arange(2000), num_threads=2)
    assert slow.begun < 400


def test_an_exception_in_a_simulation_is_raised_and_stops_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("broken simulation")

    slow = Slow(0.01, then=broken)
    monkeypatch.setattr(batch, "_run_one", slow)
    with pytest.raises(RuntimeError, match="broken simulation"):
        simulate_batch(WORLD, 5, 1, seeds=np.arange(2000), num_threads=2)
    assert slow.begun < 400


def test_bad_input_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(0)
    monkeypatch.setattr(batch, "_run_one", slow)
    for argument, value in (("gamma", [1, 2, 0]), ("num_threads", -1)):
        with pytest.raises(ValueError, match=f"^{argument} must "):
            simulate_batch(**{**GOOD, "seeds": [0, 1, 2], argument: value})
    assert slow.begun == 0
