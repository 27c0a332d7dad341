"""Files of official sources: lying in a folder, or downloaded there, and always with the published checksum."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pooch
import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from dashtheory._check import fail
from dashtheory.errors import NotDownloaded
from dashtheory.record import only_one, writable_folder

_BLOCK = 1 << 15  # less than so much is lost of what a broken connection brought
_TRIES = 4
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True, kw_only=True)
class OfficialFile:
    """A file as its source publishes it.

    Attributes:
        name: of the file.
        url: its official address.
        md5: its published checksum.
    """

    name: str
    url: str
    md5: str


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
        file: what to find.
        root: the folder; made if something is downloaded.
        download: whether to download it if it is not there; with progress on stderr if that is a terminal.

    Raises:
        ValueError: if it is neither there nor downloaded, or is another file than the official one.
    """
    root = Path(root).expanduser()
    path = root / file.name
    if not path.exists():
        if not download:
            fix = f"Put it there (from {file.url}), or say download=True."
            fail("root", f"must hold '{file.name}'", f"'{root}' without it", fix, error=NotDownloaded)
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

    Raises:
        ValueError: if it cannot be read.
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
    with only_one(root / f".{file.name}.lock", "root"):
        pieced = _fetch_all(file, part)
        if pieced and hashes(part)[0] != file.md5:  # pieces of different files: once more from the start
            part.unlink()
            _fetch_all(file, part)
        found = hashes(part)[0]
        if found != file.md5:
            part.unlink()
            fail("download", f"of {file.url} must have md5 {file.md5}", found, "The source has changed: tell us.")
        part.replace(root / file.name)


def _fetch_all(file: OfficialFile, part: Path) -> bool:
    """Fill `part` until nothing is missing; go on after a break, a few times. Whether it is of several answers."""
    problem, pieced = "", False
    for _ in range(_TRIES):
        pieced = pieced or part.exists()
        try:
            _fetch(file, part)
            return pieced
        except requests.RequestException as error:
            status = 0 if error.response is None else error.response.status_code
            if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and part.exists():
                return True  # nothing is missing; the checksum decides
            if 0 < status < HTTPStatus.INTERNAL_SERVER_ERROR:
                fix = "The address may have moved: put the file into root by hand."
                fail("download", f"must find {file.url}", f"HTTP status {status}", fix)
            problem = f"HTTP status {status}" if status else str(error)
        except OSError as error:
            reason = error.strerror or str(error)
            fail("root", "must have room for the download", f"'{part}' ({reason})", "Free some, and call again.")
    fix = "Check the network, and call again: it goes on where it stopped; or put the file into root by hand."
    return fail("download", f"of {file.url} must arrive whole", problem, fix)


def _fetch(file: OfficialFile, part: Path) -> None:
    """Ask once for what `part` lacks, and write it there; none is left if nothing came."""
    try:
        with part.open("ab") as out, _progress() as progress:
            here = out.tell()

            def prepare(answer: requests.Response, **_: object) -> None:
                if here and answer.status_code == HTTPStatus.OK:
                    out.truncate(0)  # the server sends all of it again
                answer.raw.headers.pop("Content-Encoding", None)  # the file is what is sent, even if packed

            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
            options = {"headers": headers, "hooks": {"response": prepare}, "timeout": _TIMEOUT}
            pooch.HTTPDownloader(_Bar(progress, file.name), _BLOCK, **options)(file.url, out, None)
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class _Bar:
    """What pooch asks of a progress bar, drawn by rich: the bytes that were missing."""

    total = 0  # set by pooch; 0 where the server does not say

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress, self.task = progress, progress.add_task(name, total=None)

    def update(self, count: int) -> None:
        self.progress.update(self.task, advance=count, total=self.total or None)

    def reset(self) -> None:
        self.progress.reset(self.task)

    def close(self) -> None:
        """Nothing: the bar goes at the end of `progress`."""
