"""Jobs go where their memory is: on devices that do not exist, no moment holds more than there is."""

from __future__ import annotations

import dataclasses
import multiprocessing
import threading
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dashtheory.command import ways
from dashtheory.command.ways import HERE, Way
from dashtheory.parallel import Job, run_jobs
from dashtheory.parallel.place import Place
from dashtheory.parallel.room import Rooms, free_gigabytes, must_have_room
from tests.parallel.toys import lines_of, staged, staged_jobs

SPAWN = multiprocessing.get_context("spawn")


def jobs_of(log: Path, gigabytes: tuple[float, ...], **arguments: object) -> list[Job]:
    jobs = staged_jobs(log, len(gigabytes), device="cuda", **arguments)
    return [dataclasses.replace(job, gigabytes=one) for job, one in zip(jobs, gigabytes, strict=True)]


def test_no_moment_holds_more_than_a_device_has_and_every_job_runs_on_one_device(tmp_path: Path) -> None:
    sizes, free = (0.3, 0.7, 0.1, 0.2, 0.9, 0.3), {"fake:0": 0.9, "fake:1": 0.4}
    done = list(run_jobs(jobs_of(tmp_path / "log", sizes, pause=0.01), num_workers=2, devices=free))
    assert len(done) == len(sizes)
    lines = lines_of(tmp_path / "log")
    owners = {line[0]: line[3] for line in lines}
    assert all(owners[line[0]] == line[3] for line in lines)
    assert owners["1"] == owners["4"] == "fake:0"  # the other never holds these
    spans = {
        seed: (
            min(float(line[4]) for line in lines if line[0] == seed),
            max(float(line[5]) for line in lines if line[0] == seed),
        )
        for seed in owners
    }
    for moment, _ in spans.values():
        held = Counter[str]()
        for seed, (begin, end) in spans.items():
            held[owners[seed]] += round(1000 * sizes[int(seed)]) if begin <= moment < end else 0
        assert all(held[device] <= 1000 * free[device] for device in free), held


def test_the_first_job_takes_the_device_with_most_room_and_the_next_stays_while_it_can() -> None:
    rooms = Rooms({"a": 2.0, "b": 8.0, "c": 7.0}, SPAWN)
    with rooms.taken(5) as first:
        assert first == "b"
        with rooms.taken(3) as second, rooms.taken(4) as third:
            assert (second, third) == ("b", "c")
    with rooms.taken(2) as again:
        assert again == "c"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_what_is_given_back_is_what_was_taken(sizes: list[float]) -> None:
    rooms = Rooms({"a": 1.0}, SPAWN)
    for size in sizes:
        with rooms.taken(size):
            pass
    with rooms.taken(1.0) as device:
        assert device == "a"


def test_a_job_waits_for_room_and_an_error_gives_it_back() -> None:
    rooms, order = Rooms({"a": 1.0}, SPAWN), list[str]()

    def later() -> None:
        with rooms.taken(0.6):
            order.append("second")

    thread = threading.Thread(target=later)
    with pytest.raises(KeyError), rooms.taken(0.6):  # noqa: PT012 -- what happens inside is the test
        thread.start()
        thread.join(0.05)
        order.append("first")
        raise KeyError
    thread.join(5)
    assert order == ["first", "second"]


def test_a_job_that_no_device_holds_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path / "log", (1.0, 2.5))
    line = (
        r"^gigabytes must fit into the memory of a device, got 2\.5 of run r-seed1, with at most 2 free \(on b\)\."
    )
    with pytest.raises(ValueError, match=line):
        list(run_jobs(jobs, devices={"a": 1.0, "b": 2.0}))
    assert not (tmp_path / "log").exists()
    must_have_room(jobs, {"a": 2.5})
    must_have_room([], {"a": 0.0})


def test_a_command_asks_how_much_is_free_only_if_it_is_told_how_much_a_run_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "_free", lambda devices: dict.fromkeys(devices, 8.0))
    said, unsaid = Way(place=Place(gpus=2, gigabytes=3)), Way(place=Place(gpus=2))
    with said.opened(tmp_path) as options:
        assert options == {"devices": {"cuda:0": 8.0, "cuda:1": 8.0}}
    with unsaid.opened(tmp_path) as options:
        assert options == {"devices": ("cuda:0", "cuda:1")}
    job = Job(name="one", function=staged)
    assert [way.sized(job).gigabytes for way in (said, unsaid, HERE)] == [3.0, 0.0, 0.0]
    assert said.sized(dataclasses.replace(job, gigabytes=1.0)).gigabytes == 1.0


def test_what_is_free_is_asked_of_the_driver_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30 * (int(device[-1]) + 1), 2**40))
    assert free_gigabytes(["cuda:0", "cuda:3"]) == {"cuda:0": 1.0, "cuda:3": 4.0}


def test_the_memory_of_a_run_here_goes_with_gpus() -> None:
    with pytest.raises(
        ValueError, match=r"^gigabytes must come with Slurm or with gpus, got 'local'\. Leave it out\."
    ):
        Place(gigabytes=2)
