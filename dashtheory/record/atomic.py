"""Write files so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dashtheory._check import fail


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; on success it is flushed and takes its place.

    If the body raises, `path` keeps its old content and the temporary file is removed.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8, line ends as given) to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())


def writable_folder(argument: str, folder: Path) -> Path:
    """Make `folder` if needed and prove that files can be written there, before any long work.

    Raises: ValueError that names `argument` if it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        reason = error.strerror or str(error)
        fail(argument, "must be a folder that can be written", f"'{folder}' ({reason})", "Choose another folder.")


@contextmanager
def only_one(lock: Path, argument: str) -> Iterator[None]:
    """Hold the file `lock` while the block runs; it goes when the block, or the process, ends.

    Raises: ValueError that names `argument` if another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = lock.exists() and os.path.samestat(lock.stat(), os.fstat(handle.fileno()))
        except BlockingIOError:
            mine = False
        if not mine:
            fail(
                argument,
                "must be used by one call at a time",
                f"'{lock}' in use",
                "Wait for it, or choose another.",
            )
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                lock.parent.rmdir()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
