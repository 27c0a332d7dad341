"""A Dask cluster of this machine: the same bits, and nothing lost with a worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashtheory.parallel import run_jobs
from dashtheory.parallel.place import Place
from tests.parallel.toys import lines_of, staged_jobs

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
KILL = "kill -9 $PPID"


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A cluster with one worker, a process of its own, that is started again when it dies."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0
    ) as cluster:
        yield cluster.scheduler_address


def test_a_killed_worker_loses_only_its_stage(scheduler: str, tmp_path: Path) -> None:
    jobs = [
        dataclasses.replace(job, arguments={**job.arguments, "folder": tmp_path / job.name})
        for job in staged_jobs(tmp_path / "log")
    ]
    jobs[0] = dataclasses.replace(jobs[0], arguments={**jobs[0].arguments, "call": KILL})
    with Place(on=f"dask:{scheduler}").opened(tmp_path) as executor:
        found = {done.name: done.table for done in run_jobs(jobs, executor=executor)}
    stages = sorted(" ".join(line[:2]) for line in lines_of(tmp_path / "log"))
    assert stages == [f"{seed} {stage}" for seed in range(2) for stage in range(1, 5)]
    assert len({line[2] for line in lines_of(tmp_path / "log") if line[0] == "0"}) == 2
    for job in staged_jobs(tmp_path / "other"):
        table = job.function(**job.arguments, report=lambda share, text: None)
        pd.testing.assert_frame_equal(found[job.name], table, check_exact=True)


def test_a_worker_of_several_threads_is_refused() -> None:
    """Threads of one process share the random streams that code of the user's may draw from."""

    def refused(cluster: Any) -> None:
        with (
            pytest.raises(ValueError, match=r"^on must have workers of one thread each, got 2\."),
            Place(on=f"dask:{cluster.scheduler_address}").opened(Path()),
        ):
            pass

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", protocol="tcp"
    ) as cluster:
        refused(cluster)


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from dashtheory.parallel import place as place_module

    monkeypatch.setattr(place_module, "PATIENCE", 0.5)
    with (
        pytest.raises(ValueError, match=r"^on must reach the scheduler, got 'tcp://127\.0\.0\.1:9' \(\w+\)"),
        Place(on="dask:tcp://127.0.0.1:9").opened(Path()),
    ):
        pass
