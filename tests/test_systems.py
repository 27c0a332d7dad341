"""Systems other than Linux: nothing that they lack is needed to import the package, to lock or to run jobs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock, Timeout

from dashtheory.parallel import Job, Report, run_jobs
from dashtheory.record import make_table, only_one

ROOT = Path(__file__).resolve().parents[1]

# What Windows lacks, as far as it can be taken away from a process on another system. (Libraries look for the
# user's number as soon as the system is not called Windows, so that os.getuid must stay.)
WITHOUT_UNIX = """
import importlib, os, pkgutil, signal, sys
sys.modules.update(dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios")))
for place, names in (
    (os, ("fork", "getpgid", "killpg", "sched_getaffinity", "setsid")),
    (signal, ("SIGALRM", "SIGHUP", "SIGKILL", "pthread_sigmask")),
):
    for name in names:
        if hasattr(place, name):
            delattr(place, name)
"""


def without_unix(code: str, tmp_path: Path) -> str:
    """What a script prints in a process without Unix's own functions; its folder is the working one."""
    script = tmp_path / "script.py"  # a file, so that worker processes can be started
    script.write_text(WITHOUT_UNIX + code, encoding="utf-8")
    path = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "ignore:only soft file lock", script.name]
    done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_can_be_imported(tmp_path: Path) -> None:
    code = """
import dashtheory
missing = 0
for module in pkgutil.walk_packages(dashtheory.__path__, "dashtheory."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:  # of a training framework
        assert module.name == f"dashtheory.adapters.{error.name.split('.')[0]}", error
        missing += 1
print(missing + len([name for name in sys.modules if name.startswith("dashtheory.")]))
"""
    modules = [path for path in (ROOT / "dashtheory").rglob("*.py") if path.parent != ROOT / "dashtheory"]
    assert int(without_unix(code, tmp_path)) >= len(modules)


def test_a_lock_is_one_call_s_and_jobs_run(tmp_path: Path) -> None:
    code = """
from pathlib import Path
if __name__ == "__main__":
    from dashtheory.parallel import Job, run_jobs, usable_cores
    from dashtheory.record import only_one
    from tests.test_systems import is_deaf
    for _ in range(2):
        with only_one(Path("locks/one.lock"), "--out"):
            try:
                with only_one(Path("locks/one.lock"), "--out"):
                    print("twice")
            except ValueError as error:
                print(error)
        print(Path("locks").exists())
    (done,) = run_jobs([Job(name="one", function=is_deaf)], num_workers=1)
    print(done.table["value"].tolist(), usable_cores() > 0)
"""
    lock = Path("locks/one.lock")
    refused = f"--out must be used by one call at a time, got '{lock}' in use. Wait for it, or choose another."
    assert without_unix(code, tmp_path).splitlines() == [*[refused, "False"] * 2, "[1.0] True"]


def is_deaf(report: Report) -> pd.DataFrame:
    """Whether Ctrl-C does nothing here, as a table of one number."""
    row = {"level": "toy", "experiment": "e", "rule": "r", "seed": 0, "stage": 1, "metric": "m"}
    return make_table([{**row, "value": float(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)}])


def test_workers_leave_ctrl_c_to_the_parent_on_every_system() -> None:
    (done,) = run_jobs([Job(name="one", function=is_deaf)], num_workers=1)
    assert done.table["value"].tolist() == [1.0]


HOLDER = """
import sys, time
from pathlib import Path
from dashtheory.record import only_one
with only_one(Path(sys.argv[1]), "--out"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_holds_other_processes_back_until_its_own_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "one.lock"
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            refused = pytest.raises(ValueError, match=r"^--out must be used by one call at a time, got .* in use")
            with refused, only_one(lock, "--out"):
                pass
        finally:
            holder.kill()
    assert lock.exists()  # it had no time to clear up
    with only_one(lock, "--out"):
        assert lock.exists()
    assert not lock.parent.exists()


def test_a_lock_is_still_held_while_its_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed after the release, the file could be one that another call has meanwhile locked."""
    lock, unlink, refused = tmp_path / "one.lock", Path.unlink, []

    def remove(path: Path, missing_ok: bool = False) -> None:
        with pytest.raises(Timeout):
            FileLock(path, blocking=False).acquire()
        refused.append(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", remove)
    with only_one(lock, "--out"):
        pass
    assert refused == [lock]
    assert not lock.exists()
