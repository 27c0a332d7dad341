"""What jobs end with comes by files, whoever carries them out, and whoever is alive."""

from __future__ import annotations

import dataclasses
import math
import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashtheory._check import fail
from dashtheory.parallel import Job, run_jobs
from dashtheory.parallel import engine as engine_module
from dashtheory.parallel.carry import Carry
from dashtheory.parallel.ended import read, taken, write_error, write_table
from dashtheory.record import PROBLEM, make_table
from tests.paper.toys import silent
from tests.parallel.toys import failing, lines_of, staged_jobs

ROW = {"level": "toy", "experiment": "e", "rule": "r", "seed": 0, "metric": "m"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "PAUSE", 0.01)
    monkeypatch.setattr(engine_module, "GRACE", 0.05)


def here(job: Job) -> pd.DataFrame:
    """The job's table, computed in this process."""
    return job.function(**job.arguments, report=silent)


def with_files(jobs: list[Job], folder: Path) -> list[Job]:
    return [dataclasses.replace(job, ended=folder / f"{job.name}.json") for job in jobs]


@given(st.lists(st.floats(allow_infinity=True, allow_nan=True), min_size=1, max_size=5), st.floats(0, 1e300))
def test_a_table_comes_back_to_the_bit(values: list[float], seconds: float) -> None:
    table = make_table(
        {**ROW, "stage": stage, "lam": 0.1, "value": value} for stage, value in enumerate(values, 1)
    )
    table.attrs |= {PROBLEM: "none", "complete": False}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.json"
        write_table(path, Job(name="one", function=here), table, seconds)
        done = read(path, "one")
    pd.testing.assert_frame_equal(done.table, table, check_exact=True)
    assert done.table["value"].to_numpy().tobytes() == table["value"].to_numpy().tobytes() or any(
        map(math.isnan, values)
    )
    assert done.table.attrs == table.attrs
    assert done.seconds == seconds


def test_a_table_without_rows_comes_back_with_what_it_says(tmp_path: Path) -> None:
    table = make_table([{**ROW, "stage": 1, "value": 1.0}]).iloc[:0]
    table.attrs |= {PROBLEM: "loss is not finite"}
    write_table(tmp_path / "one.json", Job(name="one", function=here), table, 1.0)
    done = read(tmp_path / "one.json", "one")
    assert done.table.empty
    assert done.table.attrs == {PROBLEM: "loss is not finite"}


def test_an_executor_of_the_standard_library_gives_the_tables_of_this_process(tmp_path: Path) -> None:
    jobs = staged_jobs(tmp_path / "log")
    with ThreadPoolExecutor(1) as executor:
        found = {done.name: done for done in run_jobs(jobs, executor=executor)}
    for job in jobs:
        pd.testing.assert_frame_equal(found[job.name].table, here(job), check_exact=True)
    made = found["r-seed0"].made
    assert made["machine"]["device"] == "toy device"
    assert set(made["identity"]) == {"code", "own", "versions"}


def test_what_ended_while_no_controller_was_there_is_taken_and_not_run_again(tmp_path: Path) -> None:
    jobs = with_files(staged_jobs(tmp_path / "log"), tmp_path / "ended")
    Carry()(jobs[0])  # a worker whose controller is gone
    shutil.rmtree(tmp_path / "log-0")  # to be computed again, its stages would be, too
    with ThreadPoolExecutor(1) as executor:
        names = [done.name for done in run_jobs(jobs, executor=executor)]
    assert names == ["r-seed0", "r-seed1"]
    assert [line[0] for line in lines_of(tmp_path / "log")] == ["0"] * 4 + ["1"] * 4
    assert {done.name for done in taken(jobs)} == {"r-seed0", "r-seed1"}  # until the caller has saved them


class Lossy:
    """An executor whose workers die for some jobs: futures end, and no file comes."""

    keeps = False

    def __init__(self, dies: str) -> None:
        self.dies = dies

    def submit(self, function: Any, job: Job) -> Any:
        future: Future[str] = Future()
        if job.name == self.dies:
            future.set_exception(MemoryError())
        else:
            future.set_result(function(job))
        return future


def test_a_lost_worker_ends_no_other_job_and_is_told_at_the_end(tmp_path: Path) -> None:
    jobs = with_files(staged_jobs(tmp_path / "log", 3), tmp_path)
    with pytest.raises(ValueError, match=r"^run r-seed1 must not be killed, got a dead process \(MemoryError\)"):
        list(run_jobs(jobs, executor=Lossy("r-seed1")))
    assert [done.name for done in taken(jobs)] == ["r-seed0", "r-seed2"]


def test_the_error_of_a_job_is_one_line_without_its_code_and_the_job_is_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (job,) = with_files([Job(name="bad", function=failing)], tmp_path)
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(ValueError, match=r"^run bad must end without an error, got KeyError"),
    ):
        list(run_jobs([job], executor=executor))
    Carry()(job)
    assert "hunter2" not in (tmp_path / "bad.json").read_text()
    assert "Traceback" not in (tmp_path / "bad.json").read_text()
    assert taken([job]) == []
    assert capsys.readouterr().err.endswith("bad: failed in an earlier call, and is run again\n")
    assert not (tmp_path / "bad.json").exists()


def test_an_error_of_bad_input_keeps_its_parts(tmp_path: Path) -> None:
    job = Job(name="one", function=here)
    with pytest.raises(ValueError, match="batch_size") as error:
        fail("batch_size", "must fit", 512, "Say batch_size=64.")
    write_error(tmp_path / "one.json", job, error.value)
    with pytest.raises(ValueError, match=r"^batch_size must fit, got 512\. Say batch_size=64\.$"):
        read(tmp_path / "one.json", "one")


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b'{"format": "dashtheory ended 1", "sha256": "0", "content": "{}"}']
)
def test_a_damaged_file_is_run_again(tmp_path: Path, damage: bytes) -> None:
    jobs = with_files(staged_jobs(tmp_path / "log", 1), tmp_path)
    (tmp_path / "r-seed0.json").write_bytes(damage)
    assert taken(jobs) == []
    with ThreadPoolExecutor(1) as executor:
        assert [done.name for done in run_jobs(jobs, executor=executor)] == ["r-seed0"]


def test_carrying_out_leaves_the_threads_and_streams_of_the_process(tmp_path: Path) -> None:
    (job,) = with_files(staged_jobs(tmp_path / "log", 1), tmp_path)
    before = np.random.get_state()[1].tobytes()  # type: ignore[index]  # noqa: NPY002
    Carry()(job)
    assert np.random.get_state()[1].tobytes() == before  # type: ignore[index]  # noqa: NPY002


def test_each_worker_keeps_a_device_of_its_own(tmp_path: Path) -> None:
    """Devices that do not exist; how many workers come to work before all is done, nobody knows."""
    jobs = staged_jobs(tmp_path / "log", 4, pause=0.02, device="cuda")
    list(run_jobs(jobs, num_workers=2, devices=("fake:0", "fake:1")))
    lines = lines_of(tmp_path / "log")
    owners = {line[2]: line[3] for line in lines}
    assert len(set(owners.values())) == len(owners)
    assert set(owners.values()) <= {"fake:0", "fake:1"}
    assert all(owners[line[2]] == line[3] for line in lines)


def test_without_devices_a_job_keeps_its_own(tmp_path: Path) -> None:
    list(run_jobs(staged_jobs(tmp_path / "log", 1, device="cuda:3"), num_workers=1))
    assert {line[3] for line in lines_of(tmp_path / "log")} == {"cuda:3"}
