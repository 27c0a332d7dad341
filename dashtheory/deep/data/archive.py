"""Read the files of a tar or zip archive into memory, and refuse what a data set never holds.

Nothing is unpacked to disk. Refused: absolute paths, parent paths, links, device files, encrypted or sparse
members, a file twice, more bytes than allowed, and archives that end too early.
"""

from __future__ import annotations

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from dashtheory._check import fail

_BLOCK = 1 << 16
_END_OF_TAR = bytes(tarfile.BLOCKSIZE)
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)


def read_members(
    path: Path, *, max_bytes: int, max_member: int | None = None
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The regular files of an archive, one after another, in its order.

    The kind is read off the content, not the name: zip, or tar that is plain or compressed by gzip or xz.

    Args:
        path: the archive.
        max_bytes: bound on all that is unpacked, headers included.
        max_member: bound on one file; `max_bytes` if not given.

    Raises:
        ValueError: that names the archive and the member for all that is refused.
    """
    most = max_bytes if max_member is None else min(max_member, max_bytes)
    seen: set[PurePosixPath] = set()
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # reading a pipe would wait for ever
            fail("archive", "must be a plain file", f"'{path}'", "Check the path.")
        if path.stat().st_size > max_bytes + _OVERHEAD:
            _too_large(path, "", max_bytes)
        with path.open("rb") as file:
            start = file.read(6)
            file.seek(0)
            reader = _zip if start.startswith(b"PK") else _tar
            for name, content in reader(file, start, path, max_bytes, most):
                if name in seen:
                    fail("archive", "must hold each file once", f"'{name}' twice in '{path}'", "Repack it.")
                seen.add(name)
                yield name, content
    except _BROKEN as error:
        fail("archive", "must be whole", f"'{path}' ({_line(error)})", "Get it again: it is damaged or truncated.")
    except OSError as error:
        fail("archive", "must be a file that can be read", f"'{path}' ({_line(error)})", "Check the path.")


_OVERHEAD = 2**26  # bytes of headers that a packed file may be larger by than what it holds


def _line(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text.splitlines()[0]


def _checked_name(name: str, path: Path) -> PurePosixPath:
    """`name` as a path inside the archive."""
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts or "\\" in name or name[1:2] == ":":
        _refuse(path, name, "must hold relative paths without '..'")
    return inside


def _refuse(path: Path, name: str, rule: str) -> None:
    fail("archive", rule, f"{name!r} in '{path}'", "Do not trust it, or repack it.")


def _too_large(path: Path, what: str, bound: int) -> None:
    fail("archive", f"must unpack to at most {bound:,} bytes{what}", f"'{path}' with more", "Do not trust it.")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Bounded:
    """A stream that refuses to give more than `bound` bytes, and remembers how it ended."""

    def __init__(self, stream: _Readable, bound: int, path: Path) -> None:
        self._stream, self._bound, self._path = stream, bound, path
        self._given = 0
        self.end = b""

    def read(self, size: int = _BLOCK) -> bytes:
        block = self._stream.read(min(size, _BLOCK))
        self._given += len(block)
        if self._given > self._bound:
            _too_large(self._path, "", self._bound)
        if block:
            self.end = (self.end + block)[-tarfile.BLOCKSIZE :]
        return block


def _plain(file: IO[bytes], start: bytes) -> _Readable:
    """`file` without the compression that its first bytes tell."""
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    return lzma.LZMAFile(file) if start.startswith(b"\xfd7zXZ\x00") else file


def _tar(
    file: IO[bytes], start: bytes, path: Path, max_bytes: int, most: int
) -> Iterator[tuple[PurePosixPath, bytes]]:
    bounded = _Bounded(_plain(file, start), max_bytes, path)
    with tarfile.open(fileobj=bounded, mode="r|", bufsize=_BLOCK) as archive:  # type: ignore[call-overload]
        for member in archive:
            name = _checked_name(member.name, path)
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                _refuse(path, member.name, "must hold plain files and folders, no links, devices or sparse files")
            if member.size > most:
                _too_large(path, f" in '{member.name}'", most)
            content = archive.extractfile(member)
            assert content is not None  # it is a regular file
            yield name, content.read()
    while bounded.read():  # the checksums of gzip and xz stand at the end
        pass
    if bounded.end != _END_OF_TAR:
        raise tarfile.ReadError("no end mark")


def _zip(
    file: IO[bytes], start: bytes, path: Path, max_bytes: int, most: int
) -> Iterator[tuple[PurePosixPath, bytes]]:
    left = max_bytes
    try:
        opened = zipfile.ZipFile(file)
    except NotImplementedError as error:  # a directory whose damage reads as a newer format
        raise zipfile.BadZipFile(_line(error)) from error
    with opened as archive:
        if sum(info.file_size for info in archive.infolist() if not info.is_dir()) > max_bytes:
            _too_large(path, "", max_bytes)
        for info in archive.infolist():
            name = _checked_name(info.filename, path)
            if info.is_dir():
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG) or info.flag_bits & 1:
                _refuse(path, info.filename, "must hold plain files and folders, no links, devices or passwords")
            left -= info.file_size
            if info.file_size > most or left < 0:
                _too_large(path, f" in '{info.filename}'" if left >= 0 else "", most if left >= 0 else max_bytes)
            try:
                yield name, archive.read(info)
            except NotImplementedError as error:  # a compression that zipfile does not know
                _refuse(path, info.filename, f"must be readable ({_line(error)})")
