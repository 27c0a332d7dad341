"""One call at a time, on file systems with locks and without."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dashtheory.record import only_one


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A file system whose locks end in an error."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)
    number: int = request.param
    return number


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_file_stands_for_one_and_goes_with_the_call(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "a.lock"
    for _ in range(2):
        with only_one(lock, "--out"):
            with (
                pytest.raises(
                    ValueError, match=r"^--out must be used by one call at a time, got '.*' in use\. Wait"
                ),
                only_one(lock, "--out"),
            ):
                pytest.fail("two at once")
            with only_one(tmp_path / "locks" / "b.lock", "--out"):  # another is free
                pass
    assert not list(tmp_path.iterdir())


def test_a_killed_call_without_locks_holds_nobody_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "locks" / "a.lock"
    code = (
        "import errno, fcntl, os, sys; from pathlib import Path; from dashtheory.record import only_one\n"
        "def refuse(*_): raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = refuse\n"
        f"with only_one(Path({str(lock)!r}), '--out'): os._exit(9)"
    )
    lock.parent.mkdir()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert lock.with_name("a.lock.held").exists()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with only_one(lock, "--out"):
        pass
    assert not list(tmp_path.iterdir())


def test_another_error_of_the_lock_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output error"), only_one(tmp_path / "a.lock", "--out"):
        pytest.fail("it is not held")
