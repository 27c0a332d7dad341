"""Where accounting is off, a job that has left the queue is seen to have ended; one that is new is waited for."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from dashtheory.parallel import slurm
from dashtheory.parallel.slurm import Queue, _goes_on, _Watched


def job(state: str, done: bool = False) -> Any:
    return SimpleNamespace(job_id="7_0", state=state, done=lambda: done)


def queue(*numbers: str, works: bool = True) -> Queue:
    found = Queue(math.inf)
    found._asked = math.inf
    found._numbers = frozenset(numbers) if works else None
    return found


@pytest.mark.parametrize(
    ("state", "numbers", "works", "ended"),
    [
        ("RUNNING", (), True, False),
        ("UNKNOWN", ("7_0",), True, False),
        ("UNKNOWN", ("7_1",), True, True),
        ("UNKNOWN", (), False, False),
    ],
)
def test_a_job_of_an_unknown_state_has_ended_when_the_queue_lacks_it(
    state: str, numbers: tuple[str, ...], works: bool, ended: bool
) -> None:
    watched = _Watched(job(state), queue(*numbers, works=works), old=True)
    assert watched.done() == ended
    assert watched.state == ("GONE" if ended else state)
    assert not _Watched(job(state), queue(*numbers, works=works)).done()  # it was submitted just now


def test_a_job_that_nobody_knows_is_given_up_after_a_while() -> None:
    watched = _Watched(job("UNKNOWN"), queue(works=False), old=True)
    assert _goes_on(watched, slurm._UNKNOWN / 2)
    assert not _goes_on(watched, slurm._UNKNOWN * 2)
    assert _goes_on(_Watched(job("RUNNING"), queue(), old=True), slurm._UNKNOWN * 2)


def test_an_answer_from_before_a_job_was_submitted_tells_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = [100.0], list[float]()
    monkeypatch.setattr("dashtheory.parallel.slurm.time.monotonic", lambda: clock[0])
    found = Queue(pause=10)

    def ask() -> frozenset[str]:
        asked.append(clock[0])
        return frozenset({"3_0"} if clock[0] < 102 else {"4_0"})

    monkeypatch.setattr(found, "_ask", ask)
    assert not _Watched(SimpleNamespace(job_id="3_0", state="UNKNOWN", done=lambda: False), found, old=True).done()
    clock[0] = 102
    new = _Watched(SimpleNamespace(job_id="4_0", state="UNKNOWN", done=lambda: False), found)
    for clock[0] in (103.0, 107.5, 109.9):  # seen from 107 on; the answer is of 100
        assert not new.done()
    clock[0] = 110.5
    assert not new.done()
    assert asked == [100, 110.5]
    monkeypatch.setattr(found, "_ask", frozenset)
    clock[0] = 121
    assert new.done()
