"""Signals that wait until something is done as a whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the end of the block; then they act.

    Processes started inside never get Ctrl-C: ending them is left to this one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda got, frame: received.append(got)) for number in signals}
    masks = hasattr(signal, "pthread_sigmask")  # Windows has none; `_start_worker` makes workers deaf there
    if masks:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what a new process inherits
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number, handler in before.items():
            signal.signal(number, handler)
        for held in received:
            signal.raise_signal(held)
