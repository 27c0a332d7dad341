"""Write files so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from dashtheory._check import fail


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; on success it is flushed and takes its place.

    If the body raises, `path` keeps its old content and the temporary file is removed.
    """
    temporary = _beside(path)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together, so that the first to take its place decides for all.

    All are written and flushed before that; whoever is killed later leaves the others as `unplaced` files.

    Args:
        contents: by path, in the order in which they take their places.

    Raises:
        OSError: if one cannot be written; then all keep their old content.
    """
    temporary: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            temporary[path] = _beside(path)
            temporary[path].write_bytes(content)
            _flush(temporary[path])
        for path, written in temporary.items():
            written.replace(path)
    finally:
        for written in temporary.values():
            written.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    return Path(name)


def _flush(temporary: Path) -> None:
    with temporary.open("r+b") as written:  # Windows flushes only what is open for writing
        os.fsync(written.fileno())
    temporary.chmod(0o666 & ~_umask())


def unplaced(path: Path) -> list[Path]:
    """Files for `path` that were written, or half written, when the process was killed; of no other name."""
    pattern = re.compile(rf"\.{re.escape(path.stem)}-[a-z0-9_]{{8}}{re.escape(path.suffix)}")  # of mkstemp
    there = path.parent.iterdir() if path.parent.is_dir() else ()
    return sorted(one for one in there if pattern.fullmatch(one.name))


def sweep(*paths: Path) -> None:
    """Remove what killed processes have left of these files; no other process may be writing one."""
    for path in paths:
        for left_over in unplaced(path):
            left_over.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8, line ends as given) to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())


def writable_folder(argument: str, folder: Path) -> Path:
    """Make `folder` if needed and prove that files can be written there, before any long work.

    Raises:
        ValueError: that names `argument` if it cannot be made or written.
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
    """Hold the file `lock` while the block runs; it goes when the block ends.

    If the process is killed the file may stay, but holds nobody back. On a file system without locks a file
    `<lock>.held` stands for it, which names process and machine: one that a killed process left is taken over on
    its own machine; on another one it has to be removed.

    Raises:
        ValueError: that names `argument` if another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = _acquired(lock)
    except Timeout as error:
        fix = "Wait for it, or choose another."
        if Path(error.lock_file) != lock:
            fix += f" If no call is running on any machine, remove '{error.lock_file}'."
        fail(argument, "must be used by one call at a time", f"'{error.lock_file}' in use", fix)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open, but does so on release
            lock.unlink()  # before the release: whoever gets the lock after it has made the file anew
        held.release()
        with suppress(OSError):  # not empty
            lock.parent.rmdir()


def _acquired(lock: Path) -> BaseFileLock:
    """The lock of the system, or, where the file system has none, one by a file that exists."""
    held: BaseFileLock = FileLock(lock, blocking=False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "flock not supported")  # filelock then does much the same by itself
            held.acquire()
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _WITHOUT_LOCKS:
            raise
        held = SoftFileLock(lock.with_name(f"{lock.name}.held"), blocking=False)
        held.acquire()
    return held


_WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
