"""A real Slurm of this machine: a call with a requeue and an scancel in the middle loses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from dashtheory.parallel import run_jobs
from dashtheory.parallel.place import Place
from tests.parallel.test_slurm import (
    CANCEL,
    ROOT,
    all_stages,
    collect,
    expected,
    same,
    stages_computed,
    told,
    with_call,
)
from tests.parallel.toys import staged_jobs

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not os.environ.get("DASHTHEORY_REAL_SLURM"), reason="is started by make test-slurm"),
]
PREEMPT = "kill -s USR2 $PPID"  # what Slurm sends before a time limit or a preemption


def test_requeue_and_scancel_in_the_middle_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    jobs = told(staged_jobs(tmp_path / "log", 3), tmp_path / "runs")
    jobs = [jobs[0], with_call(jobs[1], PREEMPT), with_call(jobs[2], f"trap '' TERM; {CANCEL}; sleep 60")]
    place, found = Place(on="slurm", hours=1, array=2), list[tuple[str, pd.DataFrame]]()
    with (
        pytest.raises(ValueError, match=r"^run r-seed2 must not be killed, got a dead process"),
        place.opened(tmp_path) as executor,
    ):
        collect(run_jobs(jobs, executor=executor), found)
    assert sorted(name for name, _ in found) == ["r-seed0", "r-seed1"]
    with place.opened(tmp_path) as executor:
        again = [(done.name, done.table) for done in run_jobs(jobs[2:], executor=executor)]
    same([*found, *again], expected(jobs, tmp_path / "here"))
    assert stages_computed(tmp_path / "log") == all_stages(3)
