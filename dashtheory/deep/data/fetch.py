"""Files of official sources: lying in a folder, or downloaded there, and always with the published checksum."""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from dashtheory._check import fail
from dashtheory.record import only_one, writable_folder

_BLOCK = 1 << 18
_TRIES = 4
_TIMEOUT = 30.0  # seconds without a byte

Report = Callable[[int, int | None], None]
"""`report(bytes_here, bytes_in_all)`; the second is None where the server does not say."""


@dataclass(frozen=True, kw_only=True)
class OfficialFile:
    """A file as its source publishes it.

    Attributes:
        name: of the file. url: its official address. md5: its published checksum.
        max_bytes: a download stops with an error beyond this size.
    """

    name: str
    url: str
    md5: str
    max_bytes: int = 1 << 29


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """A file whose checksum was right: where it lies, and the sha256 of its content."""

    path: Path
    sha256: str


def obtain(file: OfficialFile, root: Path | str, *, download: bool = False) -> Obtained:
    """Find `file` in the folder `root`, or download it there, and check it.

    A download that breaks off leaves `<name>.part`, and the next call goes on from there. The file gets its
    name only when it is whole and its checksum is right.

    Args:
        file: what to find. root: the folder; made if something is downloaded.
        download: whether to download it if it is not there; with progress on stderr if that is a terminal.
    Raises: ValueError if it is neither there nor downloaded, or is another file than the official one.
    """
    root = Path(root).expanduser()
    path = root / file.name
    if not path.exists():
        if not download:
            fix = f"Put it there (from {file.url}), or say download=True."
            fail("root", f"must hold '{file.name}'", f"'{root}' without it", fix)
        _download(file, root)
    md5, sha256 = hashes(path)
    if md5 != file.md5:
        fail(
            "root",
            f"must hold the official '{file.name}' (md5 {file.md5})",
            f"'{path}' (md5 {md5})",
            f"Remove it, and get it from {file.url}.",
        )
    return Obtained(path=path, sha256=sha256)


def hashes(path: Path) -> tuple[str, str]:
    """(md5, sha256) of a file, in hexadecimal.

    Raises: ValueError if it cannot be read.
    """
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    try:
        with path.open("rb") as content:
            while block := content.read(_BLOCK):
                md5.update(block)
                sha256.update(block)
    except OSError as error:
        fail("path", "must be a file that can be read", f"'{path}' ({error.strerror})", "Check the path.")
    return md5.hexdigest(), sha256.hexdigest()


def _download(file: OfficialFile, root: Path) -> None:
    writable_folder("root", root)
    part = root / f"{file.name}.part"
    with only_one(root / f".{file.name}.lock", "root"), _progress() as progress:
        bar = progress.add_task(file.name, total=None)

        def report(here: int, in_all: int | None) -> None:
            progress.update(bar, completed=here, total=in_all)

        resumed = part.exists()
        _fetch_all(file, part, report)
        if resumed and hashes(part)[0] != file.md5:  # the part was of another file: once more from the start
            part.unlink()
            _fetch_all(file, part, report)
        found = hashes(part)[0]
        if found != file.md5:
            part.unlink()
            fail("download", f"of {file.url} must have md5 {file.md5}", found, "The source has changed: tell us.")
        part.replace(root / file.name)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class _BrokenOffError(Exception):
    """What went wrong on the way; another try may help."""


def _fetch_all(file: OfficialFile, part: Path, report: Report) -> None:
    """Fill `part` until nothing is missing; go on after a break, a few times."""
    for tries_left in reversed(range(_TRIES)):
        try:
            return _fetch(file, part, report)
        except _BrokenOffError as error:
            if not tries_left:
                fix = "Call again: it goes on where it stopped."
                fail("download", f"of {file.url} must arrive whole", str(error), fix)
    return None


def _fetch(file: OfficialFile, part: Path, report: Report) -> None:
    """Ask once for what `part` lacks, and write it there."""
    here = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={here}-"} if here else {}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(file.url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(file, error.code, here)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        fix = "Check the network, or put the file into root by hand."
        fail("download", f"must reach {file.url}", str(reason) or type(error).__name__, fix)
    with answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            here = 0  # the server sends all of it again
        elif not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {here}-"):
            part.unlink()
            raise _BrokenOffError("another range than was asked for")
        return _store(file, part, answer, here, report)


def _refused(file: OfficialFile, code: int, here: int) -> None:
    if code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and here:
        return  # nothing is missing; the checksum decides
    if code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _BrokenOffError(f"HTTP status {code}")
    fix = "The address may have moved: put the file into root by hand."
    fail("download", f"must find {file.url}", f"HTTP status {code}", fix)


def _store(file: OfficialFile, part: Path, answer: http.client.HTTPResponse, here: int, report: Report) -> None:
    """Write the body of `answer` to `part` from byte `here` on."""
    length = answer.headers.get("Content-Length", "")
    in_all = here + int(length) if length.isdecimal() else None
    try:
        with part.open("r+b" if here else "wb") as out:
            out.seek(here)
            for block in _blocks(answer):
                here += len(block)
                if here > file.max_bytes:
                    break
                out.write(block)
                report(here, in_all)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        reason = error.strerror or str(error)
        fail("root", "must have room for the download", f"'{part}' ({reason})", "Free some, and call again.")
    if here > file.max_bytes:
        part.unlink()
        got = f"more than {file.max_bytes:,} bytes"
        fail("download", f"of {file.url} must be a file of the expected size", got, "It is another file.")
    if in_all is not None and here < in_all:
        raise _BrokenOffError(f"{here:,} of {in_all:,} bytes")


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := answer.read(_BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error
