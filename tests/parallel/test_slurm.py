"""Executors of submitit and a fake Slurm: the same bits, and nothing lost with a worker, a queue, a controller."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from dashtheory.command.script import main
from dashtheory.parallel import Done, Job, run_jobs
from dashtheory.parallel import engine as engine_module
from dashtheory.parallel.carry import Carry
from dashtheory.parallel.ended import taken, there
from dashtheory.parallel.place import Place
from tests.paper.toys import silent
from tests.parallel.toys import lines_of, staged_jobs
from tests.toys import TOY

submitit = pytest.importorskip("submitit")
slurm = pytest.importorskip("dashtheory.parallel.slurm")

pytestmark = pytest.mark.filterwarnings(  # submitit leaves its logs open, and does not wait for its processes
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
SHIMS = Path(__file__).parent / "slurm"
ROOT = Path(__file__).parents[2]
KILL = "kill -9 $PPID"
PREEMPT = "scancel ${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID --signal USR2"
CANCEL = "scancel ${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
SECRET = "hunter2-is-no-password"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "PAUSE", 0.05)
    monkeypatch.setattr(engine_module, "GRACE", 0.2)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("WANDB_API_KEY", SECRET)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm of a few lines of shell, its state in a folder."""
    state = tmp_path / "cluster"
    state.mkdir()
    monkeypatch.setenv("PATH", f"{SHIMS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    submitit.SlurmJob.watcher.clear()
    return state


def told(jobs: list[Job], folder: Path) -> list[Job]:
    return [
        dataclasses.replace(
            job,
            ended=folder / "ended" / f"{job.name}.json",
            arguments={**job.arguments, "folder": folder / job.name},
        )
        for job in jobs
    ]


def with_call(job: Job, call: str) -> Job:
    return dataclasses.replace(job, arguments={**job.arguments, "call": call})


def expected(jobs: list[Job], folder: Path) -> dict[str, pd.DataFrame]:
    """Tables of the same jobs by processes of this machine."""
    tables = {}
    for job in jobs:
        arguments = {**job.arguments, "call": "", "folder": folder / job.name, "log": str(folder) + ".log"}
        tables[job.name] = job.function(**arguments, report=silent)
    return tables


def collect(runs: Iterable[Done], found: list[tuple[str, pd.DataFrame]]) -> None:
    """Add tables as they come, so that those before an error are there after it."""
    found.extend((done.name, done.table) for done in runs)


def same(done: list[tuple[str, pd.DataFrame]], tables: dict[str, pd.DataFrame]) -> None:
    assert sorted(name for name, _ in done) == sorted(tables)
    for name, table in done:
        pd.testing.assert_frame_equal(table, tables[name], check_exact=True)


def stages_computed(log: Path) -> list[str]:
    """Seed and stage of every stage that was computed, each once if nothing was lost."""
    return sorted(" ".join(line[:2]) for line in lines_of(log))


def all_stages(num_jobs: int) -> list[str]:
    return [f"{seed} {stage}" for seed in range(num_jobs) for stage in range(1, 5)]


def test_the_debug_executor_gives_the_bits_of_processes_here(tmp_path: Path) -> None:
    jobs = staged_jobs(tmp_path / "log")
    executor = submitit.AutoExecutor(tmp_path / "logs", cluster="debug")
    here = [(done.name, done.table) for done in run_jobs(staged_jobs(tmp_path / "other"), num_workers=1)]
    same([(done.name, done.table) for done in run_jobs(jobs, executor=executor)], dict(here))


def test_a_killed_worker_loses_only_its_stage_and_the_same_call_goes_on(tmp_path: Path) -> None:
    jobs = told(staged_jobs(tmp_path / "log"), tmp_path / "runs")
    jobs[1] = with_call(jobs[1], KILL)
    found: list[tuple[str, pd.DataFrame]] = []
    with pytest.raises(ValueError, match=r"^run r-seed1 must not be killed, got a dead process"):
        collect(run_jobs(jobs, executor=slurm.Slurm(tmp_path / "slurm", Place(), "local")), found)
    assert [name for name, _ in found] == ["r-seed0"]
    again = run_jobs(jobs[1:], executor=slurm.Slurm(tmp_path / "slurm", Place(), "local"))
    same([*found, *((done.name, done.table) for done in again)], expected(jobs, tmp_path / "here"))
    assert stages_computed(tmp_path / "log") == all_stages(2)  # none twice: it went on from its stages


def test_an_interrupted_local_job_ends_its_controller_alone_and_its_file_comes(tmp_path: Path) -> None:
    """What watches the worker dies of the signal of submitit's `_interrupt`; the worker goes on."""
    jobs = told(staged_jobs(tmp_path / "log", 1, pause=0.2), tmp_path / "runs")
    engine = slurm.Slurm(tmp_path / "slurm", Place(), "local")
    (future,) = engine.submit_all(Carry(), jobs)
    wait_for(tmp_path / "log")
    future._interrupt()
    assert jobs[0].ended is not None
    wait_for(jobs[0].ended)
    same([(done.name, done.table) for done in taken(jobs)], expected(jobs, tmp_path / "here"))


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while path not in there([path]):
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.05)


def test_preemption_requeue_and_scancel_in_the_middle_lose_nothing(cluster: Path, tmp_path: Path) -> None:
    jobs = told(staged_jobs(tmp_path / "log", 3), tmp_path / "runs")
    jobs = [jobs[0], with_call(jobs[1], PREEMPT), with_call(jobs[2], CANCEL)]
    place = Place(on="slurm", hours=2, array=2, partition="gpu", gigabytes=4)
    found: list[tuple[str, pd.DataFrame]] = []
    with pytest.raises(ValueError, match=r"^run r-seed2 must not be killed, got a dead process \(CANCELLED\)"):
        collect(run_jobs(jobs, executor=slurm.Slurm(tmp_path / "slurm", place)), found)
    assert sorted(name for name, _ in found) == ["r-seed0", "r-seed1"]
    script = (cluster / "7.sh").read_text()
    for line in ("--array=0-2%2", "--time=120", "--partition=gpu", "--mem=4GB", "--signal=USR2@90"):
        assert f"#SBATCH {line}" in script
    with place.opened(tmp_path) as executor:
        again = [(done.name, done.table) for done in run_jobs(jobs[2:], executor=executor)]
    same([*found, *again], expected(jobs, tmp_path / "here"))
    assert stages_computed(tmp_path / "log") == sorted(all_stages(3))  # none twice: each went on from its stages
    pairs = {(line[0], line[2]) for line in lines_of(tmp_path / "log")}
    assert sorted(seed for seed, _ in pairs) == ["0", "1", "1", "2", "2"]  # processes of each job


def test_the_jobs_of_a_lost_controller_go_on_and_are_waited_for(cluster: Path, tmp_path: Path) -> None:
    """The call is killed while its jobs run; another waits for them, and submits nothing."""
    options = ["--seeds", "1", "--rules", "cold", "--pause", "3", "--log", str(tmp_path / "log"), "--jobs", "1"]
    command = [sys.executable, "-m", "tests.toys", "--out", str(tmp_path / "out"), "--on", "slurm", *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as controller:
        wait_for(tmp_path / "log")
        controller.kill()
    assert main(TOY, ["--out", str(tmp_path / "out"), "--on", "slurm", *options]) == 0
    assert (tmp_path / "log").read_text() == "cold-0\n"
    assert (cluster / "last").read_text() == "7\n"
    assert not (tmp_path / "out" / ".partial").exists()
    assert main(TOY, ["--out", str(tmp_path / "here"), *options, "--pause", "0"]) == 0
    assert (tmp_path / "here" / "toy.csv").read_bytes() == (tmp_path / "out" / "toy.csv").read_bytes()


def test_neither_code_nor_a_secret_is_in_what_is_written(cluster: Path, tmp_path: Path) -> None:
    (job,) = told([with_call(staged_jobs(tmp_path / "log", 1)[0], f"exit 3 # {SECRET[:7]}")], tmp_path / "runs")
    with pytest.raises(ValueError, match="CalledProcessError"):
        list(run_jobs([job], executor=slurm.Slurm(tmp_path / "slurm", Place(on="slurm"))))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    for path in written:
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        assert b"subprocess.run" not in content, path
        assert b"Traceback" not in content, path


def test_what_sbatch_refuses_is_one_line(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = tmp_path / "refusing"
    shutil.copytree(SHIMS, refusing)
    (refusing / "sbatch").write_text(
        "#!/bin/bash\necho 'sbatch: error: invalid partition specified' >&2\nexit 1\n"
    )
    monkeypatch.setenv("PATH", f"{refusing}{os.pathsep}{os.environ['PATH']}")
    assert main(TOY, ["--out", str(tmp_path / "out"), "--on", "slurm", "--partition", "nowhere"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("toy.py: --on slurm must be able to submit, got sbatch: error: invalid partition")
